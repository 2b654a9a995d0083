//! The flows of a project: which datasets each makes, who reads them, and in which order they run.

use std::collections::{BTreeMap, VecDeque};

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
    let read: Vec<DatasetName> = match flow.standard() {
        Some(standard) => standard.foreign_sources().into_iter().map(|source| source.dataset.clone()).collect(),
        None => flow.source_dataset.iter().map(|dataset| dataset.value.clone()).collect(),
    };
    let is_read = |name: &DatasetName| read.iter().any(|dataset| same_dataset(name, dataset));
    let mut makers: Vec<&str> = Vec::new();
    for (_, maker) in made.iter().filter(|(name, maker)| *maker != flow.id() && is_read(name)) {
        if !makers.contains(maker) {
            makers.push(maker);
        }
    }
    makers
}

/// The ids of the flows of a project whose datasets a flow reads, each once.
pub fn reads_from(flow: &Flow, project: &[&Flow]) -> Vec<String> {
    read_by(flow, &makers(project)).into_iter().map(ToOwned::to_owned).collect()
}

/// Who reads whom among the flows of a project.
pub(crate) struct Readers<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Readers<'a> {
    pub(crate) fn new(project: &[&'a Flow]) -> Self {
        let made = makers(project);
        Self(project.iter().map(|flow| (flow.id(), read_by(flow, &made))).collect())
    }

    /// The flows whose datasets a flow reads.
    pub(crate) fn makers_of(&self, flow: &str) -> &[&'a str] {
        self.0.get(flow).map(Vec::as_slice).unwrap_or_default()
    }

    /// The shortest way from a flow to one that reads it, perhaps by way of others: both and all between them.
    pub(crate) fn path(&self, from: &str, to: &'a str) -> Option<Vec<&'a str>> {
        let mut paths = VecDeque::from([vec![to]]);
        let mut seen = Vec::new();
        while let Some(path) = paths.pop_front() {
            for maker in self.makers_of(path[0]) {
                let longer = [&[*maker], path.as_slice()].concat();
                if *maker == from {
                    return Some(longer);
                }
                if !seen.contains(maker) {
                    seen.push(*maker);
                    paths.push_back(longer);
                }
            }
        }
        None
    }
}

/// The flows in an order in which they can run: a flow after those whose datasets it reads, be it by way of other flows of
/// the project; else as they are. Flows that read each other in a circle keep their order.
pub fn in_order<'a>(flows: &[&'a Flow], project: &[&'a Flow]) -> Vec<&'a Flow> {
    let readers = Readers::new(project);
    let mut left: Vec<&Flow> = flows.to_vec();
    let mut ordered: Vec<&Flow> = Vec::new();
    while !left.is_empty() {
        let waits = |flow: &Flow| left.iter().any(|other| other.id() != flow.id() && readers.path(other.id(), flow.id()).is_some());
        let next = left.iter().position(|flow| !waits(flow)).unwrap_or(0);
        ordered.push(left.remove(next));
    }
    ordered
}
