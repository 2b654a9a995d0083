//! What searches prove, as files that the table of `docs/portability.md` is made from.

use std::{collections::BTreeMap, fs, path::PathBuf};

use serde_json::{Value, json};

/// What became of the histories of a flow type on an engine. None of them differed from the model.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub histories: u32,
    /// How many of them the engine refused, by what it said.
    pub refused: BTreeMap<String, u32>,
}

fn folder() -> Option<PathBuf> {
    std::env::var_os("QETL_OUTCOMES").map(PathBuf::from)
}

/// Keeps it in the folder `QETL_OUTCOMES`, if there is one.
pub fn record(engine: &str, flow_type: &str, outcome: &Outcome) {
    let Some(folder) = folder() else { return };
    fs::create_dir_all(&folder).unwrap();
    let text = json!({ "histories": outcome.histories, "refused": outcome.refused }).to_string();
    fs::write(folder.join(format!("{engine}.{flow_type}.json")), text).unwrap();
}

/// What was kept there.
pub fn recorded(engine: &str, flow_type: &str) -> Option<Outcome> {
    let text = fs::read_to_string(folder()?.join(format!("{engine}.{flow_type}.json"))).ok()?;
    let kept: Value = serde_json::from_str(&text).unwrap();
    let count = |value: &Value| u32::try_from(value.as_u64().unwrap()).unwrap();
    let refused = kept["refused"].as_object().unwrap().iter().map(|(why, times)| (why.clone(), count(times))).collect();
    Some(Outcome { histories: count(&kept["histories"]), refused })
}
