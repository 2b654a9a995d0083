//! Each example flow: its instructions, and its SQL in each dialect that an engine runs.

use qetl_core::{
    Flow, Plan,
    ir::Steps,
    plan::{self, DatasetKind, InputType, Known},
    schema::Column,
};
use qetl_sql::{Extent, dialects::DIALECTS};

use crate::snapshots;

fn plan_of(name: &str, text: &str) -> Plan {
    let flow = Flow::parse(name, text, &qetl_plugins::registry()).unwrap_or_else(|problems| panic!("{problems}"));
    plan::expand(&flow, input(&flow)).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The columns with their declared types, text where there is none.
pub(crate) fn input(flow: &Flow) -> Vec<InputType> {
    let column = |column: &qetl_core::input::InputColumn| {
        let declared = column.declared();
        let known = if declared.is_some() { Known::Declared } else { Known::Presumed };
        InputType::new(&column.name, declared.unwrap_or(qetl_core::Type::Text), known)
    };
    flow.input.columns.iter().map(|spanned| column(&spanned.value)).collect()
}

#[test]
fn example_flows() {
    insta::glob!("../../flows", "*.toml", |path| {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let plan = plan_of(&format!("flows/{name}.toml"), &std::fs::read_to_string(path).unwrap());
        let mut instructions = String::new();
        for dataset in &plan.datasets {
            instructions.push_str(&format!("dataset {}: {}\n", dataset.name, dataset.schema));
        }
        plan.invariants().unwrap_or_else(|problems| panic!("{problems}"));
        for node in &plan.dag.0 {
            let from: Vec<String> = node.from.iter().map(ToString::to_string).collect();
            instructions.push_str(&format!("{} <- {}\n", node.dataset, from.join(", ")));
        }
        for task in &plan.tasks {
            instructions.push_str(&format!("\n# {} ({})\n{}", task.target, task.write_mode, task.steps));
            for check in &task.checks {
                instructions.push_str(&format!("# check: {}\n{}", check.rule, check.steps));
            }
        }
        let keep = |what: &str, text: &str| {
            let mut settings = snapshots("flows");
            settings.set_snapshot_suffix("");
            settings.remove_snapshot_suffix();
            settings.bind(|| insta::assert_snapshot!(format!("{name}.{what}"), text));
        };
        keep("instructions", &instructions);
        if let Some(standard) = plan.flow.standard() {
            keep("templates", &crate::standard::templates(&standard));
            return;
        }
        for dialect in DIALECTS {
            keep(dialect.name(), &sql(&plan, dialect));
        }
    });
}

/// Whole scripts, for batches that are not known yet: tables, indexes, views, and what a batch runs.
#[test]
fn scripts_of_example_flows() {
    for name in ["orders_change_feed", "visits"] {
        let path = format!("flows/{name}.toml");
        let plan = plan_of(&path, &std::fs::read_to_string(format!("../../{path}")).unwrap());
        for dialect in DIALECTS {
            let text = script(&plan, dialect).unwrap_or_else(|why| format!("-- unsupported: {why}\n"));
            snapshots("scripts").bind(|| insta::assert_snapshot!(format!("{name}.{}", dialect.name()), text));
        }
    }
}

fn script(plan: &Plan, dialect: &dyn qetl_sql::Dialect) -> Result<String, qetl_sql::Unsupported> {
    let named = |name: &str| qetl_sql::ObjectName::from(vec![qetl_sql::ident(dialect.quote(), name)]);
    let parameters = dialect.parameters(&plan.flow.header.id.value, named("qetl_batches"), named("qetl_files"));
    let table = |dataset: &qetl_core::DatasetName| named(&dataset.name);
    let sql = qetl_sql::Sql { dialect, batch: (&parameters).into(), table: &table };
    let keys = plan.flow.input.key_names();
    let mut statements: Vec<String> = dialect.session().iter().map(|statement| (*statement).to_owned()).collect();
    for dataset in &plan.datasets {
        if let DatasetKind::View(rel) = &dataset.kind {
            statements.extend(sql.create_view(&dataset.name, rel)?);
            continue;
        }
        statements.push(sql.create_table(&dataset.name, &dataset.schema)?);
        let is_key = |column: &&Column| keys.contains(&column.name) || column.name == "xt_batch_id";
        let columns: Vec<Column> = dataset.schema.columns().iter().filter(is_key).cloned().collect();
        statements.extend(sql.create_index(&dataset.name, &format!("{}_keys", dataset.name.name), &columns));
    }
    let landing = plan.landing().unwrap();
    statements.extend(sql.keep_replaced(&landing.name, &landing.schema)?);
    for task in &plan.tasks {
        statements.extend(sql.fill(task, Extent::Touched)?);
    }
    statements.push(sql.forget_replaced(&landing.name));
    Ok(statements.iter().map(|statement| format!("{statement};\n\n")).collect())
}

fn sql(plan: &Plan, dialect: &dyn qetl_sql::Dialect) -> String {
    let batch = qetl_sql::Batch {
        batch_id: 2,
        previous: 1,
        processed_at: 1_704_103_200_000_000,
        batches: vec![(1, 1_704_016_800_000_000), (2, 1_704_103_200_000_000)],
        files: vec![(2, vec!["a.csv".to_owned(), "b's.csv".to_owned()])],
        lacking: Vec::new(),
    };
    let table = |dataset: &qetl_core::DatasetName| {
        let names = [dataset.namespace.as_str(), dataset.name.as_str()];
        qetl_sql::ObjectName::from(names.map(|name| qetl_sql::ident(dialect.quote(), name)).to_vec())
    };
    let render = |steps: &Steps| qetl_sql::query(dialect, steps, &batch, &table).unwrap_or_else(|why| format!("-- unsupported: {why}"));
    plan.tasks.iter().map(|task| format!("-- {} ({})\n{};\n\n", task.target, task.write_mode, render(&task.steps))).collect()
}
