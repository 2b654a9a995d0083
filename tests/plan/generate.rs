//! Generated code: what it looks like, and what is refused.

use std::{collections::BTreeMap, fs, path::Path};

use miette::{GraphicalReportHandler, GraphicalTheme};
use qetl_core::Flow;
use qetl_generate::{Files, GenerateError, Target};

use crate::snapshots;

fn flow(name: &str, text: &str) -> Flow {
    Flow::parse(name, text, &qetl_plugins::registry()).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The flows of a folder, by name.
fn flows_of(folder: &str) -> Vec<Flow> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let paths: BTreeMap<String, _> = entries.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), path)).collect();
    paths.iter().map(|(name, path)| flow(&format!("flows/{name}"), &fs::read_to_string(path).unwrap())).collect()
}

fn made(flows: &[&Flow], target: Target, dialect: &str) -> Result<Files, GenerateError> {
    let reads = |flow: &Flow| match flow.id() {
        "orders_pipeline" => vec!["orders_change_feed".to_owned(), "invoices".to_owned()],
        _ => Vec::new(),
    };
    qetl_generate::generate(flows, target, dialect, "My shop", &reads)
}

/// All files in one text.
fn text(files: &Files) -> String {
    files.iter().map(|(path, text)| format!("==> {path}\n{text}\n")).collect()
}

fn keep(name: &str, text: &str) {
    let mut settings = snapshots("generate");
    settings.remove_snapshot_suffix();
    settings.bind(|| insta::assert_snapshot!(name, text));
}

fn rendered(error: GenerateError) -> String {
    let problems = match error {
        GenerateError::Problems(problems) => problems,
        other @ GenerateError::Dialect { .. } => return other.to_string(),
    };
    let handler = GraphicalReportHandler::new_themed(GraphicalTheme::unicode_nocolor()).with_width(100).with_links(false);
    let mut text = String::new();
    for problem in &problems.0 {
        assert!(!problem.place().is_empty(), "`{problem}` has no place");
        handler.render_report(&mut text, problem).unwrap();
    }
    text
}

#[test]
fn a_change_feed_as_scripts() {
    let flows = flows_of("../../flows");
    let customers: Vec<&Flow> = flows.iter().filter(|flow| flow.id() == "customers").collect();
    for dialect in Target::Sql.dialects() {
        keep(&format!("sql.{dialect}"), &text(&made(&customers, Target::Sql, dialect).unwrap()));
    }
}

#[test]
fn a_change_feed_as_a_dbt_project() {
    let flows = flows_of("../../flows");
    let customers: Vec<&Flow> = flows.iter().filter(|flow| flow.id() == "customers").collect();
    for dialect in Target::Dbt.dialects() {
        keep(&format!("dbt.{dialect}"), &text(&made(&customers, Target::Dbt, dialect).unwrap()));
    }
}

#[test]
fn every_flow_in_one_airflow_file() {
    let flows = flows_of("../../flows");
    keep("airflow", &text(&made(&flows.iter().collect::<Vec<_>>(), Target::Airflow, "").unwrap()));
}

/// Every example flow is generated, or refused at a place of its file; twice the same.
#[test]
fn every_flow_is_generated_or_refused() {
    let mut table = String::new();
    for flow in flows_of("../../flows") {
        for target in [Target::Sql, Target::Dbt] {
            for dialect in target.dialects() {
                let what = match made(&[&flow], target, dialect) {
                    Ok(files) => {
                        assert_eq!(files, made(&[&flow], target, dialect).unwrap());
                        for (path, text) in &files {
                            assert!(!text.contains("\"qetl:") && !text.contains("`qetl:"), "{path} names what is ours alone");
                            assert!(text.contains("qetl generate"), "{path} does not say what made it");
                            assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{path}");
                        }
                        format!("{} files", files.len())
                    }
                    Err(GenerateError::Problems(problems)) => {
                        problems.0.iter().map(|problem| format!("{}: {problem}", problem.place())).collect::<Vec<_>>().join("; ")
                    }
                    Err(other) => panic!("{other}"),
                };
                table.push_str(&format!("{} {} {dialect}: {what}\n", flow.id(), target.name()));
            }
        }
    }
    keep("generated_or_refused", &table);
}

#[test]
fn what_cannot_be_generated_is_said_in_the_flow_file() {
    let mut told = String::new();
    for flow in flows_of("../../flows").iter().filter(|flow| ["orders_change_feed", "orders_pipeline"].contains(&flow.id())) {
        told.push_str(&rendered(made(&[flow], Target::Sql, "postgres").unwrap_err()));
    }
    let float_key = flow(
        "flows/readings.toml",
        "id = \"readings\"\nflow_type = \"delta_publishing\"\n[input]\nprimary_key = [\"at\"]\n\
         columns = [{ name = \"at\", schema_type = \"float\" }, { name = \"value\", schema_type = \"decimal(38,31)\" }]\n",
    );
    told.push_str(&rendered(made(&[&float_key], Target::Sql, "mysql").unwrap_err()));
    keep("refused", &told);
    assert_eq!(rendered(made(&[], Target::Dbt, "mysql").unwrap_err()), "`dbt` is not generated in the dialect `mysql`");
}
