//! Standard flows: tasks of files, SQL and scripts that an author wrote, in the order of what they read.
//!
//! What a task says is known here, what its SQL says is not: that is read once its template is filled in.

mod braces;
mod date;
mod file;
mod filters;
mod graph;
mod jinja;
mod names;
mod place;
mod read;
mod scope;
mod template;
mod values;
mod variables;

use std::collections::{BTreeMap, BTreeSet};

pub use file::{Config, SourceScope, StandardFile, TaskTable, TaskType, WriteMode, hoist};
pub use names::same as same_dataset;
pub(crate) use names::source as source_name;
pub use read::read;
pub use scope::{Kept, Reading, ScopeChoice, scopes};
pub use template::{Language, Rendered, Template};
pub use variables::{Variable, Variables, parse_var};

use crate::{
    decode::Sp,
    format::{Format, ReaderOptions},
    input::InputColumn,
    load::{OnChangedFile, OnExtraColumns},
    plan::DatasetName,
    problem::{Problem, Problems, SourceText, Span},
    suggest,
};

/// A standard flow that is right in itself; whether the datasets of other flows that it reads exist, the project knows.
#[derive(Debug, Clone)]
pub struct StandardFlow {
    pub source: SourceText,
    pub variables: Variables,
    /// In an order in which they can run; ties as in the file.
    pub tasks: Vec<StandardTask>,
}

/// A task of a standard flow.
#[derive(Debug, Clone)]
pub struct StandardTask {
    pub id: Sp<String>,
    /// A name for people.
    pub name: Option<String>,
    pub sources: Vec<Source>,
    pub target: DatasetName,
    pub target_span: Span,
    /// The ids of the tasks that must have run, those alone that are right before it, in the order of the flow's tasks.
    pub after: Vec<String>,
    pub variables: Variables,
    pub work: TaskWork,
    /// The ids that `dependencies` and `downstream_tasks` name.
    before_it: Vec<Sp<String>>,
    after_it: Vec<Sp<String>>,
}

/// A dataset that a task reads.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    pub dataset: DatasetName,
    /// Where the flow file names it.
    pub span: Span,
    /// The ids of the tasks of this flow that make it; none for a dataset of another flow.
    pub made_by: Vec<String>,
}

/// What a task does.
#[derive(Debug, Clone)]
pub enum TaskWork {
    Ingestion(Ingestion),
    Sql(SqlWork),
    Script(ScriptWork),
}

/// Files to read.
#[derive(Debug, Clone)]
pub struct Ingestion {
    /// A file or a pattern of files, relative to the project.
    pub path: Template,
    /// `None`: the files' ending tells.
    pub format: Option<Format>,
    pub reader: ReaderOptions,
    /// The columns to read, in order; empty: all of the file.
    pub columns: Vec<InputColumn>,
    pub on_extra_columns: OnExtraColumns,
    pub on_changed_file: Option<OnChangedFile>,
    /// No file may be there yet.
    pub may_be_missing: bool,
}

/// A query to run.
#[derive(Debug, Clone)]
pub struct SqlWork {
    pub sql: Template,
    pub write: Write,
    pub scope: Option<Sp<ScopeChoice>>,
}

/// A Python program to run.
#[derive(Debug, Clone)]
pub struct ScriptWork {
    pub script: Template,
    pub write: Write,
    pub scope: Option<Sp<ScopeChoice>>,
}

/// What a task says of its target's rows.
#[derive(Debug, Clone, Default)]
pub struct Write {
    pub mode: Option<Sp<WriteMode>>,
    /// For `merge`, and only then.
    pub unique_key: Vec<Sp<String>>,
}

/// What a task's SQL is, once its template is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// A query alone.
    Query,
    /// `INSERT INTO target SELECT …`.
    Insert,
}

/// What the values in templates depend on, beside the flow file.
#[derive(Debug, Clone, Copy)]
pub struct TemplateContext<'a> {
    pub batch_id: i64,
    /// Microseconds since 1970.
    pub execution_date: i64,
    /// `--var`, as [`parse_var`] reads them.
    pub vars: &'a BTreeMap<String, Variable>,
    /// The character around names in SQL.
    pub quote: char,
}

impl StandardTask {
    /// The dataset of the rows that do not fit, if the task sets them aside.
    pub fn parked(&self) -> Option<DatasetName> {
        let TaskWork::Ingestion(work) = &self.work else { return None };
        let name = || DatasetName { name: format!("{}_parked", self.target.name), ..self.target.clone() };
        work.reader.parks_bad_rows().then(name)
    }

    /// The datasets that it makes.
    pub fn makes(&self) -> Vec<DatasetName> {
        std::iter::once(self.target.clone()).chain(self.parked()).collect()
    }

    pub fn template(&self) -> &Template {
        match &self.work {
            TaskWork::Ingestion(work) => &work.path,
            TaskWork::Sql(work) => &work.sql,
            TaskWork::Script(work) => &work.script,
        }
    }

    pub fn task_type(&self) -> TaskType {
        match self.work {
            TaskWork::Ingestion(_) => TaskType::Ingestion,
            TaskWork::Sql(_) => TaskType::SqlProcessing,
            TaskWork::Script(_) => TaskType::CustomScript,
        }
    }
}

impl Write {
    /// What becomes of the target's rows, given what the task's text is (a script is as a query). An INSERT that is to
    /// replace everything contradicts itself.
    pub fn mode(&self, statement: StatementKind) -> Result<WriteMode, Problem> {
        match (statement, &self.mode) {
            (StatementKind::Query, None) => Ok(WriteMode::Replace),
            (StatementKind::Insert, None) => Ok(WriteMode::ReplaceBatch),
            (StatementKind::Insert, Some(mode)) if mode.value == WriteMode::Replace => {
                let what = "`write_mode = \"replace\"` contradicts INSERT, which adds the rows of a batch";
                let help = "take out `INSERT INTO {{ target_dataset }}`, or `write_mode`";
                Err(Problem::new("qetl::decode::write_mode", mode.span, what).label("the SQL is an INSERT").help(help))
            }
            (StatementKind::Query | StatementKind::Insert, Some(mode)) => Ok(mode.value),
        }
    }
}

impl StandardFlow {
    pub fn task(&self, id: &str) -> Option<&StandardTask> {
        self.tasks.iter().find(|task| task.id.value == id)
    }

    /// The task's `sql`, `script` or `path`, filled in. Problems stand at their place in the flow file.
    pub fn render(&self, task: &StandardTask, cx: &TemplateContext<'_>) -> Result<Rendered, Problems> {
        let language = match task.work {
            TaskWork::Ingestion(_) => Language::Path,
            TaskWork::Sql(_) => Language::Sql { quote: cx.quote },
            TaskWork::Script(_) => Language::Python,
        };
        let template = task.template();
        let values = values::Values::new(task, &self.variables, cx)
            .map_err(|why| Problems::from(Problem::new("qetl::template::value", template.text.span, why)).in_source(&self.source))?;
        template.render(language, &values, &self.source)
    }

    /// The variables that the flow knows, by its tables or because its templates ask for them; `None`: a template computes
    /// names, so any may be known.
    pub fn variable_names(&self) -> Option<BTreeSet<String>> {
        let tables = [&self.variables].into_iter().chain(self.tasks.iter().map(|task| &task.variables));
        let mut names: BTreeSet<String> = tables.flat_map(Variables::names).map(str::to_owned).collect();
        for task in &self.tasks {
            names.extend(task.template().names()?.into_iter().filter(|name| !template::BUILT_IN.contains(&name.as_str())));
        }
        Some(names)
    }

    /// The datasets of other flows that tasks read, each once.
    pub fn foreign_sources(&self) -> Vec<&Source> {
        let mut found: Vec<&Source> = Vec::new();
        for source in self.tasks.iter().flat_map(|task| &task.sources).filter(|source| source.made_by.is_empty()) {
            if !found.iter().any(|other| same_dataset(&other.dataset, &source.dataset)) {
                found.push(source);
            }
        }
        found
    }

    /// Tasks that read what nobody makes. `known` are the datasets of the project's other flows.
    pub fn missing_sources(&self, known: &[DatasetName]) -> Problems {
        let mut problems = Problems::default();
        for source in self.tasks.iter().flat_map(|task| &task.sources).filter(|source| source.made_by.is_empty()) {
            if known.iter().any(|dataset| same_dataset(dataset, &source.dataset)) {
                continue;
            }
            let names: Vec<String> =
                self.tasks.iter().flat_map(StandardTask::makes).chain(known.iter().cloned()).map(|name| name.to_string()).collect();
            let what = format!("no task makes `{}`, and no other flow", source.dataset);
            problems.push(
                Problem::new("qetl::decode::unknown_dataset", source.span, what)
                    .label("no such dataset")
                    .help(suggest::help(&source.dataset.to_string(), names.iter().map(String::as_str))),
            );
        }
        problems.in_source(&self.source)
    }

    /// The flow with more sources: datasets that the SQL of a task, by its id, reads beside those that the file names, each
    /// with its place. The order of the tasks follows them too.
    pub fn with_reads(&self, reads: &BTreeMap<String, Vec<(DatasetName, Span)>>) -> Result<StandardFlow, Problems> {
        let mut problems = Problems::default();
        let mut tasks = self.tasks.clone();
        // Ties are as in the file.
        tasks.sort_by_key(|task| task.id.span);
        for task in &mut tasks {
            for (dataset, span) in reads.get(&task.id.value).into_iter().flatten() {
                if !task.sources.iter().any(|source| same_dataset(&source.dataset, dataset)) {
                    let source = Source { dataset: dataset.clone(), span: *span, made_by: Vec::new() };
                    problems.0.extend(read::reads_itself(&task.id, &source, &task.target));
                    task.sources.push(source);
                }
            }
        }
        let tasks = problems.or(tasks).and_then(read::ordered).map_err(|problems| problems.in_source(&self.source))?;
        Ok(StandardFlow { tasks, ..self.clone() })
    }
}
