//! Change feeds whose files come to a folder one by one, and are moved away.

use std::{collections::BTreeMap, fs, path::PathBuf};

use proptest::test_runner::TestCaseError;
use qetl_runtime::{natural, report::Status, waiting::Request};
use qetl_test_models::{
    histories::Arrival,
    oracle::{Model, Outcome, Row},
    parts::{ACCEPT_GUARDS, Event, PartsHistory, csv, flow_toml, parts_history, path},
    tables,
};
use tokio::runtime::Runtime;

use crate::{
    change_feed::{compare_outcome, settled},
    project::TestProject,
    search::{Lived, Places, Search, failed},
};

const SEARCH: Search<PartsHistory> = Search {
    flow_type: "change_feed from a folder",
    histories: parts_history,
    told: |history| {
        let event =
            |event: &Event| format!("{} (moved {:?}, waits {}):\n{}", path(history, event), event.moved, event.waits, csv(history, event));
        format!("flow:\n{}\n{}", flow_toml(history), history.events.iter().map(event).collect::<Vec<_>>().join("\n"))
    },
    live,
};

/// Lives such histories on an engine.
pub fn search(places: Places<'_>) {
    SEARCH.each(places().cases, |runtime, history| (SEARCH.live)(runtime, places, history).map(|_| ()));
}

/// The text and the rows of each file of a batch, by its path.
type Files = BTreeMap<String, (String, Vec<Row>)>;

/// In the order in which the files of a batch are read.
fn content(files: &Files) -> Vec<Row> {
    let mut paths: Vec<&String> = files.keys().collect();
    paths.sort_by(|a, b| natural::compare(a, b));
    paths.into_iter().flat_map(|path| files[path].1.clone()).collect()
}

fn live(runtime: &Runtime, places: Places<'_>, history: &PartsHistory) -> Result<Lived, TestCaseError> {
    let project = TestProject::new(places(), &flow_toml(history));
    let folder = project.folder.path().to_owned();
    let mut model = Model::new(history.options.clone());
    let (mut taken, mut waiting): (BTreeMap<i64, Files>, BTreeMap<i64, Files>) = (BTreeMap::new(), BTreeMap::new());
    let mut there: Vec<PathBuf> = Vec::new();
    runtime.block_on(async {
        for (index, event) in history.events.iter().enumerate() {
            let whole = Arrival {
                batch_id: event.batch_id,
                rows: event.rows.clone(),
                accept_guards: ACCEPT_GUARDS,
                files: Vec::new(),
                respelled: false,
            };
            let event = &Event { rows: project.place.holdable(&whole).rows, ..event.clone() };
            let (name, text) = (path(history, event), csv(history, event));
            let file = folder.join(&name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            // By its inode it is another file, however little time has passed.
            let _ = fs::remove_file(&file);
            fs::write(&file, &text).unwrap();
            if !there.contains(&file) {
                there.push(file);
            }
            let is_known = taken.get(&event.batch_id).is_some_and(|files| files.get(&name).is_some_and(|(known, _)| *known == text));
            let files = waiting.entry(event.batch_id).or_default();
            match is_known {
                true => drop(files.remove(&name)),
                false => drop(files.insert(name, (text, event.rows.clone()))),
            }
            if event.waits && index + 1 < history.events.len() {
                continue;
            }
            let report = project.execute(&Request { accept_guards: ACCEPT_GUARDS, ..Request::default() }).await.map_err(failed)?;
            let flow = &report.flows[0];
            let at = |why: &str| failed(format!("event {index}: {why}\n{flow:#?}"));
            let mut told = flow.batches.iter();
            waiting.retain(|_, files| !files.is_empty());
            let mut stopped = false;
            for (batch_id, files) in std::mem::take(&mut waiting) {
                if stopped {
                    waiting.insert(batch_id, files);
                    continue;
                }
                let mut all = taken.get(&batch_id).cloned().unwrap_or_default();
                all.extend(files.clone());
                let expected = model.execute(batch_id, &content(&all), ACCEPT_GUARDS);
                let batch = told.next().ok_or_else(|| at(&format!("batch {batch_id} was not executed")))?;
                let one = qetl_runtime::RunReport {
                    flows: vec![qetl_runtime::report::FlowReport { batches: vec![batch.clone()], ..flow.clone() }],
                    ..report.clone()
                };
                compare_outcome(&one, &expected, &history.options).map_err(|why| at(&why))?;
                stopped = matches!(expected, Outcome::Rejected(_));
                match stopped {
                    true => drop(waiting.insert(batch_id, files)),
                    false => drop(taken.insert(batch_id, all)),
                }
            }
            if let Some(more) = told.next() {
                return Err(at(&format!("batch {} had no reason to be executed", more.batch_id)));
            }
            if flow.batches.is_empty() && flow.status != Status::UpToDate {
                return Err(at("nothing was to be done"));
            }
            // What is refused is to be looked at again.
            let known = |file: &PathBuf| taken.values().flatten().any(|(name, _)| folder.join(name) == *file);
            let waits = |file: &PathBuf| waiting.values().flatten().any(|(name, _)| folder.join(name) == *file);
            for which in &event.moved {
                let movable: Vec<PathBuf> = there.iter().filter(|file| known(file) && !waits(file)).cloned().collect();
                if !movable.is_empty() {
                    let file = which.get(&movable);
                    fs::remove_file(file).unwrap();
                    there.retain(|other| other != file);
                }
            }
        }
        if model.batches.is_empty() {
            return Ok(Lived::AsTheModelSays);
        }
        // The run of a full refresh executes what waits, too, and would be refused again.
        for (name, _) in waiting.values().flatten() {
            let _ = fs::remove_file(folder.join(name));
        }
        settled(&project, &tables::change_feed(&model)).await
    })
}
