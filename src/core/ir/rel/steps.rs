//! Relations by names.

use std::collections::HashSet;

use super::{Op, Rel};

/// A named relation; later steps read it by its name.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub name: String,
    pub rel: Rel,
    /// Few rows are expected, and more than one step reads them: an engine may compute them once.
    pub small: bool,
}

/// Steps in the order in which they can be computed. The last one is the result.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Steps(pub Vec<Step>);

impl Steps {
    /// Adds a step and gives a relation that reads it.
    pub fn add(&mut self, name: &str, rel: Rel) -> Rel {
        self.push(name, rel, false)
    }

    /// Adds a step that is expected to have few rows; see [`Step::small`].
    pub fn add_small(&mut self, name: &str, rel: Rel) -> Rel {
        self.push(name, rel, true)
    }

    fn push(&mut self, name: &str, rel: Rel, small: bool) -> Rel {
        debug_assert!(self.0.iter().all(|step| step.name != name), "two steps are named `{name}`");
        let read = Rel::with(Op::Ref { step: name.to_owned() }, rel.schema().clone());
        self.0.push(Step { name: name.to_owned(), rel, small });
        read
    }

    /// What the steps give, for one more.
    pub fn result(&self) -> Option<Rel> {
        let last = self.0.last()?;
        Some(Rel::with(Op::Ref { step: last.name.clone() }, last.rel.schema().clone()))
    }

    /// The same steps, those operators that `alone` chooses each in a step of its own.
    #[must_use]
    pub fn with_steps_for(&self, alone: fn(&Op) -> bool) -> Steps {
        fn split(rel: &Rel, step: &str, steps: &mut Steps, alone: fn(&Op) -> bool) -> Rel {
            rel.map_inputs(&mut |input| {
                let input = split(input, step, steps, alone);
                if !alone(&input.op) {
                    return input;
                }
                let name = format!("{step}_{}", steps.0.len());
                steps.add(&name, input)
            })
        }
        let mut steps = Steps::default();
        for step in &self.0 {
            let rel = split(&step.rel, &step.name, &mut steps, alone);
            steps.0.push(Step { name: step.name.clone(), rel, small: step.small });
        }
        steps
    }

    /// The steps that the last one needs, itself included.
    #[must_use]
    pub fn needed(&self) -> Steps {
        let mut names: HashSet<&str> = self.0.last().map(|step| step.name.as_str()).into_iter().collect();
        let mut steps: Vec<Step> = Vec::new();
        for step in self.0.iter().rev() {
            if names.contains(step.name.as_str()) {
                refs(&step.rel, &mut names);
                steps.push(step.clone());
            }
        }
        steps.reverse();
        Steps(steps)
    }
}

/// The steps that a relation reads.
fn refs<'a>(rel: &'a Rel, names: &mut HashSet<&'a str>) {
    if let Op::Ref { step } = &*rel.op {
        names.insert(step);
    }
    rel.inputs().into_iter().for_each(|input| refs(input, names));
}
