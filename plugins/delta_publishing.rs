//! Keeps a ledger beside the change feed: signed transactions, whose sums are the latest state.

use std::collections::{BTreeMap, HashMap, HashSet};

use qetl_core::{
    Dataset, DatasetName, Flow, FlowType, Problems, Task, Type,
    decode::Sp,
    ir::{AggregateFunction, AsOf, Expr, Function, JoinKind, LatestPerKey, Rel, RelError, Steps},
    plan::{Check, Dag, DagNode, DatasetKind, Expand, InputType, Invariant, Known, LateBatches, Rule, batch_columns},
    problem::Problem,
    register_flow_type,
};
use schemars::JsonSchema;
use serde::Deserialize;

mod invariants;
mod measure;

use self::measure::Measure;
use crate::{
    change_feed::{ChangeFeed, FEED_COLUMNS, Names},
    keyed::task,
};

/// `[properties]` of a ledger.
#[derive(Debug, Deserialize, JsonSchema)]
struct DeltaPublishing {
    /// The amounts. Without it all decimal and float columns that are compared and are not attributes; if there is none,
    /// all integer columns of that kind whose name does not end in `_id`.
    #[schemars(length(min = 1))]
    measure_columns: Option<Vec<Sp<String>>>,
    /// Columns that are carried along: when only they change, nothing is posted.
    #[serde(default)]
    attribute_columns: Vec<Sp<String>>,
    /// How a change of an amount is posted. The key and its values may be written in any case.
    #[serde(rename = "DELTA_METHOD", default)]
    #[schemars(extend("x-any-case" = true))]
    delta_method: DeltaMethod,
    /// The columns whose values are compared; all but the key, `delete_column` and `sequence_columns` without it. Others are
    /// attributes.
    #[schemars(length(min = 1))]
    change_detection_columns: Option<Vec<Sp<String>>>,
    /// Whether rows that did not change appear in the feed as STALE.
    #[serde(default = "yes")]
    emit_stale: bool,
    /// What happens when a batch arrives after a later one, or again with other content.
    #[serde(default = "reject")]
    late_batches: LateBatches,
}

/// How a change of an amount is posted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum DeltaMethod {
    /// The old amount is reversed, the new one booked.
    #[default]
    ReverseReplay,
    /// The difference is booked, unless the amount belongs elsewhere now.
    DeltaCorrection,
}

fn yes() -> bool {
    true
}

fn reject() -> LateBatches {
    LateBatches::Reject
}

/// What the ledger adds to the input columns.
const LEDGER_COLUMNS: [(&str, Type); 5] = [
    ("xt_transaction_id", Type::Text),
    ("xt_transaction_type", Type::Text),
    ("xt_referred_transaction_id", Type::Text),
    ("xt_batch_id", Type::Int),
    ("xt_processed_at", Type::Timestamp),
];

const INITIAL_BOOKING: &str = "INITIAL_BOOKING";
const REVERSAL: &str = "REVERSAL";
const DELTA_CORRECTION: &str = "DELTA_CORRECTION";
const REPUBLISH: &str = "REPUBLISH";

/// What a column is to the ledger, as it is recorded.
const MEASURE: &str = "measure";
const DIMENSION: &str = "dimension";

/// The digits that a decimal can have; the ledger's have all of them.
const DIGITS: u8 = 38;

impl FlowType for DeltaPublishing {
    const NAME: &'static str = "delta_publishing";
    const SUMMARY: &'static str = "a ledger of signed transactions whose sums are the table's latest state, on top of a change feed";
    const INPUT_KEYS: &'static [&'static str] = ChangeFeed::INPUT_KEYS;
    const REQUIRED_INPUT: &'static [&'static str] = ChangeFeed::REQUIRED_INPUT;

    fn problems(&self, flow: &Flow) -> Problems {
        let mut problems = self.feed().problems(flow);
        let input = &flow.input;
        let names = |columns: &[Sp<String>], name: &str| columns.iter().any(|column| column.value == name);
        let measures = self.measure_columns.as_deref().unwrap_or_default();
        for (property, columns) in [("measure_columns", measures), ("attribute_columns", &self.attribute_columns)] {
            let is_measure = property == "measure_columns";
            for (index, column) in columns.iter().enumerate() {
                let name = column.value.as_str();
                let mut refuse = |code: &'static str, what: String, help: &str| {
                    problems.push(Problem::new(code, column.span, what).help(help));
                };
                let take_out = format!("take it out of `{property}`");
                if names(&columns[..index], name) {
                    refuse("qetl::decode::duplicate_column", format!("`{name}` stands twice in `{property}`"), "name it once");
                }
                if names(&input.primary_key, name) {
                    refuse("qetl::decode::role", format!("`{name}` is a key column: it says whose the amounts are"), &take_out);
                }
                if input.delete_column.as_ref().is_some_and(|delete| delete.value == name) {
                    let what = if is_measure { "it is no amount" } else { "it is an attribute anyway" };
                    refuse("qetl::decode::role", format!("`{name}` marks deletions: {what}"), &take_out);
                }
                if names(&input.sequence_columns, name) {
                    let what = if is_measure { "it is no amount" } else { "it is an attribute anyway" };
                    refuse("qetl::decode::role", format!("`{name}` says the order of rows: {what}"), &take_out);
                }
                if is_measure && names(&self.attribute_columns, name) {
                    let what = format!("`{name}` is a measure and an attribute");
                    refuse("qetl::decode::role", what, "a measure is booked, an attribute is only carried: choose one");
                }
                let is_compared = self.change_detection_columns.as_ref().is_none_or(|compared| names(compared, name));
                if is_measure && !is_compared {
                    let what = format!("the measure `{name}` is not compared, so its changes would go unnoticed");
                    refuse("qetl::decode::role", what, "add it to `change_detection_columns`");
                }
                input.check_column(column, property, &mut problems);
            }
        }
        problems
    }

    fn late_batches(&self) -> LateBatches {
        self.late_batches
    }

    fn amounts(&self, cx: &Expand<'_>) -> Vec<String> {
        self.measures(cx).iter().map(|measure| measure.name.clone()).collect()
    }

    fn key_columns(&self, flow: &Flow) -> Vec<String> {
        self.feed().key_columns(flow)
    }

    /// Amounts are exact: a measure that was not declared becomes a decimal of all digits there are.
    fn pinned_type(&self, flow: &Flow, columns: &[InputType], column: &InputType, decimals: Option<u8>) -> Type {
        let is_measure = self.measures(&Expand { flow, input: columns }).iter().any(|measure| measure.name == column.name);
        match (column.ty, decimals) {
            (Type::Int | Type::Float | Type::Decimal { .. }, Some(decimals)) if is_measure => {
                Type::Decimal { precision: DIGITS, scale: decimals.max(2) }
            }
            (ty, _) => ty,
        }
    }

    fn warnings(&self, cx: &Expand<'_>) -> Problems {
        let mut problems = Problems::default();
        let measures = self.measures(cx);
        let mut warn = |code: &'static str, name: &str, what: String, help: String| {
            let named = self.measure_columns.iter().flatten().find(|column| column.value == name).map(|column| column.span);
            let span = named.or_else(|| cx.flow.input.columns.iter().find(|column| column.name.value == name).map(|column| column.span));
            problems.push(Problem::new(code, span.unwrap_or_default(), what).help(help).warning());
        };
        for measure in measures.iter().filter(|measure| measure.ty == Type::Float) {
            let name = &measure.name;
            let help = "declare it as a decimal, such as `decimal(18,2)`".to_owned();
            warn("qetl::expand::float_measure", name, format!("the measure `{name}` is a float: sums of floats are not exact"), help);
        }
        if self.measure_columns.is_none()
            && let Some(first) = measures.first().filter(|measure| measure.ty == Type::Int)
        {
            let names: Vec<&str> = measures.iter().map(|measure| measure.name.as_str()).collect();
            let what = format!("no column is a decimal or a float, so that integers are the measures: {}", names.join(", "));
            let help = format!("if that is right, say so: `measure_columns = [\"{}\"]`", names.join("\", \""));
            warn("qetl::expand::integer_measures", &first.name, what, help);
        }
        problems
    }

    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems> {
        let ledger = Ledger::new(self, cx)?;
        let mut datasets = self.feed().datasets(cx)?;
        datasets.push(Dataset { name: ledger.name.clone(), schema: ledger.stored()?, kind: DatasetKind::Derived, about: ledger.about() });
        Ok(datasets)
    }

    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems> {
        let feed = self.feed();
        let names = Names::of(&feed, cx);
        let mut dag = feed.dag(cx)?;
        let from = [Some(names.feed), names.stale].into_iter().flatten().collect();
        dag.0.push(DagNode { dataset: ledger_name(cx), from });
        Ok(dag)
    }

    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems> {
        let ledger = Ledger::new(self, cx)?;
        let mut tasks = ledger.feed.tasks(cx, &ledger.names, &self.carried_when_added(cx))?;
        tasks.push(ledger.task()?);
        Ok(tasks)
    }

    /// Which columns are amounts must not change once something is booked.
    fn roles(&self, cx: &Expand<'_>) -> BTreeMap<String, String> {
        let measures = self.measures(cx);
        if measures.is_empty() {
            return BTreeMap::new();
        }
        let measures: HashSet<&str> = measures.iter().map(|measure| measure.name.as_str()).collect();
        let role = |column: &InputType| if measures.contains(column.name.as_str()) { MEASURE } else { DIMENSION };
        self.booked(cx).into_iter().map(|column| (column.name.clone(), role(column).to_owned())).collect()
    }

    fn append_only(&self, cx: &Expand<'_>) -> Option<(DatasetName, &'static str)> {
        (self.late_batches == LateBatches::Reject).then(|| (ledger_name(cx), "xt_transaction_id"))
    }

    fn invariants(&self, cx: &Expand<'_>) -> Result<Vec<Invariant>, Problems> {
        let mut ledger = Ledger::new(self, cx)?;
        // What the flow has no more is reversed by no batch.
        let is_gone = |name: &str| cx.input.iter().any(|column| column.gone && column.name == name);
        ledger.measures.retain(|measure| !is_gone(&measure.name));
        ledger.dimensions.retain(|dimension| !is_gone(dimension));
        let mut all = ledger.feed.promises(cx, &ledger.names, self.carried_when_added(cx))?;
        all.extend(ledger.invariants()?);
        Ok(all)
    }
}

fn ledger_name(cx: &Expand<'_>) -> DatasetName {
    cx.dataset("delta_transaction")
}

impl DeltaPublishing {
    /// The change feed that the ledger stands on.
    fn feed(&self) -> ChangeFeed {
        ChangeFeed {
            change_detection_columns: self.change_detection_columns.clone(),
            emit_stale: self.emit_stale,
            late_batches: self.late_batches,
        }
    }

    /// The attributes that are compared, where they are carried when they are added; what is booked always posts.
    fn carried_when_added(&self, cx: &Expand<'_>) -> Vec<String> {
        let booked = self.booked(cx);
        self.feed().carried_when_added(cx, |name| !booked.iter().any(|column| column.name == name))
    }

    /// The columns that are neither key nor attribute. What is not compared is an attribute.
    fn booked<'a>(&self, cx: &Expand<'a>) -> Vec<&'a InputType> {
        let tracked: HashSet<String> = self.feed().tracked(cx).into_iter().collect();
        let attributes: HashSet<&str> = self.attribute_columns.iter().map(|column| column.as_str()).collect();
        cx.input.iter().filter(|column| tracked.contains(&column.name) && !attributes.contains(column.name.as_str())).collect()
    }

    /// The amounts, in column order: those that are named, else those that were settled, else those that their types suggest.
    fn measures<'a>(&self, cx: &Expand<'a>) -> Vec<&'a InputType> {
        let booked = self.booked(cx);
        if let Some(named) = &self.measure_columns {
            let named: HashSet<&str> = named.iter().map(|name| name.as_str()).collect();
            let is_named = |column: &InputType| named.contains(column.name.as_str());
            let was_named = |column: &InputType| column.gone && column.role.as_deref() == Some(MEASURE);
            return booked.into_iter().filter(|column| is_named(column) || was_named(column)).collect();
        }
        let of = |fits: &dyn Fn(&InputType) -> bool| booked.iter().copied().filter(|column| fits(column)).collect::<Vec<_>>();
        let is_fraction = |column: &InputType| matches!(column.ty, Type::Decimal { .. } | Type::Float);
        if booked.iter().any(|column| column.role.is_some()) {
            return of(&|column| column.role.as_ref().map_or_else(|| is_fraction(column), |role| role == MEASURE));
        }
        let fractions = of(&is_fraction);
        if fractions.is_empty() { of(&|column| column.ty == Type::Int && !column.name.ends_with("_id")) } else { fractions }
    }
}

/// The ledger of one flow, its columns and what they are to it.
struct Ledger<'a> {
    cx: &'a Expand<'a>,
    feed: ChangeFeed,
    names: Names,
    name: DatasetName,
    method: DeltaMethod,
    keys: Vec<String>,
    measures: Vec<Measure>,
    /// Where each measure stands among them.
    by_name: HashMap<String, usize>,
    dimensions: Vec<String>,
    /// Where each column stands in the input.
    places: HashMap<String, usize>,
}

impl<'a> Ledger<'a> {
    fn new(properties: &DeltaPublishing, cx: &'a Expand<'a>) -> Result<Self, Problems> {
        let feed = properties.feed();
        let chosen = properties.measures(cx);
        let mut problems = Problems::default();
        for named in properties.measure_columns.iter().flatten() {
            if let Some(column) = chosen.iter().find(|column| column.name == named.value)
                && !column.ty.is_numeric()
                && column.known != Known::Presumed
            {
                let what = format!("the measure `{}` is of type {}: it cannot be summed", named.value, column.ty);
                let problem = Problem::new("qetl::expand::measure_type", named.span, what).label("no number");
                problems.push(problem.help("a measure is an integer, a decimal or a float"));
            }
        }
        let booked = properties.booked(cx);
        if chosen.is_empty() && booked.iter().all(|column| column.known != Known::Presumed) {
            let what = "there is nothing to sum: no column can be a measure";
            let help = "name the amounts with `measure_columns`, or declare a numeric `schema_type` for them";
            problems.push(
                Problem::new("qetl::expand::no_measure", cx.flow.header.flow_type.span, what).label("a ledger of amounts").help(help),
            );
        }
        problems.or(())?;
        let measures: Vec<Measure> = chosen.iter().filter(|column| column.ty.is_numeric()).map(|column| Measure::of(column)).collect();
        let amounts: HashSet<&str> = chosen.iter().map(|measure| measure.name.as_str()).collect();
        let dimensions = booked.iter().filter(|column| !amounts.contains(column.name.as_str()));
        let places = |names: &mut dyn Iterator<Item = &String>| names.cloned().zip(0..).collect();
        Ok(Self {
            by_name: places(&mut measures.iter().map(|measure| &measure.name)),
            places: places(&mut cx.input.iter().map(|column| &column.name)),
            cx,
            names: Names::of(&feed, cx),
            feed,
            name: ledger_name(cx),
            method: properties.delta_method,
            keys: cx.flow.input.key_names(),
            measures,
            dimensions: dimensions.map(|column| column.name.clone()).collect(),
        })
    }

    fn about(&self) -> String {
        let names = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        let measures = names(self.measures.iter().map(|measure| measure.name.as_str()).collect());
        let dimensions = names(self.dimensions.iter().map(String::as_str).collect());
        format!("transactions whose sums are the latest amounts; measures: {measures}; dimensions: {dimensions}")
    }

    fn measure(&self, column: &str) -> Option<&Measure> {
        self.by_name.get(column).map(|place| &self.measures[*place])
    }

    /// The ledger's columns.
    fn stored(&self) -> Result<qetl_core::schema::Schema, Problems> {
        let input = self
            .cx
            .input
            .iter()
            .map(|column| InputType { ty: self.measure(&column.name).map_or(column.ty, |measure| measure.ty), ..column.clone() });
        let input: Vec<InputType> = input.collect();
        Expand { flow: self.cx.flow, input: &input }.schema(&LEDGER_COLUMNS)
    }

    fn transactions(&self, as_of: AsOf) -> Result<Rel, Problems> {
        Ok(Rel::scan(&self.name, &self.stored()?, as_of))
    }

    fn task(&self) -> Result<Task, Problems> {
        let mut steps = Steps::default();
        let feed = Rel::scan(&self.names.feed, &self.cx.schema(&FEED_COLUMNS)?, AsOf::ThisBatch);
        let columns = || self.cx.input.iter().map(|column| column.name.as_str());
        let posting = feed.filter(is("STALE").not())?.select(columns().chain(["xt_record_type"]))?;
        let posting = steps.add("posting", posting);
        let earlier = posting.clone().filter(is("NEW").not())?;
        let moved = self.moved(&mut steps, earlier)?;

        let own = |column: &str| Expr::column(column);
        let old = |column: &str| Expr::column(&before(self.place(column)));
        let booked_as = |value: &dyn Fn(&str) -> Expr, amount: &dyn Fn(&Measure) -> Expr| -> Vec<(String, Expr)> {
            columns().map(|name| (name.to_owned(), self.measure(name).map_or_else(|| value(name), amount))).collect()
        };
        let booking = || booked_as(&own, &|measure| measure.stored(own(&measure.name)));
        let open = || self.id(Expr::column("xt_booked_in"), "B");
        let closed = || self.id(Expr::column("xt_reversed_in"), "R");

        let rebooked = is("CHANGED").and(self.is_rebooked());
        let closes = is("DELETED").or(rebooked.clone());
        let mut rows = vec![
            self.post(posting.filter(is("NEW"))?, INITIAL_BOOKING, "B", booking(), Expr::null(Type::Text))?,
            self.post(moved.clone().filter(is("REACTIVATED"))?, REPUBLISH, "B", booking(), closed())?,
            self.post(moved.clone().filter(rebooked)?, INITIAL_BOOKING, "B", booking(), Expr::null(Type::Text))?,
        ];
        let negated = |measure: &Measure| measure.negative(&measure.stored(old(&measure.name)));
        rows.push(self.post(moved.clone().filter(closes.clone())?, REVERSAL, "R", booked_as(&old, &negated), open())?);
        let corrects = is("CHANGED").and(self.is_corrected());
        if self.method == DeltaMethod::DeltaCorrection {
            let amount = |measure: &Measure| measure.difference(&measure.stored(own(&measure.name)), &measure.stored(old(&measure.name)));
            rows.push(self.post(moved.clone().filter(corrects.clone())?, DELTA_CORRECTION, "D", booked_as(&own, &amount), open())?);
        }
        let checks = self.checks(&steps, &moved, &closes, &corrects)?;
        steps.add("transactions", Rel::union(rows)?);
        Ok(task(&self.name, steps.needed(), Some("xt_transaction_type"), checks))
    }

    /// The feed's rows of keys that were there before, with the state before and with where the key was last booked and reversed.
    fn moved(&self, steps: &mut Steps, earlier: Rel) -> Result<Rel, Problems> {
        let on: Vec<(String, String)> = self.keys.iter().map(|key| (key.clone(), key.clone())).collect();
        let keys = steps.add_small("moved_keys", earlier.clone().select(&self.keys)?);
        let reversal = || Expr::column("xt_transaction_type").eq(Expr::text(REVERSAL));
        let batch_if = |condition: Expr| {
            AggregateFunction::Max(Expr::case(vec![(condition, Expr::column("xt_batch_id"))], Some(Expr::null(Type::Int))))
        };
        let legs = self.transactions(AsOf::BeforeThisBatch)?;
        let legs = legs.filter(Expr::column("xt_transaction_type").not_eq(Expr::text(DELTA_CORRECTION)))?;
        let legs = legs.select(self.keys.iter().map(String::as_str).chain(["xt_transaction_type", "xt_batch_id"]))?;
        // A key's bookings and reversals take turns, so that the latest of each is the open one and the one that closed the key.
        let legs = legs.semi(keys, &self.keys)?.aggregate(
            &self.keys,
            vec![("xt_booked_in".to_owned(), batch_if(reversal().not())), ("xt_reversed_in".to_owned(), batch_if(reversal()))],
        )?;
        let legs = steps.add("legs", legs);

        let own = || self.cx.input.iter().map(|column| (column.name.clone(), Expr::left(&column.name)));
        let more = |names: &[&str], side: fn(&str) -> Expr| -> Vec<(String, Expr)> {
            names.iter().map(|name| ((*name).to_owned(), side(name))).collect()
        };
        let columns =
            own().chain(more(&["xt_record_type"], Expr::left)).chain(more(&["xt_booked_in", "xt_reversed_in"], Expr::right)).collect();
        let known = earlier.clone().join(JoinKind::Left, legs, &on, columns)?;

        // The feed's row of a deleted key is its last state, but for the sequence of the deletion.
        let was_other: &[&str] = if self.cx.flow.input.sequence_columns.is_empty() { &["CHANGED"] } else { &["CHANGED", "DELETED"] };
        let changed = earlier.filter(Expr::any(was_other.iter().map(|kind| is(kind))))?;
        let changed = steps.add_small("changed_keys", changed.select(&self.keys)?);
        let last = steps.add("before", self.last_state(changed)?);
        let is_changed = Expr::any(was_other.iter().map(|kind| Expr::left("xt_record_type").eq(Expr::text(kind))));
        let values = self.cx.input.iter().enumerate().map(|(place, column)| {
            let name = before(place);
            let last = Expr::case(vec![(is_changed.clone(), Expr::right(&column.name))], Some(Expr::left(&column.name)));
            (name, if self.keys.contains(&column.name) { Expr::left(&column.name) } else { last })
        });
        let columns = own().chain(more(&["xt_record_type", "xt_booked_in", "xt_reversed_in"], Expr::left)).chain(values).collect();
        Ok(steps.add_small("moved", known.join(JoinKind::Left, last, &on, columns)?))
    }

    /// The last feed row before this batch of keys that changed in it, or whose deletion has a sequence of its own.
    fn last_state(&self, changed: Rel) -> Result<Rel, Problems> {
        let is_whole = ChangeFeed::is_whole(self.cx);
        let as_of = if is_whole { AsOf::PreviousBatch } else { AsOf::BeforeThisBatch };
        let history = self.feed.history(self.cx, &self.names, as_of)?.semi(changed, &self.keys)?;
        if is_whole {
            return Ok(history);
        }
        let latest = LatestPerKey { input: history, keys: self.keys.clone(), by: "xt_batch_id".to_owned(), dead: None, gaps: None };
        Ok(Rel::latest_per_key(latest)?)
    }

    fn place(&self, column: &str) -> usize {
        self.places.get(column).copied().unwrap_or_else(|| unreachable!("the flow has the column"))
    }

    fn differs<'c>(&self, columns: impl Iterator<Item = &'c String>) -> Expr {
        Expr::any(columns.map(|name| Expr::column(name).is_distinct(Expr::column(&before(self.place(name))))))
    }

    /// Of a CHANGED row: whether the old amounts are reversed and the new ones booked.
    fn is_rebooked(&self) -> Expr {
        let amounts = self.measures.iter().map(|measure| &measure.name).filter(|_| self.method == DeltaMethod::ReverseReplay);
        self.differs(self.dimensions.iter().chain(amounts))
    }

    /// Of a CHANGED row: whether the difference is booked.
    fn is_corrected(&self) -> Expr {
        self.differs(self.measures.iter().map(|measure| &measure.name)).and(self.is_rebooked().not())
    }

    /// `{key}#{batch}#{leg}`: the key's values joined by `|`, so that different keys have different texts.
    fn id(&self, batch: Expr, leg: &str) -> Expr {
        let mut parts = Vec::new();
        for key in &self.keys {
            if !parts.is_empty() {
                parts.push(Expr::text("|"));
            }
            let ty = self.cx.input[self.place(key)].ty;
            let text = Expr::column(key).call(Function::CanonicalText(ty));
            let escaped = |text: Expr, from: &str| text.call(Function::Replace { from: from.to_owned(), to: format!("\\{from}") });
            parts.push(if ty == Type::Text { escaped(escaped(text, "\\"), "|") } else { text });
        }
        parts.extend([Expr::text("#"), batch.call(Function::CanonicalText(Type::Int)), Expr::text(&format!("#{leg}"))]);
        Expr::concat(parts)
    }

    fn post(&self, rows: Rel, kind: &str, leg: &str, values: Vec<(String, Expr)>, refers_to: Expr) -> Result<Rel, RelError> {
        let own = [
            ("xt_transaction_id", self.id(Expr::batch_id(), leg)),
            ("xt_transaction_type", Expr::text(kind)),
            ("xt_referred_transaction_id", refers_to),
        ];
        let own = own.into_iter().chain(batch_columns()).map(|(name, expr)| (name.to_owned(), expr));
        rows.project(values.into_iter().chain(own).collect())
    }

    /// Amounts that have no negative, or that are too far from the amount before; of several in a row the first.
    fn checks(&self, steps: &Steps, moved: &Rel, closes: &Expr, corrects: &Expr) -> Result<Vec<Check>, Problems> {
        // What closes and what corrects compares many columns, and is said once.
        let (is_closed, is_corrected) = (Expr::column("xt_closes"), Expr::column("xt_corrects"));
        let mut columns: Vec<(String, Expr)> = self.keys.iter().map(|key| (key.clone(), Expr::column(key))).collect();
        columns.extend([("xt_closes".to_owned(), closes.clone()), ("xt_corrects".to_owned(), corrects.clone())]);
        let mut wrong = Vec::new();
        for measure in &self.measures {
            let amounts = [measure.name.clone(), before(self.place(&measure.name))];
            let [new, old] = [&amounts[0], &amounts[1]].map(|name| measure.stored(Expr::column(name)));
            let reversed = measure.has_no_negative(&old).map(|none| is_closed.clone().and(none));
            let is_difference = self.method == DeltaMethod::DeltaCorrection && measure.can_overflow();
            let corrected = is_difference.then(|| is_corrected.clone().and(measure.is_too_far(&new, &old)));
            let Some(condition) = reversed.into_iter().chain(corrected).reduce(Expr::or) else { continue };
            columns.extend(amounts.map(|name| (name.clone(), Expr::column(&name))));
            let text = |value: Expr| value.call(Function::CanonicalText(measure.ty));
            wrong.push((condition, [Expr::text(&measure.name), text(old), text(new)]));
        }
        if wrong.is_empty() {
            return Ok(Vec::new());
        }
        let mut steps = steps.clone();
        let amounts = steps.add("amounts", moved.clone().project(columns)?);
        let keys = self.keys.iter().map(|key| (key.clone(), Expr::column(key)));
        let figures = ["xt_column", "xt_before", "xt_amount"].into_iter().enumerate().map(|(place, name)| {
            let branches = wrong.iter().map(|(condition, figures)| (condition.clone(), figures[place].clone()));
            (name.to_owned(), Expr::case(branches.collect(), None))
        });
        let figures = keys.chain(figures).collect();
        let rows = amounts.filter(Expr::any(wrong.iter().map(|(condition, _)| condition.clone())))?.project(figures)?;
        steps.add("too_great", rows.limit(100)?);
        let problem = "amounts whose reversal or difference is too great for the column's type".to_owned();
        let help = "declare an integer measure as `decimal(38,0)`; a decimal has 38 digits at most".to_owned();
        Ok(vec![Check { rule: Rule::None { problem, help }, steps: steps.needed(), guard: false }])
    }
}

fn is(record_type: &str) -> Expr {
    Expr::column("xt_record_type").eq(Expr::text(record_type))
}

/// The name of the input column at that place in the state before the batch.
fn before(place: usize) -> String {
    format!("xt_before_{place}")
}

register_flow_type!(DeltaPublishing);

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(properties: &str) -> Flow {
        let text = format!(
            "id = \"l\"\nflow_type = \"delta_publishing\"\n[input]\nprimary_key = [\"id\"]\n\
             columns = [\"id\", \"a_id\", \"n\", \"x\", \"text\"]\n[properties]\n{properties}\n"
        );
        Flow::parse("l.toml", &text, &crate::registry()).unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The types that `id`, `a_id`, `n`, `x` and `text` are pinned as, when the first three are integers.
    #[test]
    fn measures_that_were_inferred_are_pinned_as_decimals() {
        let check = |properties: &str, x: Type, decimals: Option<u8>, pinned: [&str; 3]| {
            let flow = flow(properties);
            let types = [Type::Int, Type::Int, Type::Int, x, Type::Text];
            let names = ["id", "a_id", "n", "x", "text"];
            let columns: Vec<InputType> =
                names.into_iter().zip(types).map(|(name, ty)| InputType::new(name, ty, Known::Inferred)).collect();
            let found: Vec<String> = columns
                .iter()
                .zip([Some(0), Some(0), Some(0), decimals, None])
                .map(|(column, decimals)| flow.properties.pinned_type(&flow, &columns, column, decimals).to_string())
                .collect();
            assert_eq!(found[1..4], pinned);
        };
        check("", Type::Float, Some(3), ["integer", "integer", "decimal(38,3)"]);
        check("", Type::Float, Some(1), ["integer", "integer", "decimal(38,2)"]);
        check("", Type::Float, None, ["integer", "integer", "float"]);
        check("", Type::Text, None, ["integer", "decimal(38,2)", "string"]);
        check("attribute_columns = [\"x\"]", Type::Float, Some(3), ["integer", "decimal(38,2)", "float"]);
        check("measure_columns = [\"a_id\"]", Type::Float, Some(3), ["decimal(38,2)", "integer", "float"]);
    }

    #[test]
    fn the_method_is_read_in_any_case() {
        let shape = |properties: &str| flow(properties).shape["DELTA_METHOD"].clone();
        for properties in
            ["DELTA_METHOD = \"DELTA_CORRECTION\"", "delta_method = \"delta_correction\"", "Delta_Method = \"Delta_CORRECTION\""]
        {
            assert_eq!(shape(properties), "DELTA_CORRECTION");
        }
    }
}
