//! Tasks, checked without running them: templates filled in, SQL read, names and types compared with what sources have.

use std::collections::BTreeMap;

use qetl_core::{
    Column, Concerns, DatasetName, Flow, Problem, Problems, RuleChange, Type,
    plan::{self, Known as KnownType},
    schema::same_name,
    standard::{
        Kept, Reading, Rendered, SourceScope, StandardFlow, StandardTask, StatementKind, TaskWork, TemplateContext, WriteMode,
        same_dataset, scopes,
    },
    suggest,
};

use super::{
    bench::{Known, KnownColumns, Statement},
    kept, types,
};
use crate::{Engine, RunError, flows, records::FlowRecords, run::plan_of};

/// What a task says for one batch.
#[derive(Debug, Clone)]
pub(super) struct TaskText {
    pub(super) rendered: Rendered,
    /// Of SQL.
    pub(super) statement: Option<Statement>,
    /// `None` for an ingestion, whose batches replace themselves.
    pub(super) mode: Option<WriteMode>,
}

/// What the tasks were found to make.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Also of the datasets that were known before.
    pub(super) known: Known,
    pub(super) warnings: Problems,
    /// What could not be checked, and why.
    pub(super) notes: Vec<String>,
}

/// The columns that qetl adds to what SQL and scripts make.
fn own_columns() -> [Column; 2] {
    [Column::new("xt_batch_id", Type::Int), Column::new("xt_processed_at", Type::Timestamp)]
}

/// Fills in every task's templates and reads its SQL. The flow comes back with the datasets that SQL alone names.
pub(super) fn texts(
    engine: &dyn Engine,
    flow: &StandardFlow,
    context: &TemplateContext<'_>,
) -> Result<(StandardFlow, BTreeMap<String, TaskText>, Problems), Problems> {
    let (mut problems, mut texts, mut reads) = (Problems::default(), BTreeMap::new(), BTreeMap::new());
    for task in &flow.tasks {
        match text(engine, flow, task, context) {
            Err(found) => problems.append(found),
            Ok(text) => {
                if let Some(statement) = &text.statement {
                    reads.insert(task.id.value.clone(), statement.reads.clone());
                }
                texts.insert(task.id.value.clone(), text);
            }
        }
    }
    problems.append(shared_landings(flow));
    if problems.has_errors() {
        return Err(problems);
    }
    let flow = flow.with_reads(&reads)?;
    Ok((flow, texts, problems))
}

/// How a task reads each of its datasets, given how they are kept.
#[derive(Debug, Clone)]
pub(super) struct Read {
    pub(super) reading: Reading,
    pub(super) scope: SourceScope,
}

/// What the tasks of a flow make of what they read.
#[derive(Debug, Clone, Default)]
pub(super) struct Keeping {
    /// By the task's id; an ingestion has none.
    pub(super) modes: BTreeMap<String, WriteMode>,
    /// Datasets of other flows.
    pub(super) foreign: BTreeMap<DatasetName, Kept>,
}

impl Keeping {
    pub(super) fn new(texts: &BTreeMap<String, TaskText>, foreign: BTreeMap<DatasetName, Kept>) -> Self {
        let modes = texts.iter().filter_map(|(id, text)| Some((id.clone(), text.mode?))).collect();
        Self { modes, foreign }
    }

    /// How a task with this text reads; and what is wrong or doubtful about it.
    pub(super) fn reads(&self, flow: &StandardFlow, task: &StandardTask, text: &TaskText) -> (Vec<Read>, Problems) {
        let (names, inserts) = match (&task.work, &text.statement) {
            (TaskWork::Ingestion(_), _) => return (Vec::new(), Problems::default()),
            (_, Some(statement)) => (statement.reads.clone(), statement.kind == StatementKind::Insert),
            (_, None) => (task.sources.iter().map(|source| (source.dataset.clone(), source.span)).collect(), false),
        };
        let readings = flow.readings(&names, &self.modes, &self.foreign);
        let (found, problems) = scopes(task, inserts, &readings);
        (readings.into_iter().zip(found).map(|(reading, scope)| Read { reading, scope }).collect(), problems.in_source(&flow.source))
    }

    /// What tasks read otherwise than by older rules.
    pub(super) fn rule_changes(
        &self,
        flow: &StandardFlow,
        texts: &BTreeMap<String, TaskText>,
        reads: &BTreeMap<String, Vec<Read>>,
    ) -> Vec<RuleChange> {
        let mut changes = Vec::new();
        for task in &flow.tasks {
            let by_batch = || reads.get(&task.id.value).into_iter().flatten().filter(|read| read.scope == SourceScope::Batch);
            let inserts =
                texts.get(&task.id.value).and_then(|text| text.statement.as_ref()).is_some_and(|s| s.kind == StatementKind::Insert);
            if let (true, None, Some(read)) = (inserts, task.source_scope(), by_batch().next()) {
                let about =
                    format!("the INSERT of task `{}` reads the rows of its batch of `{}`, not all", task.id.value, read.reading.dataset);
                changes.push(RuleChange { since: 1, about, concerns: Concerns::Later });
            }
            if let (Some(_), Some(read)) = (task.source_scope(), by_batch().find(|read| !read.reading.own)) {
                let about = format!(
                    "task `{}` reads the batches of `{}` that were published since its last batch, not the one of its number",
                    task.id.value, read.reading.dataset
                );
                changes.push(RuleChange { since: 1, about, concerns: Concerns::All });
            }
        }
        changes
    }

    /// The same for all tasks.
    pub(super) fn all_reads(&self, flow: &StandardFlow, texts: &BTreeMap<String, TaskText>) -> (BTreeMap<String, Vec<Read>>, Problems) {
        let (mut reads, mut problems) = (BTreeMap::new(), Problems::default());
        for task in &flow.tasks {
            let Some(text) = texts.get(&task.id.value) else { continue };
            let (found, more) = self.reads(flow, task, text);
            problems.append(more);
            reads.insert(task.id.value.clone(), found);
        }
        (reads, problems)
    }
}

/// Ingestions whose target another task makes too: their batches replace all of a batch's rows.
fn shared_landings(flow: &StandardFlow) -> Problems {
    let is_ingestion = |task: &StandardTask| matches!(task.work, TaskWork::Ingestion(_));
    let shared = |(index, task): (usize, &StandardTask)| {
        let other = flow.tasks[..index].iter().find(|other| other.target == task.target)?;
        if !is_ingestion(task) && !is_ingestion(other) {
            return None;
        }
        let what = format!("task `{}` makes `{}` too, and what an ingestion reads stands alone", other.id.value, task.target);
        let help = "one `path` may name several files: `data/{a,b}_*.csv`; or read into two datasets and join them with SQL";
        Some(Problem::new("qetl::decode::shared_landing", task.target_span, what).label("the same dataset").help(help))
    };
    Problems(flow.tasks.iter().enumerate().filter_map(shared).collect()).in_source(&flow.source)
}

/// What one task says.
pub(super) fn text(
    engine: &dyn Engine,
    flow: &StandardFlow,
    task: &StandardTask,
    context: &TemplateContext<'_>,
) -> Result<TaskText, Problems> {
    let rendered = flow.render(task, context)?;
    let placed = |problem: Problem| Problems::from(problem).in_source(&flow.source);
    match &task.work {
        TaskWork::Ingestion(_) => Ok(TaskText { rendered, statement: None, mode: None }),
        TaskWork::Script(work) => {
            let mode = work.write.mode(StatementKind::Query).map_err(placed)?;
            Ok(TaskText { rendered, statement: None, mode: Some(mode) })
        }
        TaskWork::Sql(work) => {
            let statement = engine.statement(&rendered, &task.target)?;
            let mode = work.write.mode(statement.kind).map_err(placed)?;
            Ok(TaskText { rendered, statement: Some(statement), mode: Some(mode) })
        }
    }
}

/// How the rows of each task's target are kept, of the tasks whose texts can be read; what is wrong with the others is told
/// when their flow is checked.
pub(crate) fn modes(engine: &dyn Engine, flow: &StandardFlow, records: &FlowRecords, now: i64) -> Vec<(DatasetName, WriteMode)> {
    let job = super::files::empty_job(records.greatest_id().unwrap_or(0) + 1, records, &Default::default(), now);
    let mode = |task: &StandardTask| {
        let text = text(engine, flow, task, &job.context(engine.quote())).ok()?;
        Some((task.target.clone(), text.mode.unwrap_or(WriteMode::ReplaceBatch)))
    };
    flow.tasks.iter().filter_map(mode).collect()
}

/// Checks the SQL of all tasks, in their order. `known` has the columns of ingestions and of other flows' datasets.
pub(super) async fn tasks(
    engine: &dyn Engine,
    flow: &StandardFlow,
    texts: &BTreeMap<String, TaskText>,
    known: Known,
) -> Result<Found, RunError> {
    let mut found = Found { known, ..Found::default() };
    let (mut problems, mut made) = (Problems::default(), Vec::<&DatasetName>::new());
    for task in &flow.tasks {
        let Some(TaskText { rendered, statement: Some(statement), mode }) = texts.get(&task.id.value) else { continue };
        let unknown = statement.reads.iter().find(|(read, _)| !found.known.keys().any(|known| same_dataset(known, read)));
        if let Some((dataset, _)) = unknown {
            found.notes.push(format!("task `{}` is not checked: the columns of `{dataset}` are not known yet", task.id.value));
            found.known.remove(&task.target);
            continue;
        }
        match engine.check(rendered, statement, &found.known).await {
            Err(RunError::Problems(wrong)) => {
                problems.append(wrong);
                found.known.remove(&task.target);
            }
            Err(other) => return Err(other),
            Ok(checked) => {
                found.warnings.append(Problems(checked.warnings).in_source(&flow.source));
                match checked.columns {
                    None => {
                        found
                            .notes
                            .push(format!("task `{}` is checked for names only: types of its sources are not known yet", task.id.value));
                        found.known.remove(&task.target);
                    }
                    Some(columns) => {
                        problems.append(unknown_keys(task, &columns).in_source(&flow.source));
                        let read = |known: &&DatasetName| statement.reads.iter().any(|(read, _)| same_dataset(known, read));
                        let typed = found.known.keys().filter(read).all(|known| found.known[known].typed);
                        let mut columns = columns;
                        let adds = mode == &Some(WriteMode::ReplaceBatch) && made.contains(&&task.target);
                        if let Some(earlier) = found.known.get(&task.target).filter(|_| adds) {
                            let more = earlier.columns.iter().filter(|old| !columns.iter().any(|new| new.name == old.name));
                            columns.extend(more.filter(|old| !old.name.starts_with("xt_")).cloned().collect::<Vec<_>>());
                        }
                        made.push(&task.target);
                        let columns = columns.into_iter().chain(own_columns()).collect();
                        found.known.insert(task.target.clone(), KnownColumns { columns, typed });
                    }
                }
            }
        }
    }
    problems.or(found).map_err(RunError::from)
}

/// Columns of a `unique_key` that the result lacks.
fn unknown_keys(task: &StandardTask, columns: &[Column]) -> Problems {
    let TaskWork::Sql(work) = &task.work else { return Problems::default() };
    let lacks = |key: &&qetl_core::decode::Sp<String>| !columns.iter().any(|column| same_name(&column.name, &key.value));
    let problem = |key: &qetl_core::decode::Sp<String>| {
        let what = format!("`{}` is not a column of the task's result", key.value);
        let help = suggest::help(&key.value, columns.iter().map(|column| column.name.as_str()));
        Problem::new("qetl::sql::unknown_column", key.span, what).label("no such column").help(help)
    };
    Problems(work.write.unique_key.iter().filter(lacks).map(problem).collect())
}

/// Checks flows, each with what is known of the others. `all` are the project's; `chosen` those to check. The problems of
/// all of them, warnings among them, and what could not be checked.
pub async fn check_project(engine: &dyn Engine, all: &[&Flow], chosen: &[&Flow], now: i64) -> Result<(Problems, Vec<String>), RunError> {
    let (mut problems, mut notes) = (Problems::default(), Vec::new());
    let names = flows::makers(all);
    let mut known = Known::new();
    for flow in flows::in_order(all, all) {
        let is_chosen = chosen.iter().any(|other| other.id() == flow.id());
        let records = engine.records(flow.id()).await?;
        if flow.standard().is_none() {
            match plan_of(engine, flow, all, &records, &known).await {
                Ok((plan, source)) => {
                    if let Some(source) = source.filter(|source| is_chosen && source.columns.is_none()) {
                        notes.push(format!("{}: the columns of `{}` are not known yet", flow.id(), source.dataset));
                    }
                    let typed = plan.input.iter().all(|column| column.known != KnownType::Presumed);
                    let columns = |dataset: &plan::Dataset| KnownColumns { columns: dataset.schema.columns().to_vec(), typed };
                    known.extend(plan.datasets.iter().map(|dataset| (dataset.name.clone(), columns(dataset))));
                    if is_chosen {
                        problems.append(plan.warnings);
                    }
                }
                Err(RunError::Problems(found)) if is_chosen => problems.append(found),
                Err(RunError::Problems(_)) => (),
                Err(other) => return Err(other),
            }
            continue;
        }
        let others: Vec<DatasetName> = names.iter().filter(|(_, maker)| *maker != flow.id()).map(|(name, _)| name.clone()).collect();
        match standard_flow(engine, flow, all, &records, &others, known.clone(), now).await {
            Ok(found) => {
                known = found.known;
                if is_chosen {
                    problems.append(flow.warnings.clone());
                    problems.append(found.warnings);
                    notes.extend(found.notes.iter().map(|note| format!("{}: {note}", flow.id())));
                }
            }
            Err(RunError::Problems(found)) if is_chosen => problems.append(found),
            Err(RunError::Problems(_)) => (),
            Err(other) => return Err(other),
        }
    }
    Ok((problems, notes))
}

async fn standard_flow(
    engine: &dyn Engine,
    flow: &Flow,
    project: &[&Flow],
    records: &FlowRecords,
    others: &[DatasetName],
    mut known: Known,
    now: i64,
) -> Result<Found, RunError> {
    let Some(standard) = &flow.standard() else { return Ok(Found { known, ..Found::default() }) };
    let job = super::files::empty_job(records.greatest_id().unwrap_or(0) + 1, records, &Default::default(), now);
    let (standard, texts, mut warnings) = texts(engine, standard, &job.context(engine.quote()))?;
    let mut problems = standard.missing_sources(others);
    let foreign: Vec<DatasetName> = standard.foreign_sources().into_iter().map(|source| source.dataset.clone()).collect();
    let keeping = Keeping::new(&texts, kept::foreign(engine, flow.id(), project, &foreign).await?);
    let (_, found) = keeping.all_reads(&standard, &texts);
    let (doubtful, wrong): (Vec<_>, Vec<_>) = found.0.into_iter().partition(|problem| problem.warning);
    warnings.append(Problems(doubtful));
    problems.append(Problems(wrong));
    for task in &standard.tasks {
        if let Some(other) = others.iter().find(|other| same_dataset(other, &task.target)) {
            let what = format!("another flow makes `{other}` too");
            problems.push(Problem::new("qetl::decode::same_dataset", task.target_span, what).label("the same dataset"));
        }
        if let TaskWork::Ingestion(ingestion) = &task.work
            && let Some(types) = types::known(ingestion, &task.target, records)
        {
            known.insert(task.target.clone(), types::landed(&types));
        }
    }
    problems.in_source(&flow.source).or(())?;
    let mut found = tasks(engine, &standard, &texts, known).await?;
    warnings.append(found.warnings);
    found.warnings = warnings.in_source(&flow.source);
    Ok(found)
}
