//! Standard flows, executed.

mod author;
mod documented;
mod pipelines;
mod scopes;
mod scripts;
mod told;

use crate::cli::Cli;

/// A project with one flow.
fn project(flow: &str) -> Cli {
    let cli = Cli::empty();
    cli.write("flows/flow.toml", flow);
    cli
}

/// A flow of these tasks.
fn flow(tasks: &str) -> String {
    format!("id = \"shop\"\nflow_type = \"standard\"\n{tasks}")
}

/// An ingestion of `data/<target>_*.csv`.
fn ingestion(target: &str, columns: &str) -> String {
    format!(
        "[[tasks]]\nid = \"load_{target}\"\ntype = \"ingestion\"\ntarget_dataset = \"{target}\"\n\
         [tasks.config]\npath = \"data/{target}_*.csv\"\n{columns}\n"
    )
}

/// A task of SQL that names its sources in the text alone.
fn sql(target: &str, text: &str, more: &str) -> String {
    format!("[[tasks]]\nid = \"make_{target}\"\ntype = \"sql_processing\"\ntarget_dataset = \"{target}\"\n{more}\nsql = '''{text}'''\n")
}

/// Rows without qetl's own columns, as CSV lines without a header.
fn rows(cli: &Cli, query: &str) -> Vec<String> {
    cli.query(query).lines().skip(1).map(str::to_owned).collect()
}
