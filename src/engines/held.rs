//! Runs that were held, noted beside a database that is a file: the run that holds the flow has the database, maybe for long.
//! The next run that writes brings the notes into the records.

use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
};

use qetl_runtime::{RunError, durable, records::RunRecord};

use crate::{
    database::{Connection, Database, Failure},
    runs::replace_run,
    whole::Store,
};

/// Notes a run, as a line of JSON.
pub(crate) fn note(store: &Store, run: &RunRecord) -> Result<(), Failure> {
    let line = serde_json::to_string(run).map_err(RunError::failed)? + "\n";
    let path = store.notes();
    let failed = |why: std::io::Error| RunError::failed(format!("`{}`: {why}", path.display()));
    durable::create_folder(path.parent().unwrap_or(&path)).map_err(failed)?;
    // One write of one line: others may do the same.
    let write = OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| file.write_all(line.as_bytes()));
    write.map_err(|why| failed(why).into())
}

/// The runs that are noted; what is no line of ours is left out.
pub(crate) fn noted(store: &Store) -> Vec<RunRecord> {
    let text = fs::read_to_string(store.notes()).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Brings what is noted into the records, within a transaction; the notes are to be dropped once that is committed.
pub(crate) fn bring_in(database: &dyn Database, connection: &mut dyn Connection) -> Result<Vec<RunRecord>, Failure> {
    let runs = database.store().map(noted).unwrap_or_default();
    runs.iter().try_for_each(|run| replace_run(database, connection, run))?;
    Ok(runs)
}

/// Drops notes that are records now; one that was added meanwhile stays.
pub(crate) fn drop_notes(store: &Store, runs: &[RunRecord]) {
    let rest: Vec<RunRecord> = noted(store).into_iter().filter(|run| !runs.contains(run)).collect();
    match fs::remove_file(store.notes()) {
        Err(why) if why.kind() != ErrorKind::NotFound => (),
        // A note that stays is written once more at worst.
        _ => drop(rest.iter().try_for_each(|run| note(store, run))),
    }
}
