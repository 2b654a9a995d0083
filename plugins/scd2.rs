//! Keeps every version of each key, with the time from which and to which it holds.

mod versions;

use qetl_core::{
    Dataset, Flow, FlowType, Problems, Task, Type,
    decode::Sp,
    input::{BatchMode, OnDuplicateKey},
    ir::{AggregateFunction, AsOf, Expr, JoinKind, Order, Rel, RelError, Steps, WindowFunction},
    plan::{Check, Dag, DagNode, DatasetKind, Expand, InputType, Invariant, Known, LANDING_COLUMNS, ReplaceKeys, Rule, WriteMode},
    problem::Problem,
    register_flow_type,
    registry::BatchRules,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keyed;

use self::versions::Roles;

/// `[properties]` of an scd2 flow.
#[derive(Debug, Deserialize, JsonSchema)]
struct Scd2 {
    /// The column that says from when on a row's values hold: a date or a timestamp, never NULL. The batch's execution time
    /// without it.
    effective_date_column: Option<Sp<String>>,
    /// Columns that make no new version: every version of a key has their latest values.
    #[schemars(length(min = 1))]
    type1_columns: Option<Vec<Sp<String>>>,
    /// What a deletion does to the key's open version.
    #[schemars(default = "closes")]
    on_delete: Option<Sp<OnDelete>>,
}

/// What a deletion does to the key's open version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnDelete {
    /// It ends; a return begins a new one.
    #[default]
    Close,
    /// Nothing.
    Ignore,
}

fn closes() -> OnDelete {
    OnDelete::Close
}

impl FlowType for Scd2 {
    const NAME: &'static str = "scd2";
    const SUMMARY: &'static str = "every version of each key, with the time from which and to which it holds";
    const INPUT_KEYS: &'static [&'static str] = keyed::INPUT_KEYS;
    const REQUIRED_INPUT: &'static [&'static str] = &["primary_key", "columns"];

    fn problems(&self, flow: &Flow) -> Problems {
        let mut problems = Problems::default();
        let input = &flow.input;
        keyed::check_delete_ratio(input, &mut problems);
        if let (Some(on_delete), BatchMode::Delta, None) = (&self.on_delete, input.batch_mode, &input.delete_column) {
            let what = "`on_delete` does nothing here: a delta batch without `delete_column` deletes nothing";
            problems.push(Problem::new("qetl::decode::inert_key", on_delete.span, what).help("remove the key"));
        }
        let is_key = |column: &Sp<String>| input.primary_key.iter().any(|key| key.value == column.value);
        let is_delete = |column: &Sp<String>| input.delete_column.as_ref().is_some_and(|delete| delete.value == column.value);
        let mut refuse = |code, column: &Sp<String>, why: &str, help: &str| {
            problems.push(Problem::new(code, column.span, format!("`{}` {why}", column.value)).help(help));
        };
        if let Some(column) = &self.effective_date_column {
            let (code, help) = ("qetl::decode::effective_date_column", "name the column that says from when on the other values hold");
            if is_key(column) {
                refuse(code, column, "is a key column: it cannot say when a key's values take effect", help);
            } else if is_delete(column) {
                refuse(code, column, "marks deletions: it cannot say when values take effect", help);
            }
        }
        let type1 = self.type1_columns.as_deref().unwrap_or_default();
        for (index, column) in type1.iter().enumerate() {
            let (code, help) = ("qetl::decode::type1_column", "take it out of `type1_columns`");
            if type1[..index].iter().any(|other| other.value == column.value) {
                refuse("qetl::decode::duplicate_column", column, "stands twice in `type1_columns`", help);
            } else if is_key(column) {
                refuse(code, column, "is a key column: it is the same in every version already", help);
            } else if is_delete(column) {
                refuse(code, column, "marks deletions: it makes no version", help);
            } else if self.effective_date_column.as_ref().is_some_and(|effective| effective.value == column.value) {
                refuse(code, column, "is `effective_date_column`: each version has its own", help);
            }
        }
        for (key, column) in
            self.effective_date_column.iter().map(|c| ("effective_date_column", c)).chain(type1.iter().map(|c| ("type1_columns", c)))
        {
            input.check_column(column, key, &mut problems);
        }
        keyed::check_load(flow, "versions are made from batches of rows", &mut problems);
        problems
    }

    /// All that is derived is a function of all landed batches.
    fn batches(&self, _flow: &Flow) -> BatchRules {
        BatchRules { build_on_earlier: false, times_rise: self.effective_date_column.is_none(), ..BatchRules::default() }
    }

    fn key_columns(&self, flow: &Flow) -> Vec<String> {
        let mut columns = flow.input.key_names();
        columns.extend(self.effective_date_column.iter().map(|column| column.value.clone()));
        columns
    }

    /// Where nothing but a time can stand, landing says which value is none.
    fn pinned_type(&self, _flow: &Flow, _columns: &[InputType], column: &InputType, _decimals: Option<u8>) -> Type {
        let is_time = self.effective_date_column.as_ref().is_some_and(|effective| effective.value == column.name);
        if is_time && column.ty != Type::Date { Type::Timestamp } else { column.ty }
    }

    fn datasets(&self, cx: &Expand<'_>) -> Result<Vec<Dataset>, Problems> {
        let mut datasets = vec![cx.landing()?];
        if let Some(parked) = keyed::parked_name(cx) {
            datasets.push(keyed::parked_dataset(cx, &parked)?);
        }
        datasets.push(Dataset {
            name: cx.dataset("scd2"),
            schema: cx.schema(&version_columns(self.time(cx)?))?,
            kind: DatasetKind::Derived,
            about: "every version of each key".to_owned(),
        });
        Ok(datasets)
    }

    fn dag(&self, cx: &Expand<'_>) -> Result<Dag, Problems> {
        let made = keyed::parked_name(cx).into_iter().chain([cx.dataset("scd2")]);
        let landing = cx.dataset("landing");
        let nodes = made.map(|dataset| DagNode { dataset, from: vec![landing.clone()] });
        Ok(Dag(std::iter::once(DagNode { dataset: landing.clone(), from: Vec::new() }).chain(nodes).collect()))
    }

    fn instructions(&self, cx: &Expand<'_>) -> Result<Vec<Task>, Problems> {
        let roles = self.roles(cx)?;
        let mut tasks = Vec::new();
        let mut checks = self.landing(cx, &roles, &mut tasks)?;
        checks.extend(self.guards(cx, &roles)?);

        let mut steps = Steps::default();
        let touched = touched(cx, &roles, &mut steps)?;
        let landed = scan(cx, AsOf::AllBatches)?.semi(touched, &roles.keys)?;
        let rows = steps.add("touched_rows", self.with_keys(cx, landed)?);
        let versions = roles.versions(&mut steps, "touched_", rows)?;
        steps.add("versions", versions);
        let replaced = ReplaceKeys { keys: roles.keys.clone(), touched: "touched".to_owned(), whole: self.whole(cx, &roles)? };
        tasks.push(Task {
            target: cx.dataset("scd2"),
            steps,
            write_mode: WriteMode::ReplaceKeys(Box::new(replaced)),
            count_by: None,
            checks,
        });
        Ok(tasks)
    }

    fn invariants(&self, cx: &Expand<'_>) -> Result<Vec<Invariant>, Problems> {
        let roles = self.roles(cx)?;
        promises(cx, &roles, self.whole(cx, &roles)?)
    }
}

/// What the versions add to the input columns.
fn version_columns(time: Type) -> [(&'static str, Type); 6] {
    [
        ("xt_version", Type::Int),
        ("xt_effective_from", time),
        ("xt_effective_to", time),
        ("xt_is_current", Type::Bool),
        ("xt_batch_id", Type::Int),
        ("xt_processed_at", Type::Timestamp),
    ]
}

fn scan(cx: &Expand<'_>, as_of: AsOf) -> Result<Rel, Problems> {
    Ok(Rel::scan(&cx.dataset("landing"), &cx.schema(&LANDING_COLUMNS)?, as_of))
}

/// The stored versions.
fn versions(cx: &Expand<'_>, roles: &Roles) -> Result<Rel, Problems> {
    Ok(Rel::scan(&cx.dataset("scd2"), &cx.schema(&version_columns(roles.time))?, AsOf::AllBatches))
}

impl Scd2 {
    /// The type of effective times.
    fn time(&self, cx: &Expand<'_>) -> Result<Type, Problems> {
        let Some(effective) = &self.effective_date_column else { return Ok(Type::Timestamp) };
        let column = cx.input.iter().find(|column| column.name == effective.value);
        match column {
            Some(column) if matches!(column.ty, Type::Date | Type::Timestamp) => Ok(column.ty),
            Some(column) if column.known != Known::Presumed => {
                let what = format!("`{}` is of type {}: effective times are dates or timestamps", column.name, column.ty);
                let problem = Problem::new("qetl::expand::effective_date_column", effective.span, what).label("not a time");
                Err(problem.help("give the column `schema_type = \"date\"` or `\"timestamp\"`, or name another one").into())
            }
            Some(_) | None => Ok(Type::Timestamp),
        }
    }

    fn roles(&self, cx: &Expand<'_>) -> Result<Roles, Problems> {
        let input = &cx.flow.input;
        let time = self.time(cx);
        let marked = input.delete_column.as_ref().map(|column| keyed::is_marked(cx, column)).transpose();
        let (time, marked) = match (time, marked) {
            (Ok(time), Ok(marked)) => (time, marked),
            (time, marked) => {
                let mut problems = time.err().unwrap_or_default();
                problems.append(marked.err().unwrap_or_default());
                return Err(problems);
            }
        };
        let is = |column: &Option<Sp<String>>, name: &str| column.as_ref().is_some_and(|column| column.value == name);
        let is_type1 = |name: &str| self.type1_columns.iter().flatten().any(|column| column.value == name);
        let (keys, columns) = (input.key_names(), input.column_names().map(str::to_owned).collect::<Vec<_>>());
        let apart = |name: &String| keys.contains(name) || is(&input.delete_column, name) || is(&self.effective_date_column, name);
        let (type1, tracked) = columns.iter().filter(|name| !apart(name)).cloned().partition(|name: &String| is_type1(name));
        Ok(Roles {
            effective: self.effective_date_column.as_ref().map(|column| column.value.clone()),
            time,
            marked,
            tracked,
            type1,
            mode: input.batch_mode,
            policy: input.on_duplicate_key,
            closes: self.on_delete.as_ref().is_none_or(|on_delete| on_delete.value == OnDelete::Close),
            keys,
            columns,
        })
    }

    fn with_keys(&self, cx: &Expand<'_>, rows: Rel) -> Result<Rel, RelError> {
        keyed::with_keys(&cx.flow.input, rows, &FlowType::key_columns(self, cx.flow))
    }

    /// What is parked of the batch, if the flow parks rows; the rules for what was landed that no task has yet.
    fn landing(&self, cx: &Expand<'_>, roles: &Roles, tasks: &mut Vec<Task>) -> Result<Vec<Check>, Problems> {
        let mut steps = Steps::default();
        let landed = steps.add("landed", scan(cx, AsOf::ThisBatch)?);
        let rows = steps.add("keyed", self.with_keys(cx, landed.clone())?);
        let unique = roles.unique(&mut steps, "", rows)?;
        let mut keys = roles.keys.clone();
        // Where rows may be marked, two of different times may be in conflict.
        keys.extend(roles.effective.iter().filter(|_| roles.marked.is_none()).cloned());
        let checks = keyed::landing_checks(cx, &keys, unique.conflicts.clone().map(|rel| (steps.clone(), rel)))?;
        let Some(name) = keyed::parked_name(cx) else { return Ok(checks) };
        let mut parked = keyed::Parked::with_null(cx, &landed, &FlowType::key_columns(self, cx.flow))?;
        parked.add_conflicts(unique.conflicts, unique.conflicting)?;
        tasks.push(parked.task(&name, &steps, checks)?);
        Ok(Vec::new())
    }

    /// The share of live keys that the batch deletes.
    fn guards(&self, cx: &Expand<'_>, roles: &Roles) -> Result<Vec<Check>, Problems> {
        let Some(most) = &cx.flow.input.max_delete_ratio else { return Ok(Vec::new()) };
        let mut steps = Steps::default();
        // Two snapshots tell, unless a parked key is live because an older one showed it.
        let rows = match (roles.mode, roles.policy) {
            (BatchMode::Snapshot, OnDuplicateKey::Fail | OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast) => {
                Rel::union(vec![scan(cx, AsOf::PreviousBatch)?, scan(cx, AsOf::ThisBatch)?])?
            }
            (BatchMode::Snapshot, OnDuplicateKey::Park) | (BatchMode::Delta, _) => scan(cx, AsOf::AllBatches)?,
        };
        let rows = steps.add("guarded_rows", self.with_keys(cx, rows)?);
        let unique = roles.unique(&mut steps, "guarded_", rows)?;
        let batches = Roles::batches(&mut steps)?;
        let until = || Expr::column("xt_until");
        let is_there = until().is_null().or(Expr::batch_id().lt_eq(until()));
        let live = roles.stays(&mut steps, "guarded_", &unique, &batches)?;
        let live = live.filter(Expr::column("xt_began").lt(Expr::batch_id()).and(is_there))?;
        let deleted = until().eq(Expr::batch_id()).and(Expr::column("xt_deleted").eq(Expr::int(1)));
        let deleted = Expr::case(vec![(deleted, Expr::int(1))], Some(Expr::int(0)));
        let figures = vec![("deleted".to_owned(), AggregateFunction::Sum(deleted)), ("live".to_owned(), AggregateFunction::Count)];
        steps.add("shares", live.aggregate(&[], figures)?);
        Ok(vec![Check { rule: Rule::MaxDeleteRatio(most.value), steps: steps.needed(), guard: true }])
    }

    /// The instructions for the versions of all keys.
    fn whole(&self, cx: &Expand<'_>, roles: &Roles) -> Result<Steps, Problems> {
        let mut steps = Steps::default();
        let rows = steps.add("all_rows", self.with_keys(cx, scan(cx, AsOf::AllBatches)?)?);
        let versions = roles.versions(&mut steps, "all_", rows)?;
        steps.add("versions", versions);
        Ok(steps)
    }
}

/// The promises that can be checked on the stored tables.
fn promises(cx: &Expand<'_>, roles: &Roles, whole: Steps) -> Result<Vec<Invariant>, Problems> {
    let keys = &roles.keys;
    let stored = versions(cx, roles)?;
    let column = Expr::column;
    let (version, from, to) = (|| column("xt_version"), || column("xt_effective_from"), || column("xt_effective_to"));
    let by_version = || vec![Order { by: version(), descending: false }];
    let shown: Vec<String> = keys.iter().cloned().chain(version_columns(roles.time).map(|(name, _)| name.to_owned())).collect();
    let mut promises = Vec::new();
    let mut promise = |name: &str, about: &str, mut steps: Steps, broken: Rel| {
        steps.add(name, broken);
        promises.push(Invariant { name: name.to_owned(), about: about.to_owned(), steps });
    };

    let numbered = stored.clone().window("xt_expected", WindowFunction::RowNumber, keys, by_version())?;
    let numbered =
        numbered.filter(version().not_eq(column("xt_expected")))?.select(shown.iter().map(String::as_str).chain(["xt_expected"]))?;
    promise("versions_are_numbered", "the versions of a key are numbered 1, 2, …", Steps::default(), numbered);

    let empty = stored.clone().filter(to().lt_eq(from()))?.select(&shown)?;
    promise("versions_last", "a version ends after it begins", Steps::default(), empty);

    let followed = stored.clone().window("xt_next_version", WindowFunction::Lead(version()), keys, by_version())?.window(
        "xt_next_from",
        WindowFunction::Lead(from()),
        keys,
        by_version(),
    )?;
    let overlap = column("xt_next_version").is_null().not().and(to().is_null().or(column("xt_next_from").lt(to())));
    let overlapping = followed.filter(overlap)?.select(shown.iter().map(String::as_str).chain(["xt_next_version", "xt_next_from"]))?;
    promise("versions_do_not_overlap", "a version ends before the next one of its key begins", Steps::default(), overlapping);

    let unlike = stored.clone().filter(column("xt_is_current").is_distinct(to().is_null()))?.select(&shown)?;
    promise("current_is_open", "the versions without an end are the current ones", Steps::default(), unlike);

    let current = stored.clone().filter(column("xt_is_current"))?;
    let several = current.aggregate(keys, vec![("xt_versions".to_owned(), AggregateFunction::Count)])?;
    let several = several.filter(column("xt_versions").gt(Expr::int(1)))?;
    promise("one_current_version", "a key has at most one current version", Steps::default(), several);

    if !roles.type1.is_empty() {
        let by: Vec<String> = keys.iter().chain(&roles.type1).cloned().collect();
        let values = stored.clone().aggregate(&by, Vec::new())?;
        let values = values.aggregate(keys, vec![("xt_values".to_owned(), AggregateFunction::Count)])?;
        let values = values.filter(column("xt_values").gt(Expr::int(1)))?;
        promise("type1_values_are_one", "every version of a key has the same type-1 values", Steps::default(), values);
    }

    let names: Vec<String> = stored.column_names().map(str::to_owned).collect();
    let tagged = |rel: Rel, stored: i64| {
        let own = names.iter().map(|name| (name.clone(), column(name)));
        rel.project(own.chain([("xt_stored".to_owned(), Expr::int(stored))]).collect())
    };
    let mut steps = whole;
    let Some(last) = steps.0.pop() else { return Ok(promises) };
    let derived = steps.add(&last.name, last.rel);
    let sum = ("xt_stored".to_owned(), AggregateFunction::Sum(column("xt_stored")));
    let both = Rel::union(vec![tagged(stored, 1)?, tagged(derived, 0)?])?;
    let both = both.aggregate(&names, vec![sum, ("xt_rows".to_owned(), AggregateFunction::Count)])?;
    let pair = column("xt_rows").eq(Expr::int(2)).and(column("xt_stored").eq(Expr::int(1)));
    promise("versions_are_as_landed", "the versions are those that all landed batches give", steps, both.filter(pair.not())?);
    Ok(promises)
}

/// The keys whose versions this batch may change.
///
/// A delta changes those of its own keys. A snapshot that says of a key what the one before it says is as good as none.
fn touched(cx: &Expand<'_>, roles: &Roles, steps: &mut Steps) -> Result<Rel, Problems> {
    let keys = &roles.keys;
    if roles.mode == BatchMode::Delta {
        let both = [AsOf::ThisBatch, AsOf::ReplacedBatch].map(|as_of| Ok::<_, Problems>(scan(cx, as_of)?.select(keys)?));
        let both = Rel::union(both.into_iter().collect::<Result<_, _>>()?)?;
        return Ok(steps.add_small("touched", keyed::with_all(both, keys)?.aggregate(keys, Vec::new())?));
    }
    let sides = [("xt_before", AsOf::PreviousBatch), ("xt_now", AsOf::ThisBatch), ("xt_was", AsOf::ReplacedBatch)];
    let shown = sides.iter().map(|(side, as_of)| {
        let own = roles.columns.iter().map(|column| (column.clone(), Expr::column(column)));
        let marks = sides.iter().map(|(other, _)| ((*other).to_owned(), Expr::int(i64::from(other == side))));
        Ok::<_, Problems>(scan(cx, *as_of)?.project(own.chain(marks).collect())?)
    });
    let shown = keyed::with_all(Rel::union(shown.collect::<Result<_, _>>()?)?, keys)?;
    let greatest = |name: &str| (name.to_owned(), AggregateFunction::Max(Expr::column(name)));
    let shown = shown.aggregate(&roles.columns, sides.iter().map(|(side, _)| greatest(side)).collect())?;

    // A batch without rows may have been replaced; then it deleted all that the one before it shows.
    let replaced = scan(cx, AsOf::ReplacedBatch)?.project(vec![("xt_replaced".to_owned(), Expr::int(1))])?;
    let sign = |yes: Expr| vec![("xt_replaced".to_owned(), Expr::case(vec![(yes, Expr::int(1))], Some(Expr::int(0))))];
    let mut signs = vec![replaced, Rel::batches().project(vec![("xt_replaced".to_owned(), Expr::int(0))])?];
    if roles.closes {
        // The newest batch was not empty as long as it left a version open; of another one nothing tells.
        signs.push(Rel::batches().project(sign(Expr::column("xt_batch_id").gt(Expr::batch_id())))?);
        let open = versions(cx, roles)?.filter(Expr::column("xt_is_current"))?;
        let open = open.aggregate(&[], vec![("xt_open".to_owned(), AggregateFunction::Count)])?;
        signs.push(open.project(sign(Expr::column("xt_open").eq(Expr::int(0))))?);
    }
    let replaced = Rel::union(signs)?.aggregate(&[], vec![greatest("xt_replaced")])?;
    let one = || ("xt_one".to_owned(), Expr::int(1));
    let replaced = replaced.project(vec![one(), ("xt_replaced".to_owned(), Expr::column("xt_replaced"))])?;
    let replaced = steps.add_small("replaced", replaced);

    let all: Vec<String> = shown.column_names().map(str::to_owned).collect();
    let shown = shown.project(all.iter().map(|name| (name.clone(), Expr::column(name))).chain([one()]).collect())?;
    let kept = all.iter().map(|name| (name.clone(), Expr::left(name)));
    let kept = kept.chain([("xt_replaced".to_owned(), Expr::right("xt_replaced"))]).collect();
    let on_one = [("xt_one".to_owned(), "xt_one".to_owned())];
    let shown = steps.add("shown", shown.join(JoinKind::Inner, replaced, &on_one, kept)?);
    let differs = |side: &str| Expr::column("xt_before").not_eq(Expr::column(side));
    let is_replaced = Expr::column("xt_replaced").eq(Expr::int(1));
    let mut touched = vec![shown.clone().filter(differs("xt_now").or(is_replaced.and(differs("xt_was"))))?.select(keys)?];
    // Which of a key's rows counts depends on their order, which is not compared.
    if matches!(roles.policy, OnDuplicateKey::KeepFirst | OnDuplicateKey::KeepLast) {
        let by: Vec<String> = keys.iter().chain(roles.effective.iter().filter(|_| roles.marked.is_none())).cloned().collect();
        let sums = sides.iter().map(|(side, _)| ((*side).to_owned(), AggregateFunction::Sum(Expr::column(side))));
        let several = shown.aggregate(&by, sums.collect())?;
        let several = several.filter(Expr::any(sides.iter().map(|(side, _)| Expr::column(side).gt(Expr::int(1)))))?;
        touched.push(several.select(keys)?);
    }
    Ok(steps.add_small("touched", Rel::union(touched)?.aggregate(keys, Vec::new())?))
}

register_flow_type!(Scd2);
