//! The order of a flow's tasks: what makes a dataset comes before what reads it, and what an author says comes before.

use std::collections::BTreeSet;

use super::{Source, names};
use crate::{
    plan::DatasetName,
    problem::{Problem, Problems, Span},
};

/// What the order depends on of a task.
#[derive(Debug)]
pub(super) struct Node<'a> {
    pub(super) id: &'a str,
    pub(super) target: &'a DatasetName,
    /// The dataset of the rows that the task sets aside, if it does.
    pub(super) parked: Option<DatasetName>,
    pub(super) target_span: Span,
    pub(super) sources: &'a [Source],
    /// Tasks before and after it, by position, with the place that says so.
    pub(super) before: &'a [(usize, Span)],
    pub(super) after: &'a [(usize, Span)],
}

impl Node<'_> {
    fn makes(&self, dataset: &DatasetName) -> bool {
        names::same(self.target, dataset) || self.parked.as_ref().is_some_and(|parked| names::same(parked, dataset))
    }
}

/// One task runs before another.
#[derive(Debug)]
struct Edge {
    from: usize,
    to: usize,
    why: String,
    span: Span,
}

/// An order in which the tasks can run, and for each task (by position) those right before it.
#[derive(Debug, Default)]
pub(super) struct Order {
    pub(super) positions: Vec<usize>,
    pub(super) before: Vec<BTreeSet<usize>>,
}

/// The order; of tasks that may run in any order, the one that is declared first comes first.
pub(super) fn order(nodes: &[Node<'_>]) -> Result<Order, Problems> {
    let edges = edges(nodes);
    let mut before = vec![BTreeSet::new(); nodes.len()];
    for edge in &edges {
        before[edge.to].insert(edge.from);
    }
    let mut problems = Problems::default();
    let (mut positions, mut waiting): (Vec<usize>, BTreeSet<usize>) = (Vec::new(), (0..nodes.len()).collect());
    while let Some(first) = waiting.first().copied() {
        let ready = waiting.iter().copied().find(|task| before[*task].is_disjoint(&waiting));
        if let Some(task) = ready {
            waiting.remove(&task);
            positions.push(task);
            continue;
        }
        let cycle = cycle(first, &before, &waiting);
        problems.push(problem_of(&cycle, nodes, &edges));
        for task in cycle {
            waiting.remove(&task);
            positions.push(task);
        }
    }
    if problems.is_empty() {
        problems.append(unordered_producers(nodes, &positions, &before));
    }
    problems.or(Order { positions, before })
}

fn edges(nodes: &[Node<'_>]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for (reader, node) in nodes.iter().enumerate() {
        for source in node.sources {
            let makers = nodes.iter().enumerate().filter(|(maker, other)| *maker != reader && other.makes(&source.dataset));
            for (maker, other) in makers {
                let why = format!("`{}` reads `{}`, which `{}` makes", node.id, source.dataset, other.id);
                edges.push(Edge { from: maker, to: reader, why, span: source.span });
            }
        }
        for (first, span) in node.before {
            let why = format!("`{}` names `{}` in `dependencies`", node.id, nodes[*first].id);
            edges.push(Edge { from: *first, to: reader, why, span: *span });
        }
        for (then, span) in node.after {
            let why = format!("`{}` names `{}` in `downstream_tasks`", node.id, nodes[*then].id);
            edges.push(Edge { from: reader, to: *then, why, span: *span });
        }
    }
    edges
}

/// Tasks that wait for each other, in the order in which they would run, the first declared first. `from` waits for one of
/// `waiting`, and so does each of these.
fn cycle(from: usize, before: &[BTreeSet<usize>], waiting: &BTreeSet<usize>) -> Vec<usize> {
    let mut path = vec![from];
    loop {
        let last = path[path.len() - 1];
        let Some(next) = before[last].iter().copied().find(|task| waiting.contains(task)) else {
            unreachable!("a task that waits for none of the waiting is ready")
        };
        if let Some(begin) = path.iter().position(|task| *task == next) {
            let mut cycle: Vec<usize> = path.split_off(begin);
            cycle.reverse();
            let first = cycle.iter().enumerate().min_by_key(|(_, task)| **task).map_or(0, |(index, _)| index);
            cycle.rotate_left(first);
            return cycle;
        }
        path.push(next);
    }
}

fn problem_of(cycle: &[usize], nodes: &[Node<'_>], edges: &[Edge]) -> Problem {
    let steps = cycle.iter().zip(cycle.iter().cycle().skip(1));
    let reasons: Vec<&Edge> = steps.filter_map(|(from, to)| edges.iter().find(|edge| edge.from == *from && edge.to == *to)).collect();
    let path: Vec<&str> = cycle.iter().chain(cycle.first()).map(|task| nodes[*task].id).collect();
    let span = reasons.last().map_or(Span::default(), |edge| edge.span);
    let why: Vec<&str> = reasons.iter().map(|edge| edge.why.as_str()).collect();
    let what = match cycle {
        [_] => format!("task `{}` waits for itself", path[0]),
        _ => format!("tasks wait for each other: {}", path.join(" → ")),
    };
    Problem::new("qetl::decode::cycle", span, what).label("this closes the circle").help(why.join("; "))
}

/// Two tasks that make one dataset must run one after the other, or its rows would depend on chance.
fn unordered_producers(nodes: &[Node<'_>], positions: &[usize], before: &[BTreeSet<usize>]) -> Problems {
    let mut problems = Problems::default();
    let mut all_before: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); nodes.len()];
    for task in positions {
        let found: BTreeSet<usize> = before[*task].iter().flat_map(|first| all_before[*first].iter().copied().chain([*first])).collect();
        all_before[*task] = found;
    }
    for node in nodes {
        let taken = nodes.iter().find_map(|other| Some((other, other.parked.as_ref().filter(|parked| names::same(node.target, parked))?)));
        if let Some((other, parked)) = taken {
            let what = format!("`{}` sets rows aside in `{parked}`, which `{}` makes", other.id, node.id);
            let problem = Problem::new("qetl::decode::unordered_producers", node.target_span, what).label("made twice");
            problems.push(problem.help("give the task another target"));
        }
    }
    for (second, node) in nodes.iter().enumerate() {
        for (first, other) in nodes.iter().enumerate().take(second) {
            let ordered = all_before[second].contains(&first) || all_before[first].contains(&second);
            if names::same(node.target, other.target) && !ordered {
                let what = format!("`{}` and `{}` both make `{}`, in no order", other.id, node.id, node.target);
                let help =
                    format!("say which comes first: `dependencies = [\"{}\"]` in `{}`, or give one another target", other.id, node.id);
                problems.push(Problem::new("qetl::decode::unordered_producers", node.target_span, what).label("made twice").help(help));
            }
        }
    }
    problems
}
