//! The flows of a project: which datasets each makes, who reads them, and in which order they run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use qetl_core::{DatasetName, Flow, plan, standard::StandardTask};

use crate::{records::FlowRecords, types};

/// The datasets that flows make, each with its flow's id.
pub(crate) fn makers<'a>(flows: &[&'a Flow]) -> Vec<(DatasetName, &'a str)> {
    let mut made = Vec::new();
    for flow in flows {
        let names: Vec<DatasetName> = match flow.standard() {
            Some(standard) => standard.tasks.iter().flat_map(StandardTask::makes).collect(),
            None => plan::dataset_names(flow, &types::known(flow, &FlowRecords::default())),
        };
        made.extend(names.into_iter().map(|name| (name, flow.id())));
    }
    made
}

/// Who makes each dataset, by its name in small letters, as case does not count: the flow's place among the flows, and its id.
struct Makers<'a>(HashMap<[String; 2], Vec<(usize, &'a str)>>);

impl<'a> Makers<'a> {
    fn of(flows: &[&'a Flow]) -> Self {
        let places: HashMap<&str, usize> = flows.iter().map(|flow| flow.id()).zip(0..).collect();
        let mut by_name: HashMap<_, Vec<_>> = HashMap::new();
        for (name, maker) in makers(flows) {
            by_name.entry(small(&name)).or_default().push((places[maker], maker));
        }
        Self(by_name)
    }

    /// The flows whose datasets a flow reads, by what its file names; each once, as they stand among the flows.
    fn read_by(&self, flow: &Flow) -> Vec<&'a str> {
        let read: Vec<DatasetName> = match flow.standard() {
            Some(standard) => standard.foreign_sources().into_iter().map(|source| source.dataset.clone()).collect(),
            None => flow.source_dataset.iter().map(|dataset| dataset.value.clone()).collect(),
        };
        let makers: BTreeSet<_> = read.iter().filter_map(|name| self.0.get(&small(name))).flatten().collect();
        makers.into_iter().map(|(_, maker)| *maker).filter(|maker| *maker != flow.id()).collect()
    }
}

fn small(name: &DatasetName) -> [String; 2] {
    [&name.namespace, &name.name].map(|part| part.to_ascii_lowercase())
}

/// The ids of the flows of a project whose datasets a flow reads, each once.
pub fn reads_from(flow: &Flow, project: &[&Flow]) -> Vec<String> {
    Makers::of(project).read_by(flow).into_iter().map(ToOwned::to_owned).collect()
}

/// Who reads whom among the flows of a project.
pub(crate) struct Readers<'a>(BTreeMap<&'a str, Vec<&'a str>>);

impl<'a> Readers<'a> {
    pub(crate) fn new(project: &[&'a Flow]) -> Self {
        let makers = Makers::of(project);
        Self(project.iter().map(|flow| (flow.id(), makers.read_by(flow))).collect())
    }

    /// The flows whose datasets a flow reads.
    pub(crate) fn makers_of(&self, flow: &str) -> &[&'a str] {
        self.0.get(flow).map(Vec::as_slice).unwrap_or_default()
    }

    /// The places of the flows among some that a flow reads from, directly or by way of flows that are not among them.
    fn nearest(&self, flow: &'a str, places: &HashMap<&str, usize>) -> BTreeSet<usize> {
        let (mut found, mut seen, mut next) = (BTreeSet::new(), HashSet::from([flow]), vec![flow]);
        while let Some(reader) = next.pop() {
            for maker in self.makers_of(reader) {
                match places.get(maker) {
                    _ if !seen.insert(*maker) => (),
                    Some(place) => _ = found.insert(*place),
                    None => next.push(maker),
                }
            }
        }
        found
    }

    /// The shortest way from a flow to one that reads it, perhaps by way of others: both and all between them.
    pub(crate) fn path(&self, from: &str, to: &'a str) -> Option<Vec<&'a str>> {
        let mut paths = VecDeque::from([vec![to]]);
        let mut seen = HashSet::new();
        while let Some(path) = paths.pop_front() {
            for maker in self.makers_of(path[0]) {
                let longer = [&[*maker], path.as_slice()].concat();
                if *maker == from {
                    return Some(longer);
                }
                if seen.insert(*maker) {
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
    let places: HashMap<&str, usize> = flows.iter().map(|flow| flow.id()).zip(0..).collect();
    let makers: Vec<BTreeSet<usize>> = flows.iter().map(|flow| readers.nearest(flow.id(), &places)).collect();
    order(&makers).into_iter().map(|place| flows[place]).collect()
}

/// Places, each after those that it waits for; in a circle the first of them does not.
fn order(waits_for: &[BTreeSet<usize>]) -> Vec<usize> {
    let mut waiting: Vec<usize> = waits_for.iter().map(BTreeSet::len).collect();
    let mut waited_for: Vec<Vec<usize>> = vec![Vec::new(); waiting.len()];
    for (place, others) in waits_for.iter().enumerate() {
        others.iter().for_each(|other| waited_for[*other].push(place));
    }
    let mut left: BTreeSet<usize> = (0..waiting.len()).collect();
    let mut free: BTreeSet<usize> = left.iter().copied().filter(|place| waiting[*place] == 0).collect();
    let mut ordered = Vec::with_capacity(waiting.len());
    while let Some(next) = free.first().or(left.first()).copied() {
        left.remove(&next);
        free.remove(&next);
        ordered.push(next);
        for place in &waited_for[next] {
            waiting[*place] -= 1;
            if waiting[*place] == 0 && left.contains(place) {
                free.insert(*place);
            }
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All ways in which four places can wait for each other, against the plainest way to put them in order.
    #[test]
    fn places_stand_after_those_that_they_wait_for() {
        for graph in 0_u32..1 << 12 {
            let waits = |place: usize, other: usize| {
                let bit = place * 3 + if other > place { other - 1 } else { other };
                place != other && graph & (1 << bit) != 0
            };
            let waits_for: Vec<BTreeSet<usize>> = (0..4).map(|place| (0..4).filter(|other| waits(place, *other)).collect()).collect();
            let mut left = vec![0, 1, 2, 3];
            let mut expected = Vec::new();
            while !left.is_empty() {
                let next = left.iter().position(|place| !left.iter().any(|other| waits(*place, *other))).unwrap_or(0);
                expected.push(left.remove(next));
            }
            assert_eq!(order(&waits_for), expected, "{waits_for:?}");
        }
    }
}
