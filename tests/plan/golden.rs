//! Each example flow: its instructions, and its SQL in each dialect that an engine runs.

use qetl_core::{
    Flow, Plan,
    ir::Steps,
    plan::{self, InputType, Known},
};
use qetl_sql::dialects::DIALECTS;

use crate::snapshots;

fn plan_of(name: &str, text: &str) -> Plan {
    let flow = Flow::parse(name, text, &qetl_plugins::registry()).unwrap_or_else(|problems| panic!("{problems}"));
    let column = |column: &qetl_core::input::InputColumn| {
        let declared = column.declared();
        let known = if declared.is_some() { Known::Declared } else { Known::Presumed };
        InputType { name: column.name.value.clone(), ty: declared.unwrap_or(qetl_core::Type::Text), known, required: false }
    };
    let input = flow.input.columns.iter().map(|spanned| column(&spanned.value)).collect();
    plan::expand(&flow, input).unwrap_or_else(|problems| panic!("{problems}"))
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

fn sql(plan: &Plan, dialect: &dyn qetl_sql::Dialect) -> String {
    let batch = qetl_sql::Batch {
        batch_id: 2,
        previous: 1,
        processed_at: 1_704_103_200_000_000,
        batches: vec![(1, 1_704_016_800_000_000), (2, 1_704_103_200_000_000)],
        files: vec![(2, vec!["a.csv".to_owned(), "b's.csv".to_owned()])],
    };
    let table = |dataset: &qetl_core::DatasetName| {
        let names = [dataset.namespace.as_str(), dataset.name.as_str()];
        qetl_sql::ObjectName::from(names.map(|name| qetl_sql::ident(dialect.quote(), name)).to_vec())
    };
    let render = |steps: &Steps| qetl_sql::query(dialect, steps, &batch, &table).unwrap_or_else(|why| format!("-- unsupported: {why}"));
    plan.tasks.iter().map(|task| format!("-- {} ({})\n{};\n\n", task.target, task.write_mode, render(&task.steps))).collect()
}
