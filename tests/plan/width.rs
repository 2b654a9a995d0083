//! Flows of many columns: what is made of them grows with the columns, and not with their square.

use qetl_core::{DatasetName, Flow, Plan, ir::Steps, plan, plan::DatasetKind};
use qetl_sql::{Batch, Dialect, Extent, Sql, Unsupported, dialects::DuckDb};

use crate::golden::input;

/// A flow of a type with so many columns beside `id` and `at`, every other one of which is an amount.
fn wide(flow_type: &str, columns: usize) -> Plan {
    let name = |column: usize| format!("c{column:04}");
    let of = |remainder: usize| {
        let names: Vec<String> =
            (0..columns).filter(|column| column % 2 == remainder).map(|column| format!("\"{}\"", name(column))).collect();
        names.join(", ")
    };
    let (key, properties) = match flow_type {
        "delta_publishing" => ("primary_key = [\"id\"]", format!("DELTA_METHOD = \"DELTA_CORRECTION\"\nattribute_columns = [{}]", of(1))),
        "scd2" => ("primary_key = [\"id\"]", format!("effective_date_column = \"at\"\ntype1_columns = [{}]", of(1))),
        "sessionization" => ("", "user_id_field = \"id\"\ntimestamp_field = \"at\"".to_owned()),
        "growth_accounting" => ("", "user_id_column = \"id\"\ntimestamp_column = \"at\"".to_owned()),
        _ => ("primary_key = [\"id\"]\non_duplicate_key = \"park\"", "emit_stale = false".to_owned()),
    };
    let more: String = (0..columns)
        .map(|column| format!("    {{ name = \"{}\", schema_type = \"{}\" }},\n", name(column), ["decimal(9,2)", "string"][column % 2]))
        .collect();
    let text = format!(
        "id = \"wide\"\nflow_type = \"{flow_type}\"\n[input]\n{key}\ncolumns = [\n    {{ name = \"id\", schema_type = \"integer\" }},\n    \
         {{ name = \"at\", schema_type = \"timestamp\" }},\n{more}]\n[properties]\n{properties}\n[properties.load]\nsource_path = \"data\"\n"
    );
    let flow = Flow::parse("wide.toml", &text, &qetl_plugins::registry()).unwrap_or_else(|problems| panic!("{problems}"));
    plan::expand(&flow, input(&flow)).unwrap_or_else(|problems| panic!("{problems}"))
}

const FLOW_TYPES: [&str; 5] = ["change_feed", "delta_publishing", "sessionization", "growth_accounting", "scd2"];

/// All that is asked of a plan: its tasks with their checks, and what always holds.
fn steps(plan: &Plan) -> Vec<Steps> {
    let mut all: Vec<Steps> = plan.invariants().unwrap().into_iter().map(|invariant| invariant.steps).collect();
    for task in &plan.tasks {
        all.push(task.steps.clone());
        all.extend(task.checks.iter().map(|check| check.steps.clone()));
    }
    all
}

fn sql(plan: &Plan, dialect: &dyn Dialect) -> Result<String, Unsupported> {
    let batch = Batch { batch_id: 2, previous: 1, processed_at: 0, batches: vec![(1, 0), (2, 0)], files: Vec::new(), lacking: Vec::new() };
    let table = |dataset: &DatasetName| qetl_sql::ObjectName::from(vec![qetl_sql::ident(dialect.quote(), &dataset.name)]);
    let sql = Sql { dialect, batch: (&batch).into(), table: &table };
    let mut text = String::new();
    for dataset in &plan.datasets {
        match &dataset.kind {
            DatasetKind::View(rel) => text.extend(sql.create_view(&dataset.name, rel)?),
            DatasetKind::Landing | DatasetKind::Derived => text += &sql.create_table(&dataset.name, &dataset.schema)?,
        }
    }
    for task in &plan.tasks {
        text.extend(sql.fill(task, Extent::Touched)?);
    }
    for steps in steps(plan) {
        text += &sql.query(&steps)?;
    }
    Ok(text)
}

#[test]
fn what_is_made_of_a_flow_grows_with_its_columns() {
    for flow_type in FLOW_TYPES {
        let (few, many) = (wide(flow_type, 30), wide(flow_type, 120));
        let grows = |what: &str, few: usize, many: usize| assert!(many < few * 5, "{what} of {flow_type}: {few}, {many}");
        let instructions = |plan: &Plan| steps(plan).iter().map(|steps| steps.to_string().len()).sum();
        grows("instructions", instructions(&few), instructions(&many));
        for name in ["duckdb", "mysql", "sqlite"] {
            let dialect = qetl_sql::dialects::dialect(name).unwrap();
            grows(name, sql(&few, dialect).unwrap().len(), sql(&many, dialect).unwrap().len());
        }
    }
}

/// Who walks through expressions and relations does so by recursion: of many columns these are wide, not deep.
#[test]
fn many_columns_need_no_deep_stack() {
    for flow_type in FLOW_TYPES {
        let all = move || {
            let plan = wide(flow_type, 1_000);
            let instructions: usize = steps(&plan).iter().map(|steps| steps.to_string().len()).sum();
            instructions + sql(&plan, &DuckDb::SHELL).unwrap().len()
        };
        let thread = std::thread::Builder::new().stack_size(1 << 19).spawn(all).unwrap();
        assert!(thread.join().unwrap() > 10_000, "{flow_type}");
    }
}

#[test]
fn what_a_database_does_not_take_is_refused_with_the_number() {
    let check = |flow_type: &str, columns: usize, dialect: &str, told: &str| {
        let why = sql(&wide(flow_type, columns), qetl_sql::dialects::dialect(dialect).unwrap()).err();
        assert_eq!(why.map(|why| why.to_string()).unwrap_or_default(), told, "{flow_type}, {columns} columns, {dialect}");
    };
    // Parked rows have five columns more than these and the two, landed ones four.
    check("change_feed", 1_011, "mysql", "mysql cannot say a table of 1018 columns: it takes 1017 at most");
    check("growth_accounting", 1_594, "postgres", "");
    check("growth_accounting", 1_595, "postgres", "postgres cannot say a table of 1601 columns: it takes 1600 at most");
    check("growth_accounting", 1_994, "sqlite", "");
    check("growth_accounting", 1_995, "sqlite", "sqlite cannot say a table of 2001 columns: it takes 2000 at most");
    check("sessionization", 900, "postgres", "postgres cannot say a table of 1808 columns: it takes 1600 at most");
    check("delta_publishing", 900, "postgres", "postgres cannot say a result of 1807 columns: it takes 1664 at most");
}
