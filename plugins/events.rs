//! Events: rows of a user at a time, for flow types whose tables are functions of all rows that ever landed.

use qetl_core::{
    Dataset, DatasetName, Flow, Problems, Task, Type,
    decode::Sp,
    input::OnNullKey,
    ir::{AggregateFunction, AsOf, Expr, Order, Rel, RelError, Steps, WindowFunction},
    plan::{Check, DatasetKind, Expand, InputType, Known, LandedRows, Rule, WriteMode},
    problem::{Problem, Span},
    suggest,
};

use crate::keyed;

/// A column of the input that a property names, under either of two keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named<'a> {
    pub(crate) keys: [&'static str; 2],
    pub(crate) given: [Option<&'a Sp<String>>; 2],
    /// The column when neither is given.
    pub(crate) default: &'static str,
}

impl<'a> Named<'a> {
    pub(crate) fn name(&self) -> &'a str {
        self.given.into_iter().flatten().next().map_or(self.default, |name| name.as_str())
    }

    /// Where the name stands: that of a default in the columns, or nowhere, which is at `flow_type`.
    pub(crate) fn span(&self, flow: &Flow) -> Span {
        let column = || flow.input.columns.iter().find(|column| *column.name == *self.name()).map(|column| column.name.span);
        let given = self.given.into_iter().flatten().next().map(|name| name.span);
        given.or_else(column).unwrap_or(flow.header.flow_type.span)
    }

    /// Both keys at once, and a column that is not there.
    pub(crate) fn problems(&self, flow: &Flow) -> Problems {
        let mut problems = Problems::default();
        let [first, second] = self.keys;
        if let [Some(_), Some(again)] = self.given {
            let what = format!("`{first}` and `{second}` are two names of one property");
            problems.push(Problem::new("qetl::decode::two_names", again.span, what).label("given already").help("remove one of them"));
        }
        for (key, name) in self.keys.into_iter().zip(self.given) {
            if let Some(name) = name {
                flow.input.check_column(name, key, &mut problems);
            }
        }
        if self.given == [None, None] && !flow.input.column_names().any(|column| column == self.default) {
            let what = format!("column `{}`, the default of `{first}`, is not in `[input] columns`", self.default);
            let help = format!("name the column with `{first} = \"…\"`; {}", suggest::help(self.default, flow.input.column_names()));
            problems.push(Problem::new("qetl::decode::unknown_column", flow.header.flow_type.span, what).label("needs it").help(help));
        }
        problems
    }
}

/// The columns without which a row is no event, for [`FlowType::key_columns`](qetl_core::FlowType::key_columns).
pub(crate) fn needed_columns(flow: &Flow, user: &str, time: &str) -> Vec<String> {
    let mut columns = vec![user.to_owned(), time.to_owned()];
    columns.extend(flow.input.key_names().into_iter().filter(|key| key != user && key != time));
    columns
}

/// A warning that the flow reads neither files nor a dataset.
pub(crate) fn nothing_to_read(flow: &Flow, label: &str) -> Option<Problem> {
    let what = "the flow reads nothing: `[properties.load]` is missing";
    let help = "add `[properties.load]` with `source_path = \"data/…\"`, or name files with `--batch-id N --input FILE`";
    let problem = || Problem::new("qetl::decode::reads_nothing", flow.header.flow_type.span, what).label(label).help(help).warning();
    (flow.load.is_none() && flow.input.source_dataset.is_none()).then(problem)
}

/// The input's types; a time of which nothing is known yet is presumed to be a timestamp, so that the flow can be planned.
pub(crate) fn presume_timestamp(input: &[InputType], time: &str) -> Vec<InputType> {
    let presumed = |column: &InputType| column.name == time && column.known == Known::Presumed;
    let with_type = |column: &InputType| InputType { ty: if presumed(column) { Type::Timestamp } else { column.ty }, ..column.clone() };
    input.iter().map(with_type).collect()
}

/// The events that a flow has landed: the rows that have a user, a time and a key, of each declared key the first.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    landing: LandedRows,
    user: Vec<String>,
    keys: Vec<String>,
    /// The columns of both.
    user_and_keys: Vec<String>,
    /// Those without which a row is no event.
    needed: Vec<String>,
    /// What is read of each row.
    columns: Vec<String>,
    /// Rows that lack one of them are set aside.
    parks_nulls: bool,
    parked: Option<DatasetName>,
}

/// What orders rows of different batches, beside their columns.
const PLACE: [&str; 3] = ["xt_batch_id", "xt_source_file", "xt_row_number"];

impl Events {
    /// Events with these input columns (user, time and key come by themselves) and with `xt_batch_id`, `xt_source_file` and
    /// `xt_row_number`.
    pub(crate) fn of(cx: &Expand<'_>, user: &str, time: &str, columns: &[String]) -> Result<Self, Problems> {
        let needed = needed_columns(cx.flow, user, time);
        let read = cx.flow.input.column_names().filter(|name| needed.iter().chain(columns).any(|column| column == name)).chain(PLACE);
        let keys = cx.flow.input.key_names();
        Ok(Self {
            landing: cx.landed_rows()?,
            user: vec![user.to_owned()],
            user_and_keys: needed.iter().filter(|column| *column == user || keys.contains(column)).cloned().collect(),
            columns: read.map(str::to_owned).collect(),
            keys,
            needed,
            parks_nulls: cx.flow.input.on_null_key == OnNullKey::Park,
            parked: keyed::parked_name(cx),
        })
    }

    /// All events.
    pub(crate) fn all(&self, steps: &mut Steps) -> Result<Rel, RelError> {
        if self.keys.is_empty() {
            return self.accepted(AsOf::AllBatches, &self.columns);
        }
        let repeated = self.repeated(steps, self.accepted(AsOf::AllBatches, &self.keys)?)?;
        let single = self.accepted(AsOf::AllBatches, &self.columns)?.anti(repeated.clone(), &self.keys)?;
        Rel::union(vec![single, self.first_of(repeated)?])
    }

    /// The users whose events may differ since the batch came, as the step `touched`.
    ///
    /// Rows that come or go move the first occurrence of their keys, also to and from other users' rows.
    pub(crate) fn touched(&self, steps: &mut Steps) -> Result<Rel, RelError> {
        let changed =
            |columns: &[String]| Rel::union(vec![self.accepted(AsOf::ThisBatch, columns)?, self.accepted(AsOf::ReplacedBatch, columns)?]);
        let users = if self.keys.is_empty() {
            changed(&self.user)?
        } else {
            let changed_keys = steps.add_small("changed_keys", changed(&self.keys)?.aggregate(&self.keys, Vec::new())?);
            let sharing = self.accepted(AsOf::AllBatches, &self.user_and_keys)?.semi(changed_keys, &self.keys)?.select(&self.user)?;
            Rel::union(vec![sharing, self.accepted(AsOf::ReplacedBatch, &self.user)?])?
        };
        Ok(steps.add_small("touched", users.aggregate(&self.user, Vec::new())?))
    }

    /// The events of the touched users.
    pub(crate) fn of_touched(&self, steps: &mut Steps, touched: &Rel) -> Result<Rel, RelError> {
        let theirs = |columns: &[String]| self.accepted(AsOf::AllBatches, columns)?.semi(touched.clone(), &self.user);
        if self.keys.is_empty() {
            return theirs(&self.columns);
        }
        let their_keys = steps.add("their_keys", theirs(&self.user_and_keys)?.aggregate(&self.keys, Vec::new())?);
        let sharing = self.accepted(AsOf::AllBatches, &self.keys)?.semi(their_keys, &self.keys)?;
        let repeated = self.repeated(steps, sharing)?;
        let single = theirs(&self.columns)?.anti(repeated.clone(), &self.keys)?;
        Rel::union(vec![single, self.first_of(repeated)?.semi(touched.clone(), &self.user)?])
    }

    /// The keys that stand more than once: few, so that the order of rows is looked at for theirs alone.
    fn repeated(&self, steps: &mut Steps, rows: Rel) -> Result<Rel, RelError> {
        let counted = rows.aggregate(&self.keys, vec![("xt_rows".to_owned(), AggregateFunction::Count)])?;
        let many = counted.filter(Expr::column("xt_rows").gt(Expr::int(1)))?;
        Ok(steps.add_small("repeated_keys", many.select(&self.keys)?))
    }

    /// The first row of each of the keys, over all batches.
    fn first_of(&self, keys: Rel) -> Result<Rel, RelError> {
        let rows = self.accepted(AsOf::AllBatches, &self.columns)?.semi(keys, &self.keys)?;
        let order = arrival().map(|by| Order { by, descending: false }).to_vec();
        let numbered = rows.window("xt_copy", WindowFunction::RowNumber, &self.keys, order)?;
        numbered.filter(Expr::column("xt_copy").eq(Expr::int(1)))?.select(&self.columns)
    }

    /// The landed rows that lack nothing. Where landing refuses rows that do, only the columns that are read are looked at.
    fn accepted(&self, as_of: AsOf, columns: &[String]) -> Result<Rel, RelError> {
        let looked_at = self.needed.iter().filter(|column| self.parks_nulls || columns.contains(column));
        let whole = Expr::all(looked_at.map(|column| Expr::column(column).is_null().not()));
        self.landing.good(as_of)?.filter(whole)?.select(columns)
    }

    /// Landing refuses rows that lack something; those of before the flow named these columns are refused here.
    pub(crate) fn checks(&self) -> Result<Vec<Check>, RelError> {
        if self.parks_nulls {
            return Ok(Vec::new());
        }
        let lacking = self.landing.good(AsOf::AllBatches)?.filter(Expr::any(self.lacking()))?;
        let mut steps = Steps::default();
        steps.add("lacking", lacking.select(self.needed.iter().map(String::as_str).chain(PLACE))?.limit(100)?);
        let problem = format!("landed rows have NULL in {}", self.needed.join(", "));
        let help = "name other columns, or set such rows aside with `on_null_key = \"park\"`".to_owned();
        Ok(vec![Check { rule: Rule::None { problem, help }, steps, guard: false }])
    }

    fn lacking(&self) -> impl Iterator<Item = Expr> {
        self.needed.iter().map(|column| Expr::column(column).is_null())
    }

    /// The dataset of the rows that are no events, if the flow sets them aside.
    pub(crate) fn parked_dataset(&self, cx: &Expand<'_>) -> Result<Option<Dataset>, Problems> {
        let nulls = "rows set aside because of NULL in the user, time or key, with the reason";
        let about = match (cx.flow.reader.parks_bad_rows(), self.parks_nulls) {
            (false, _) => nulls,
            (true, false) => "rows set aside because they do not fit, with the reason",
            (true, true) => "rows set aside because they do not fit, or because of NULL in the user, time or key, with the reason",
        };
        let schema = keyed::parked_schema(cx)?;
        let dataset = |name: &DatasetName| Dataset { name: name.clone(), schema, kind: DatasetKind::Derived, about: about.to_owned() };
        Ok(self.parked.as_ref().map(dataset))
    }

    /// What fills that dataset.
    pub(crate) fn parked_task(&self, cx: &Expand<'_>) -> Result<Option<Task>, Problems> {
        let Some(parked) = &self.parked else { return Ok(None) };
        let mut rows: Vec<Rel> = keyed::parked_bad(cx)?.into_iter().collect();
        if self.parks_nulls {
            let lacking = self.landing.good(AsOf::ThisBatch)?.filter(Expr::any(self.lacking()))?;
            rows.push(keyed::as_parked(cx, lacking, &Expr::text("null_key"))?);
        }
        let mut steps = Steps::default();
        steps.add("parked", Rel::union(rows)?);
        let count_by = Some("xt_parked_reason".to_owned());
        Ok(Some(Task { target: parked.clone(), steps, write_mode: WriteMode::ReplaceBatch, count_by, checks: Vec::new() }))
    }
}

/// Batch, file, row: the order in which rows stand, whenever they came.
pub(crate) fn arrival() -> [Expr; 3] {
    [Expr::column("xt_batch_id"), Expr::file_position(), Expr::column("xt_row_number")]
}
