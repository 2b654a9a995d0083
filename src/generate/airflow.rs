//! `--target airflow`: one file, a DAG a flow. The DAGs call qetl, which knows which batches wait, so that no SQL is written.

use minijinja::{context, value::Serde};
use qetl_core::Flow;
use serde::Serialize;

use crate::{Files, templates::fill};

#[derive(Debug, Serialize)]
struct Dag<'a> {
    id: &'a str,
    file: &'a str,
    flow_type: &'a str,
    about: &'a str,
    /// The ids of the flows that it reads from.
    reads: Vec<String>,
}

pub(crate) fn generate(flows: &[&Flow], reads: &dyn Fn(&Flow) -> Vec<String>) -> Files {
    let dags = flows.iter().map(|flow| Dag {
        id: flow.id(),
        file: flow.source.name(),
        flow_type: flow.flow_type.name,
        about: flow.header.description.as_ref().or(flow.header.name.as_ref()).unwrap_or(&flow.header.id),
        reads: reads(flow),
    });
    let dags: Vec<Dag<'_>> = dags.collect();
    Files::from([("qetl_dags.py".to_owned(), fill("airflow/dags.py", context! { flows => Serde(dags) }))])
}
