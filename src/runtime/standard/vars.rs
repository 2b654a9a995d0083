//! `--var`: values that somebody must ask for.

use std::collections::{BTreeMap, BTreeSet};

use qetl_core::{Flow, standard::Variable, suggest};

use crate::RunError;

/// A value of which none of the flows knows the name is a mistake.
pub fn refuse_unknown_vars(flows: &[&Flow], vars: &BTreeMap<String, Variable>) -> Result<(), RunError> {
    let mut known = BTreeSet::new();
    for flow in flows {
        let Some(standard) = flow.standard() else { continue };
        match standard.variable_names() {
            Some(names) => known.extend(names),
            None => return Ok(()),
        }
    }
    let Some(unknown) = vars.keys().find(|name| !known.contains(*name)) else { return Ok(()) };
    let (what, help) = match (flows, known.is_empty()) {
        ([flow], true) => (format!("flow `{}` has no variables", flow.id()), "leave `--var` out".to_owned()),
        (_, true) => ("none of the flows has variables".to_owned(), "leave `--var` out".to_owned()),
        ([flow], false) => {
            (format!("flow `{}` has no variable `{unknown}`", flow.id()), suggest::help(unknown, known.iter().map(String::as_str)))
        }
        (_, false) => (format!("none of the flows has a variable `{unknown}`"), suggest::help(unknown, known.iter().map(String::as_str))),
    };
    Err(RunError::usage(format!("`--var {unknown}=…` does nothing: {what}"), help))
}
