//! From the tables of the file to tasks in their order, with everything that is wrong with them.

use super::{
    Ingestion, ScriptWork, Source, SqlWork, StandardFile, StandardFlow, StandardTask, TaskTable, TaskType, TaskWork, Template, Variables,
    Write, WriteMode,
    file::Config,
    graph::{self, Node},
    names,
};
use crate::{
    decode::Sp,
    flow::Flow,
    input::Input,
    plan::DatasetName,
    problem::{Problem, Problems, Span},
    suggest,
};

/// The keys of a task.
pub(super) const TASK_KEYS: [&str; 16] = [
    "id",
    "name",
    "type",
    "task_type",
    "source_dataset",
    "source_datasets",
    "target_dataset",
    "dependencies",
    "downstream_tasks",
    "sql",
    "script",
    "write_mode",
    "unique_key",
    "source_scope",
    "config",
    "variables",
];
/// Those of them that a variable may have the name of without doubt.
const HARMLESS: [&str; 4] = ["id", "name", "type", "config"];

/// The flow, unless something is wrong; and all problems and warnings.
pub fn read(file: &StandardFile, flow: &Flow) -> (Option<StandardFlow>, Problems) {
    let mut problems = file.variables.problems("`[variables]`", &[]);
    let namespace = flow.namespace();
    let mut tasks = Vec::new();
    for table in &file.tasks {
        let task = Reader { table, namespace, problems: Problems::default() };
        let (task, found) = task.read();
        problems.append(found);
        tasks.extend(task.inspect(|task| problems.append(task.template().problems(&flow.source))));
    }
    problems.append(ids(&file.tasks));
    if !problems.has_errors() || tasks.len() == file.tasks.len() {
        match ordered(tasks) {
            Ok(tasks) if !problems.has_errors() => {
                let variables: Variables = file.variables.clone();
                return (Some(StandardFlow { source: flow.source.clone(), variables, tasks }), problems);
            }
            Ok(_) => (),
            Err(found) => problems.append(found),
        }
    }
    (None, problems)
}

/// Ids that are no names, that stand twice, that are named and do not exist.
fn ids(tasks: &[TaskTable]) -> Problems {
    let mut problems = Problems::default();
    for (index, task) in tasks.iter().enumerate() {
        if !crate::schema::is_identifier(&task.id) {
            let what = format!("`{}` cannot be a task's id", task.id.value);
            let problem = Problem::new("qetl::decode::name", task.id.span, what).label("not a name");
            problems.push(problem.help("a letter, then letters, digits and `_`; at most 63"));
        }
        if tasks[..index].iter().any(|other| other.id.eq_ignore_ascii_case(&task.id)) {
            let what = format!("two tasks have the id `{}`", task.id.value);
            problems.push(Problem::new("qetl::decode::duplicate_task", task.id.span, what).label("here again"));
        }
        for (key, names) in [("dependencies", &task.dependencies), ("downstream_tasks", &task.downstream_tasks)] {
            for (at, name) in names.iter().enumerate() {
                if !tasks.iter().any(|other| other.id.value == name.value) {
                    let what = format!("`{}` of `{key}` is not a task", name.value);
                    let problem = Problem::new("qetl::decode::unknown_task", name.span, what).label("no such task");
                    let makes = tasks.iter().find(|other| other.target_dataset.eq_ignore_ascii_case(name));
                    let help = suggest::help(name, tasks.iter().map(|other| other.id.as_str()));
                    let hint = makes.map_or(String::new(), |task| format!("that is a dataset; `{}` makes it. ", task.id.value));
                    problems.push(problem.help(hint + &help));
                } else if names[..at].iter().any(|other| other.value == name.value) {
                    let what = format!("`{}` stands twice in `{key}`", name.value);
                    problems.push(Problem::new("qetl::decode::duplicate_task", name.span, what).label("here again"));
                }
            }
        }
    }
    problems
}

/// The tasks in an order in which they can run, each with those right before it.
pub(super) fn ordered(mut tasks: Vec<StandardTask>) -> Result<Vec<StandardTask>, Problems> {
    let made: Vec<_> = tasks.iter().flat_map(|task| task.makes().into_iter().map(|made| (task.id.value.clone(), made))).collect();
    for source in tasks.iter_mut().flat_map(|task| &mut task.sources) {
        let makers = made.iter().filter(|(_, target)| names::same(target, &source.dataset));
        source.made_by = makers.map(|(id, _)| id.clone()).collect();
    }
    let positions = |names: &[Sp<String>]| -> Vec<(usize, Span)> {
        let place = |name: &Sp<String>| Some((tasks.iter().position(|task| task.id.value == name.value)?, name.span));
        names.iter().filter_map(place).collect()
    };
    let said: Vec<_> = tasks.iter().map(|task| (positions(&task.before_it), positions(&task.after_it))).collect();
    let nodes: Vec<Node<'_>> = tasks
        .iter()
        .zip(&said)
        .map(|(task, (before, after))| Node {
            id: &task.id,
            target: &task.target,
            parked: task.parked(),
            target_span: task.target_span,
            sources: &task.sources,
            before,
            after,
        })
        .collect();
    let order = graph::order(&nodes)?;
    let ids: Vec<String> = order.positions.iter().map(|task| tasks[*task].id.value.clone()).collect();
    let mut sorted = Vec::with_capacity(tasks.len());
    for position in &order.positions {
        let mut task = tasks[*position].clone();
        let before = &order.before[*position];
        task.after = order.positions.iter().zip(&ids).filter(|(other, _)| before.contains(other)).map(|(_, id)| id.clone()).collect();
        sorted.push(task);
    }
    Ok(sorted)
}

/// A task that reads what it makes: a run that is repeated would find other rows.
pub(super) fn reads_itself(task: &str, source: &Source, target: &DatasetName) -> Option<Problem> {
    let what = format!("task `{task}` reads `{target}`, which it makes itself");
    let problem = Problem::new("qetl::decode::reads_itself", source.span, what).label("its own target");
    let help = "a run that is repeated would find other rows; give it another target, or let `write_mode = \"merge\"` compare keys";
    names::same(&source.dataset, target).then(|| problem.help(help))
}

/// Reads one of `[[tasks]]`.
struct Reader<'a> {
    table: &'a TaskTable,
    namespace: &'a str,
    problems: Problems,
}

impl Reader<'_> {
    fn read(mut self) -> (Option<StandardTask>, Problems) {
        let table = self.table;
        let task_keys: Vec<&str> = TASK_KEYS.into_iter().filter(|key| !HARMLESS.contains(key)).collect();
        self.problems.append(table.variables.problems("`[tasks.variables]`", &task_keys));
        let target = names::target(&table.target_dataset, self.namespace, &mut self.problems);
        let sources = self.sources();
        self.problems.0.extend(sources.iter().filter_map(|source| reads_itself(&table.id, source, &target)));
        self.inert_keys();
        let work = match table.task_type.value {
            TaskType::Ingestion => self.ingestion(),
            TaskType::SqlProcessing => self.sql(),
            TaskType::CustomScript => self.script(),
        };
        let task = work.map(|work| StandardTask {
            id: table.id.clone(),
            name: table.name.as_ref().map(|name| name.value.clone()),
            sources,
            target,
            target_span: table.target_dataset.span,
            after: Vec::new(),
            variables: table.variables.clone(),
            work,
            before_it: table.dependencies.clone(),
            after_it: table.downstream_tasks.clone(),
        });
        (task, self.problems)
    }

    fn sources(&mut self) -> Vec<Source> {
        let several = self.table.source_datasets.iter().flatten();
        if let (Some(one), Some(_)) = (&self.table.source_dataset, &self.table.source_datasets) {
            let what = "`source_dataset` and `source_datasets` say the same thing";
            let problem = Problem::new("qetl::decode::inert_key", one.span, what).label("both are there");
            self.problems.push(problem.help("name all of them in `source_datasets`"));
        }
        let mut sources: Vec<Source> = Vec::new();
        let one = self.table.source_dataset.iter().filter(|_| self.table.source_datasets.is_none());
        for text in one.chain(several) {
            let Some(dataset) = names::source(text, self.namespace, &mut self.problems) else { continue };
            if sources.iter().any(|source| names::same(&source.dataset, &dataset)) {
                let what = format!("`{}` stands twice in `source_datasets`", text.value);
                self.problems.push(Problem::new("qetl::decode::duplicate_dataset", text.span, what).label("here again"));
                continue;
            }
            sources.push(Source { dataset, span: text.span, made_by: Vec::new() });
        }
        sources
    }

    /// No key is accepted that does nothing for the task's type.
    fn inert_keys(&mut self) {
        let table = self.table;
        let span = |text: &Option<Sp<String>>| text.as_ref().map(|text| text.span);
        let list = |list: &Option<Vec<Sp<String>>>| list.as_ref().and_then(|list| list.first()).map(|first| first.span);
        let keys: [(&str, Option<Span>, &[TaskType]); 8] = [
            ("source_dataset", span(&table.source_dataset), &[TaskType::SqlProcessing, TaskType::CustomScript]),
            ("source_datasets", list(&table.source_datasets), &[TaskType::SqlProcessing, TaskType::CustomScript]),
            ("sql", span(&table.sql), &[TaskType::SqlProcessing]),
            ("script", span(&table.script), &[TaskType::CustomScript]),
            ("write_mode", table.write_mode.as_ref().map(|mode| mode.span), &[TaskType::SqlProcessing, TaskType::CustomScript]),
            ("unique_key", list(&table.unique_key), &[TaskType::SqlProcessing, TaskType::CustomScript]),
            ("source_scope", table.source_scope.as_ref().map(|scope| scope.span), &[TaskType::SqlProcessing, TaskType::CustomScript]),
            ("[tasks.config]", table.config.as_ref().map(|config| config.span), &[TaskType::Ingestion]),
        ];
        for (key, span, types) in keys {
            if let (Some(span), false) = (span, types.contains(&table.task_type.value)) {
                let what = format!("`{key}` does nothing for a task of type `{}`", table.task_type.value.name());
                let other: Vec<String> = types.iter().map(|ty| format!("`{}`", ty.name())).collect();
                let help = format!("remove it, or make the task {}", other.join(" or "));
                self.problems.push(Problem::new("qetl::decode::inert_key", span, what).help(help));
            }
        }
    }

    fn missing(&mut self, key: &str, what: &str) {
        let table = self.table;
        let message = format!("task `{}` has no `{key}`", table.id.value);
        let problem = Problem::new("qetl::decode::missing_task_key", table.id.span, message).label(format!("`{key}` is missing"));
        self.problems.push(problem.help(format!("`{key}`: {what}")));
    }

    /// The text of a key that must be there and say something.
    fn text(&mut self, key: &'static str, text: Option<&Sp<String>>, what: &str) -> Option<Template> {
        match text {
            None => {
                self.missing(key, what);
                None
            }
            Some(text) if text.trim().is_empty() => {
                self.problems.push(Problem::new("qetl::decode::range", text.span, format!("`{key}` is empty")));
                None
            }
            Some(text) => Some(Template { text: text.clone(), key }),
        }
    }

    fn ingestion(&mut self) -> Option<TaskWork> {
        let Some(Sp { value: Config { load, columns }, .. }) = &self.table.config else {
            self.missing("[tasks.config]", "the files that an ingestion reads: `path = \"data/…\"`");
            return None;
        };
        let mut input = Input { columns: columns.clone(), ..Input::default() };
        input.place_names();
        self.problems.append(input.problems());
        let reader = load.reader(&mut self.problems);
        load.check_columns(&input.columns, &mut self.problems);
        if !columns.is_empty() {
            load.check_partitions(&input, &mut self.problems);
        }
        if let (Some(header), true) = (load.header.as_ref().filter(|header| !header.value), columns.is_empty()) {
            let what = "without a header, only `columns` can say what the columns are called";
            let problem = Problem::new("qetl::decode::missing_key", header.span, what).label("the files have no names");
            self.problems.push(problem.help("name them with `columns = [\"…\"]`, in the order of the files"));
        }
        Some(TaskWork::Ingestion(Ingestion {
            path: Template { text: load.source_path.clone(), key: "path" },
            format: load.format.as_ref().map(|format| format.value),
            reader,
            columns: input.columns.into_iter().map(|column| column.value).collect(),
            on_extra_columns: load.on_extra_columns,
            on_changed_file: load.on_changed_file.as_ref().map(|choice| choice.value),
            may_be_missing: load.may_be_missing,
        }))
    }

    fn sql(&mut self) -> Option<TaskWork> {
        let table = self.table;
        let write = self.write();
        let sql = self.text("sql", table.sql.as_ref(), "a query, or `INSERT INTO {{ target_dataset }} SELECT …`")?;
        Some(TaskWork::Sql(SqlWork { sql, write, scope: table.source_scope.clone() }))
    }

    fn script(&mut self) -> Option<TaskWork> {
        let table = self.table;
        let write = self.write();
        let script = self.text("script", table.script.as_ref(), "a Python program")?;
        Some(TaskWork::Script(ScriptWork { script, write, scope: table.source_scope.clone() }))
    }

    fn write(&mut self) -> Write {
        let table = self.table;
        let key = table.unique_key.clone().unwrap_or_default();
        let merges = table.write_mode.as_ref().filter(|mode| mode.value == WriteMode::Merge);
        if let (Some(mode), None) = (merges, key.first()) {
            let what = "`write_mode = \"merge\"` needs `unique_key`";
            let problem = Problem::new("qetl::decode::missing_task_key", mode.span, what).label("by which key");
            self.problems.push(problem.help("name the columns that name a row, such as `unique_key = [\"id\"]`"));
        }
        if let (None, Some(first)) = (merges, key.first()) {
            let what = "`unique_key` does nothing without `write_mode = \"merge\"`";
            self.problems
                .push(Problem::new("qetl::decode::inert_key", first.span, what).help("add `write_mode = \"merge\"`, or remove the key"));
        }
        for (index, column) in key.iter().enumerate() {
            if key[..index].iter().any(|other| other.eq_ignore_ascii_case(column)) {
                let what = format!("`{}` stands twice in `unique_key`", column.value);
                self.problems.push(Problem::new("qetl::decode::duplicate_key_column", column.span, what).label("here again"));
            }
            if let Some(why) = crate::schema::refuse_column_name(column) {
                let what = format!("`{}` cannot be a column of `unique_key`", column.value);
                self.problems.push(Problem::new("qetl::decode::column_name", column.span, what).label(why));
            }
        }
        Write { mode: table.write_mode.clone(), unique_key: key }
    }
}
