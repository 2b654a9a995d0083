//! Keeps every version of each key, with the time from which and to which it holds.

mod events;
mod guards;
mod invariants;
mod roles;
mod sweeps;
mod touched;
mod versions;

use qetl_core::{
    Concerns, Dataset, Flow, FlowType, Problems, RuleChange, Schema, Task, Type,
    decode::Sp,
    input::{AddedColumns, BatchMode},
    ir::{AsOf, Expr, Rel, Steps},
    plan::{Check, Dag, DagNode, DatasetKind, Expand, InputType, Invariant, Known, ReplaceKeys, Rule, WriteMode},
    problem::Problem,
    register_flow_type,
    registry::BatchRules,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::keyed;

use self::roles::{Bad, Roles};

/// `[properties]` of an scd2 flow.
#[derive(Debug, Deserialize, JsonSchema)]
struct Scd2 {
    /// The column that says from when on a row's values hold: a date or a timestamp, never NULL. The batch's execution time
    /// without it.
    effective_date_column: Option<Sp<String>>,
    /// Whether the date, or the hour, that the batch id is stands for the batch's execution time.
    #[schemars(default = "no")]
    effective_from_batch: Option<Sp<bool>>,
    /// The columns of which another value makes a new version; without it, all but the key and the columns that other keys
    /// name. Others are carried: a version has the values that it began with.
    #[schemars(length(min = 1))]
    change_detection_columns: Option<Vec<Sp<String>>>,
    /// Columns that make no new version: every version since the key last came has their latest values.
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

fn no() -> bool {
    false
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
        if let (Some(sequence), None) = (input.sequence_columns.first(), &self.effective_date_column) {
            let what = "`sequence_columns` needs `effective_date_column`: it says the order of rows of one effective time";
            let help = "name the column that says when rows take effect, or remove `sequence_columns`";
            problems.push(Problem::new("qetl::decode::sequence_columns", sequence.span, what).help(help));
        }
        self.check_columns(flow, &mut problems);
        self.check_ids(flow, &mut problems);
        keyed::check_load(flow, "versions are made from batches of rows", &mut problems);
        problems
    }

    /// All that is derived is a function of all landed batches.
    fn batches(&self, flow: &Flow) -> BatchRules {
        let absence_deletes = flow.input.batch_mode == BatchMode::Snapshot && self.closes();
        BatchRules {
            build_on_earlier: false,
            times_rise: self.effective_date_column.is_none() || absence_deletes,
            times_from_ids: self.effective_from_batch.as_ref().is_some_and(|from_batch| from_batch.value),
            ..BatchRules::default()
        }
    }

    fn key_columns(&self, flow: &Flow) -> Vec<String> {
        let mut columns = flow.input.needed_names();
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
            schema: versions_schema(cx, self.time(cx)?)?,
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
        let scan = |as_of| scan(cx, as_of);
        let mut tasks = Vec::new();
        let mut checks = self.landing(cx, &roles, &mut tasks)?;
        if let Some(most) = &cx.flow.input.max_delete_ratio {
            checks.push(Check { rule: Rule::MaxDeleteRatio(most.value), steps: roles.shares(&scan)?, guard: true });
        }
        let mut steps = Steps::default();
        let touched = roles.touched(&mut steps, &scan, stored(cx, &roles)?)?;
        let rows = steps.add("touched_rows", scan(AsOf::AllBatches)?.semi(touched, &roles.keys)?);
        let versions = roles.versions(&mut steps, "touched_", rows, scan(AsOf::AllBatches)?)?;
        steps.add("versions", versions);
        let whole = roles.whole(&scan)?;
        let replaced = ReplaceKeys { keys: roles.keys.clone(), touched: "touched".to_owned(), whole };
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
        invariants::promises(&roles, &stored(cx, &roles)?, roles.whole(&|as_of| scan(cx, as_of))?)
    }

    fn rule_changes(&self, cx: &Expand<'_>) -> Result<Vec<RuleChange>, Problems> {
        let roles = self.roles(cx)?;
        // Where rows act when their batches are executed, all else is as it was.
        let is_concerned = self.effective_date_column.is_some() || (roles.closes && roles.can_delete() && !roles.type1.is_empty());
        if !is_concerned {
            return Ok(Vec::new());
        }
        let (differing, mut steps) = invariants::difference(&stored(cx, &roles)?, roles.whole(&|as_of| scan(cx, as_of))?)?;
        steps.add("differing", differing.select(["xt_batch_id"])?);
        Ok(vec![RuleChange { since: 1, about: BY_TIME.to_owned(), concerns: Concerns::Batches(steps) }])
    }
}

/// What holds since rules 1.
const BY_TIME: &str = "versions are made in the order of effective times, deletions included, and a key that was missing leaves a gap";

/// What the versions add to the input columns.
const VERSION_COLUMNS: [&str; 6] =
    ["xt_version", "xt_effective_from", "xt_effective_to", "xt_is_current", "xt_batch_id", "xt_processed_at"];

fn versions_schema(cx: &Expand<'_>, time: Type) -> Result<Schema, Problems> {
    let types = [Type::Int, time, time, Type::Bool, Type::Int, Type::Timestamp];
    cx.schema(&VERSION_COLUMNS.into_iter().zip(types).collect::<Vec<_>>())
}

fn scan(cx: &Expand<'_>, as_of: AsOf) -> Result<Rel, Problems> {
    cx.landed(as_of)
}

/// The stored versions.
fn stored(cx: &Expand<'_>, roles: &Roles) -> Result<Rel, Problems> {
    Ok(Rel::scan(&cx.dataset("scd2"), &versions_schema(cx, roles.time)?, AsOf::AllBatches))
}

fn is(column: Option<&Sp<String>>, name: &str) -> bool {
    column.is_some_and(|column| column.value == name)
}

impl Scd2 {
    fn closes(&self) -> bool {
        self.on_delete.as_ref().is_none_or(|on_delete| on_delete.value == OnDelete::Close)
    }

    /// A warning that the ids are numbers, which are no dates.
    fn check_ids(&self, flow: &Flow, problems: &mut Problems) {
        let is_numbered = flow.load.as_ref().is_some_and(|load| load.batch_id_from.is_none());
        if let Some(from_batch) = self.effective_from_batch.as_ref().filter(|from_batch| from_batch.value && is_numbered) {
            let what = "`effective_from_batch` needs batch ids that are dates, and without `batch_id_from` files are numbered";
            let help = "take them from the file names, as in `batch_id_from = '(\\d{4}-\\d\\d-\\d\\d)'`, or name each with `--batch-id`";
            problems.push(Problem::new("qetl::decode::effective_from_batch", from_batch.span, what).help(help).warning());
        }
    }

    /// What is wrong with the columns that the properties name.
    fn check_columns(&self, flow: &Flow, problems: &mut Problems) {
        let input = &flow.input;
        let (effective, delete) = (self.effective_date_column.as_ref(), input.delete_column.as_ref());
        let is_key = |column: &Sp<String>| input.primary_key.iter().any(|key| key.value == column.value);
        let mut refuse = |code, column: &Sp<String>, why: &str, help: &str| {
            problems.push(Problem::new(code, column.span, format!("`{}` {why}", column.value)).help(help));
        };
        if let Some(column) = effective {
            let (code, help) = ("qetl::decode::effective_date_column", "name the column that says from when on the other values hold");
            if is_key(column) {
                refuse(code, column, "is a key column: it cannot say when a key's values take effect", help);
            } else if is(delete, column) {
                refuse(code, column, "marks deletions: it cannot say when values take effect", help);
            } else if input.sequence_columns.iter().any(|sequence| sequence.value == column.value) {
                let help = "take it out of `sequence_columns`, or name another column";
                refuse(code, column, "is a sequence too: these say the order of rows of one effective time", help);
            }
        }
        let type1 = self.type1_columns.as_deref().unwrap_or_default();
        for (index, column) in type1.iter().enumerate() {
            let (code, help) = ("qetl::decode::type1_column", "take it out of `type1_columns`");
            if type1[..index].iter().any(|other| other.value == column.value) {
                refuse("qetl::decode::duplicate_column", column, "stands twice in `type1_columns`", help);
            } else if is_key(column) {
                refuse(code, column, "is a key column: it is the same in every version already", help);
            } else if is(delete, column) {
                refuse(code, column, "marks deletions: it makes no version", help);
            } else if input.is_carried(column) {
                refuse(code, column, "says the order of rows: it makes no version", help);
            } else if is(effective, column) {
                refuse(code, column, "is `effective_date_column`: each version has its own", help);
            }
        }
        let tracked = self.change_detection_columns.as_deref().unwrap_or_default();
        for column in tracked {
            let help = "take it out of `change_detection_columns`";
            if is(effective, column) {
                refuse("qetl::decode::tracked_time", column, "is `effective_date_column`: it says when, not what", help);
            } else if type1.iter().any(|other| other.value == column.value) {
                let help = "take it out of `change_detection_columns`, or out of `type1_columns`";
                refuse(
                    "qetl::decode::tracked_type1",
                    column,
                    "makes a new version and is overwritten in every one: it can do one of the two",
                    help,
                );
            }
        }
        keyed::check_tracked(input, tracked, problems);
        for (key, column) in effective.map(|c| ("effective_date_column", c)).into_iter().chain(type1.iter().map(|c| ("type1_columns", c))) {
            input.check_column(column, key, problems);
        }
    }

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
        let ordered = keyed::check_sequence_types(cx).or(());
        let (time, marked) = match (time, marked, ordered) {
            (Ok(time), Ok(marked), Ok(())) => (time, marked),
            (time, marked, ordered) => {
                let mut problems = time.err().unwrap_or_default();
                problems.append(marked.err().unwrap_or_default());
                problems.append(ordered.err().unwrap_or_default());
                return Err(problems);
            }
        };
        let among = |names: &Option<Vec<Sp<String>>>, name: &str| names.iter().flatten().any(|column| column.value == name);
        let (keys, columns) = (input.key_names(), input.column_names().map(str::to_owned).collect::<Vec<_>>());
        let tracked = |name: &&String| match &self.change_detection_columns {
            Some(_) => among(&self.change_detection_columns, name),
            None => {
                let is_said = input.is_carried(name) || is(self.effective_date_column.as_ref(), name);
                !keys.contains(name) && !is_said && !among(&self.type1_columns, name)
            }
        };
        let bad = cx.landed_rows()?.bad(AsOf::AllBatches)?;
        let bad = bad.map(|rows| Ok::<_, Problems>(Bad { unreadable: keyed::unreadable(cx, rows.clone())?, rows })).transpose()?;
        let mut values = keyed::of_values(cx);
        let of_all = bad.is_some() && input.batch_mode == BatchMode::Snapshot && values.is_empty();
        if of_all {
            values.push(("xt_of_all".to_owned(), Expr::int(1)));
        }
        Ok(Roles {
            of_all,
            bad,
            effective: self.effective_date_column.as_ref().map(|column| column.value.clone()),
            sequence: input.sequence_names(),
            time,
            marked,
            tracked: columns.iter().filter(tracked).cloned().collect(),
            carries_added: input.added_columns == AddedColumns::Carried,
            type1: columns.iter().filter(|name| among(&self.type1_columns, name)).cloned().collect(),
            mode: input.batch_mode,
            values,
            duplicates: input.on_duplicate_key,
            nulls: input.on_null_key,
            closes: self.closes(),
            keys,
            columns,
        })
    }

    /// What is parked of the batch, if the flow parks rows; the rules for what was landed that no task has yet.
    fn landing(&self, cx: &Expand<'_>, roles: &Roles, tasks: &mut Vec<Task>) -> Result<Vec<Check>, Problems> {
        let mut steps = Steps::default();
        let landed = steps.add("landed", scan(cx, AsOf::ThisBatch)?);
        let unique = roles.unique(&mut steps, "", landed.clone())?;
        let named: Vec<String> = roles.identity().into_iter().filter(|name| name != "xt_batch_id").collect();
        let mut checks = keyed::landing_checks(cx, &named, unique.conflicts.clone().map(|rel| (steps.clone(), rel)))?;
        let mut parked = keyed::Parked::with_null(cx, &landed, &FlowType::key_columns(self, cx.flow))?;
        parked.add_conflicts(unique.conflicts, unique.conflicting)?;
        if roles.absence_deletes() {
            checks.extend(parked.warning(&steps)?);
        }
        let Some(name) = keyed::parked_name(cx) else { return Ok(checks) };
        tasks.push(parked.task(&name, &steps, checks)?);
        Ok(Vec::new())
    }
}

impl Roles {
    /// The instructions for the versions of all keys.
    fn whole(&self, scan: &dyn Fn(AsOf) -> Result<Rel, Problems>) -> Result<Steps, Problems> {
        let mut steps = Steps::default();
        let rows = steps.add("all_rows", scan(AsOf::AllBatches)?);
        let versions = self.versions(&mut steps, "all_", rows, scan(AsOf::AllBatches)?)?;
        steps.add("versions", versions);
        Ok(steps)
    }
}

register_flow_type!(Scd2);
