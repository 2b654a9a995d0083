//! Flows that read each other's datasets, makers first.

use qetl_core::{DatasetName, Flow, plan, standard::same_dataset};

use crate::{records::FlowRecords, types};

/// The datasets that flows make, each with its flow's id.
pub(crate) fn makers<'a>(flows: &[&'a Flow]) -> Vec<(DatasetName, &'a str)> {
    let mut made = Vec::new();
    for flow in flows {
        let names: Vec<DatasetName> = match flow.standard() {
            Some(standard) => standard.tasks.into_iter().map(|task| task.target).collect(),
            None => plan::expand(flow, types::known(flow, &FlowRecords::default()))
                .map(|plan| plan.datasets.into_iter().map(|dataset| dataset.name).collect())
                .unwrap_or_default(),
        };
        made.extend(names.into_iter().map(|name| (name, flow.id())));
    }
    made
}

/// The flows among these whose datasets a flow reads, by what its file names.
pub(crate) fn read_by<'a>(flow: &Flow, made: &[(DatasetName, &'a str)]) -> Vec<&'a str> {
    let Some(standard) = flow.standard() else { return Vec::new() };
    let mut makers = Vec::new();
    for source in standard.foreign_sources() {
        let found = made.iter().filter(|(name, maker)| same_dataset(name, &source.dataset) && *maker != flow.id());
        makers.extend(found.map(|(_, maker)| *maker));
    }
    makers
}

/// The ids of the flows among these whose datasets a flow reads, each once.
pub fn reads_from(flow: &Flow, flows: &[&Flow]) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for maker in read_by(flow, &makers(flows)) {
        if !ids.iter().any(|id| id == maker) {
            ids.push(maker.to_owned());
        }
    }
    ids
}

/// The flows in an order in which they can run: a flow after those whose datasets it reads, else as they are. Flows that
/// read each other in a circle keep their order.
pub fn in_order<'a>(flows: &[&'a Flow]) -> Vec<&'a Flow> {
    let made = makers(flows);
    let mut left: Vec<&Flow> = flows.to_vec();
    let mut ordered: Vec<&Flow> = Vec::new();
    while !left.is_empty() {
        let is_free = |flow: &&Flow| read_by(flow, &made).iter().all(|maker| !left.iter().any(|other| other.id() == *maker));
        let next = left.iter().position(is_free).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}
