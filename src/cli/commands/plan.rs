//! `qetl plan`: what `execute` would do now.

use std::collections::{BTreeMap, BTreeSet};

use qetl_core::{
    ir::Steps,
    plan::{DatasetKind, Known, Plan},
    standard::same_dataset,
    suggest,
};
use qetl_runtime::{
    RunError,
    flows::in_order,
    run::{Planned, plan_flow},
    standard::{self, PlannedStandard},
};
use qetl_sql::dialects::{DIALECTS, Dialect, dialect};
use serde_json::json;

use super::{check::counted, execute};
use crate::{
    args::{BatchArgs, Format, Graph, Show},
    library::Project,
    output::Output,
};

pub(crate) struct Options<'a> {
    pub show: Option<Show>,
    pub dialect: &'a str,
    pub graph: Option<Graph>,
    pub format: Format,
}

pub(crate) async fn run(project: &Project, args: &BatchArgs, options: &Options<'_>, output: &Output) -> Result<i32, RunError> {
    let flows = project.workspace.flows(&args.flows)?;
    execute::refuse_several(flows.len(), args)?;
    let dialect = dialect(options.dialect).ok_or_else(|| {
        let help = suggest::help(options.dialect, DIALECTS.iter().map(|dialect| dialect.name()));
        RunError::usage(format!("there is no dialect `{}`", options.dialect), help)
    })?;
    let (request, mut code) = (execute::request(args)?, 0);
    standard::refuse_unknown_vars(&flows, &request.vars)?;
    let all = project.workspace.good_flows();
    let mut upcoming = Upcoming::default();
    for flow in in_order(&flows, &all) {
        let planned = match plan_flow(&*project.engine, flow, &all, &project.workspace.roots(), &request).await {
            Ok(planned) => planned,
            Err(error) => {
                output.error(&error);
                code = error.exit_code().max(code);
                continue;
            }
        };
        let later = upcoming.of(&planned);
        output.warnings(&planned.plan.warnings);
        planned.notes.iter().for_each(|note| output.note(&format!("note: {}: {note}", flow.id())));
        let text = match (options.graph, options.show, options.format) {
            (Some(kind), ..) => graph(&planned.plan, kind),
            (None, Some(Show::Instructions | Show::Sql), _) if planned.standard.is_some() => texts(&planned),
            (None, Some(Show::Instructions), _) => instructions(&planned.plan),
            (None, Some(Show::Sql), _) => sql(&planned.plan, dialect)?,
            (None, Some(Show::Logical), _) => logical(project, &planned).await?,
            (None, None, Format::Json) => format!("{}\n", as_json(&planned, &later)),
            (None, None, Format::Text) => overview(&planned, &later, output),
        };
        output.print(&text);
        if let Err(obstacles) = planned.obstacles.clone().or(()) {
            let error = RunError::from(obstacles);
            output.error(&error);
            code = error.exit_code().max(code);
        }
    }
    Ok(code)
}

/// The batches that flows would execute, by flow: who reads them reads them once they are published.
#[derive(Default)]
struct Upcoming(BTreeMap<String, BTreeSet<i64>>);

impl Upcoming {
    /// The batches that a flow would read beside those that wait for it already, because a flow before it would publish them.
    fn of(&mut self, planned: &Planned) -> BTreeSet<i64> {
        let waiting: BTreeSet<i64> = planned.jobs.iter().map(|job| job.batch_id).collect();
        let made = planned.source.as_ref().and_then(|source| self.0.get(&source.maker)).cloned().unwrap_or_default();
        let later = &made - &waiting;
        self.0.insert(planned.plan.flow.id().to_owned(), &made | &waiting);
        later
    }
}

/// The tasks of a standard flow, their templates filled in.
fn texts(planned: &Planned) -> String {
    let tasks = planned.standard.iter().flat_map(|standard| &standard.tasks);
    tasks
        .map(|task| format!("-- {} ({}): {} ({})\n{}\n\n", task.id, task.task_type, task.target, task.mode.name(), task.text.trim()))
        .collect()
}

/// The tasks of a standard flow, in their order: what each reads and makes.
fn tasks(standard: &PlannedStandard) -> String {
    let mut text = String::from("\n  tasks:\n");
    for task in &standard.tasks {
        let read = |name: &qetl_core::DatasetName| {
            let by_batch = task.by_batch.iter().any(|other| same_dataset(other, name));
            format!("{name}{}", if by_batch { " by batch" } else { "" })
        };
        let reads = task.reads.iter().map(read).collect::<Vec<_>>().join(", ");
        let reads = match task.task_type {
            "ingestion" => task.text.clone(),
            _ if reads.is_empty() => "nothing".to_owned(),
            _ => reads,
        };
        text.push_str(&format!("    {}: {} <- {reads}  ({}, {})\n", task.id, task.target, task.task_type, task.mode.name()));
        if let Some(known) = &task.columns {
            let column = |column: &qetl_core::Column| match known.typed {
                true => format!("{} {}", column.name, column.ty),
                false => column.name.clone(),
            };
            text.push_str(&format!("      {}\n", known.columns.iter().map(column).collect::<Vec<_>>().join(", ")));
        }
    }
    text.push('\n');
    text
}

fn overview(planned: &Planned, later: &BTreeSet<i64>, output: &Output) -> String {
    let Planned { plan, jobs, .. } = planned;
    let mut text = format!("flow {} ({})\n", plan.flow.id(), plan.flow.flow_type.name);
    match jobs.is_empty() && later.is_empty() {
        true => text.push_str("\n  up to date: no batch waits\n"),
        false => text.push_str(&format!("\n  {}:\n", counted(jobs.len() + later.len(), "batch waits", "batches wait"))),
    }
    for job in jobs {
        let again = if job.replay { "  (again)" } else { "" };
        text.push_str(&format!("    {}  {}{again}\n", job.batch_id, job.source_names().join(", ")));
    }
    if let Some(source) = &planned.source {
        for batch_id in later {
            text.push_str(&format!("    {batch_id}  {}  (once `{}` has published it)\n", source.dataset, source.maker));
        }
    }
    if let Some(standard) = &planned.standard {
        text.push_str(&tasks(standard));
        return text;
    }
    text.push_str("\n  datasets:\n");
    for dataset in &plan.datasets {
        let view = if dataset.is_stored() { "" } else { "  (view)" };
        text.push_str(&format!("    {}{view}  {}\n", dataset.name, output.dim(&dataset.about)));
        text.push_str(&format!("      {}\n", dataset.schema));
    }
    if plan.input.iter().any(|column| column.known != Known::Declared) {
        text.push_str(&format!("\n  columns, with the types that were not declared:\n{}", columns_list(plan)));
    }
    text.push_str("\n  steps:\n");
    for node in &plan.dag.0 {
        let from = node.from.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let rule =
            plan.tasks.iter().find(|task| task.target == node.dataset).map_or_else(String::new, |task| format!("  ({})", task.write_mode));
        text.push_str(&format!("    {} <- {}{rule}\n", node.dataset, if from.is_empty() { "files" } else { &from }));
        for check in plan.tasks.iter().filter(|task| task.target == node.dataset).flat_map(|task| &task.checks) {
            text.push_str(&format!("      check: {}\n", check.rule));
        }
    }
    text.push('\n');
    text
}

/// The `columns` list to paste into the flow file. A type that nobody knows yet is left out.
fn columns_list(plan: &Plan) -> String {
    let mut text = String::from("    columns = [\n");
    let quoted = |text: &str| serde_json::Value::from(text);
    for (column, own) in plan.input.iter().filter(|column| !column.gone).zip(&plan.flow.input.columns) {
        let how = match column.known {
            Known::Declared => "",
            Known::Pinned => "  # pinned at the first run",
            Known::Inferred => "  # inferred from the files that wait",
            Known::Presumed => "  # no value yet, which says its type",
        };
        let mut keys = vec![format!("name = {}", quoted(&column.name))];
        keys.extend(own.from.as_ref().map(|from| format!("from = {}", quoted(from))));
        keys.extend((column.known != Known::Presumed).then(|| format!("schema_type = \"{}\"", column.ty)));
        keys.extend(own.required.then(|| "required = true".to_owned()));
        keys.extend(own.is_optional().then(|| "optional = true".to_owned()));
        text.push_str(&format!("      {{ {} }},{how}\n", keys.join(", ")));
    }
    text.push_str("    ]\n");
    text
}

fn instructions(plan: &Plan) -> String {
    let mut text = String::new();
    for task in &plan.tasks {
        text.push_str(&format!("# {} ({})\n{}", task.target, task.write_mode, task.steps));
        for check in &task.checks {
            text.push_str(&format!("# check: {}\n{}", check.rule, check.steps));
        }
        text.push('\n');
    }
    text
}

/// The tasks as SQL, for batch 2 after batch 1: what changes from batch to batch are these numbers and the file names.
fn sql(plan: &Plan, dialect: &dyn Dialect) -> Result<String, RunError> {
    let batch = qetl_sql::Batch {
        batch_id: 2,
        previous: 1,
        processed_at: 0,
        batches: vec![(1, 0), (2, 0)],
        files: Vec::new(),
        lacking: Vec::new(),
    };
    let table = |dataset: &qetl_core::DatasetName| {
        let name = if dataset.namespace == "main" { dataset.name.clone() } else { format!("{}_{}", dataset.namespace, dataset.name) };
        qetl_sql::ObjectName::from(vec![qetl_sql::ident(dialect.quote(), &name)])
    };
    let render = |steps: &Steps| {
        qetl_sql::query(dialect, steps, &batch, &table).map_err(|why| RunError::usage(why.to_string(), "choose another dialect"))
    };
    let mut text = String::new();
    for task in &plan.tasks {
        text.push_str(&format!("-- {} ({})\n{};\n\n", task.target, task.write_mode, render(&task.steps)?));
    }
    for dataset in &plan.datasets {
        if let DatasetKind::View(rel) = &dataset.kind {
            let mut steps = Steps::default();
            steps.add(&dataset.name.name, rel.clone());
            text.push_str(&format!("-- {} (view)\n{};\n\n", dataset.name, render(&steps)?));
        }
    }
    Ok(text)
}

async fn logical(project: &Project, planned: &Planned) -> Result<String, RunError> {
    let mut text = String::new();
    for task in &planned.plan.tasks {
        let shown = project.engine.show(planned.plan.clone(), task).await?;
        text.push_str(&format!("# {} ({})\n{shown}\n", task.target, task.write_mode));
    }
    Ok(text)
}

fn graph(plan: &Plan, kind: Graph) -> String {
    let mut text = match kind {
        Graph::Mermaid => "flowchart LR\n".to_owned(),
        Graph::Dot => format!("digraph \"{}\" {{\n  rankdir = LR;\n", plan.flow.id()),
    };
    for node in &plan.dag.0 {
        for from in &node.from {
            text.push_str(&match kind {
                Graph::Mermaid => format!("  {from} --> {}\n", node.dataset),
                Graph::Dot => format!("  \"{from}\" -> \"{}\";\n", node.dataset),
            });
        }
        if node.from.is_empty() {
            text.push_str(&match kind {
                Graph::Mermaid => format!("  files([files]) --> {}\n", node.dataset),
                Graph::Dot => format!("  \"files\" -> \"{}\";\n", node.dataset),
            });
        }
    }
    if kind == Graph::Dot {
        text.push_str("}\n");
    }
    text
}

fn as_json(planned: &Planned, later: &BTreeSet<i64>) -> serde_json::Value {
    let Planned { plan, jobs, .. } = planned;
    let standard_tasks = planned.standard.iter().flat_map(|standard| &standard.tasks).map(|task| {
        json!({
            "id": task.id, "task_type": task.task_type, "target": task.target.to_string(), "write_mode": task.mode.name(),
            "reads": task.reads.iter().map(ToString::to_string).collect::<Vec<_>>(), "text": task.text,
        })
    });
    let columns = |schema: &qetl_core::Schema| {
        schema.columns().iter().map(|column| json!({ "name": column.name, "type": column.ty.to_string() })).collect::<Vec<_>>()
    };
    let known = |known: Known| match known {
        Known::Declared => "declared",
        Known::Pinned => "pinned",
        Known::Inferred => "inferred",
        Known::Presumed => "presumed",
    };
    let mut value = json!({
        "flow": plan.flow.id(),
        "flow_type": plan.flow.flow_type.name,
        "batches": jobs.iter().map(|job| json!({
            "batch_id": job.batch_id, "replay": job.replay, "files": job.files().iter().map(|file| &file.source.name).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "input": plan.input.iter().filter(|column| !column.gone).map(|column| json!({ "name": column.name, "type": column.ty.to_string(), "known": known(column.known) })).collect::<Vec<_>>(),
        "datasets": plan.datasets.iter().map(|dataset| json!({
            "name": dataset.name.to_string(), "view": !dataset.is_stored(), "columns": columns(&dataset.schema),
        })).collect::<Vec<_>>(),
        "dag": plan.dag.0.iter().map(|node| json!({
            "dataset": node.dataset.to_string(), "from": node.from.iter().map(ToString::to_string).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "tasks": plan.tasks.iter().map(|task| json!({
            "target": task.target.to_string(), "write_mode": task.write_mode.to_string(), "instructions": task.steps.to_string(),
            "checks": task.checks.iter().map(|check| check.rule.to_string()).collect::<Vec<_>>(),
        })).chain(standard_tasks).collect::<Vec<_>>(),
    });
    if let Some(source) = &planned.source {
        value["source_dataset"] = source.dataset.to_string().into();
        value["upcoming_batches"] = json!(later);
    }
    value
}
