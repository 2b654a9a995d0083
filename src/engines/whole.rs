//! Whether a database that is a file of this machine is whole: nothing that was said to be published is missing from it.
//!
//! How often it was written to stands in its records, in the row of each flow. So a file or a log of another time shows by
//! that.

use std::{
    fs,
    path::{Path, PathBuf},
};

use chrono::Utc;
use qetl_runtime::{
    Place, RunError,
    acknowledged::{Acknowledged, Found, Marker, refuse_loss},
    durable,
};

use crate::{
    database::{Access, Connection, Database, Failure},
    lock_file, records,
};

/// A database's file, and what stands beside it.
pub(crate) struct Store {
    pub(crate) path: PathBuf,
    log: PathBuf,
    marker: Marker,
}

impl Store {
    /// `log`: what the name of its log has behind that of the file.
    pub(crate) fn new(path: PathBuf, log: &str) -> Self {
        let mut name = path.as_os_str().to_owned();
        name.push(log);
        Self { log: name.into(), marker: Marker::new(&lock_file::folder(&path)), path }
    }

    /// Where runs are noted while somebody else has the database.
    pub(crate) fn notes(&self) -> PathBuf {
        lock_file::folder(&self.path).join("held.jsonl")
    }

    pub(crate) fn has_log(&self) -> bool {
        has_content(&self.log)
    }
}

fn has_content(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.len() > 0)
}

/// The database as it is; `None` without records.
fn found(database: &dyn Database, connection: &mut dyn Connection) -> Result<Option<Found>, Failure> {
    if !records::there(database, connection)? {
        return Ok(None);
    }
    let (version, writes) = records::published(database, connection)?;
    Ok(Some(Found { store: 0, version, writes, in_file: database.writes_in_file()? }))
}

fn judge(database: &dyn Database, store: &Store, access: Access) -> Result<Box<dyn Connection>, Failure> {
    let said = store.marker.read();
    // A database may take a file that is missing or empty for a new one, and its log away.
    let mut found_there = None;
    let connection = if has_content(&store.path) {
        let mut connection = database.connect(access)?;
        found_there = found(database, &mut *connection)?;
        Some(connection)
    } else {
        None
    };
    match refuse_loss(&database.place(), &said, found_there) {
        // What was said before is the least that a database has; what is said since, it may not have had yet.
        Err(_) if store.marker.read() != said => judge(database, store, access),
        Err(error) => Err(error.into()),
        Ok(()) => match connection {
            Some(mut connection) => {
                connection.is_whole();
                Ok(connection)
            }
            None => database.connect(access),
        },
    }
}

/// A session of a database; one that lacks what was published is refused.
pub(crate) fn open(database: &dyn Database, access: Access) -> Result<Box<dyn Connection>, Failure> {
    let Some(store) = database.store() else { return database.connect(access) };
    if access == Access::Write && has_content(&store.path) {
        // Who may write may bring a log into the file, whatever it is of.
        judge(database, store, Access::Read)?;
    }
    judge(database, store, access)
}

/// Notes what is published, so that a database that lacks it is known by that from now on.
pub(crate) fn acknowledge(database: &dyn Database, connection: &mut dyn Connection) -> Result<(), Failure> {
    let Some(store) = database.store() else { return Ok(()) };
    durable::sync_parent(&store.path).map_err(RunError::failed)?;
    let in_file = connection.checkpoint();
    let (version, writes) = records::published(database, connection)?;
    let now = Acknowledged { store: 0, version, writes, in_file: if in_file { writes } else { 0 }, kept_before: 0 };
    store.marker.update(|said| said.unwrap_or_default().or(now)).map_err(Failure::from)
}

/// Notes what was published but not noted, by a run that died between the two, or by an older qetl.
pub(crate) fn catch_up(database: &dyn Database, connection: &mut dyn Connection) -> Result<(), Failure> {
    let Some(store) = database.store() else { return Ok(()) };
    let (version, _) = records::published(database, connection)?;
    let is_noted = matches!(store.marker.read(), Ok(Some(said)) if said.version >= version);
    if is_noted { Ok(()) } else { acknowledge(database, connection) }
}

/// The same after a COMMIT, where a failure must not be taken for one of the publish.
pub(crate) fn acknowledge_publish(database: &dyn Database, connection: &mut dyn Connection) -> Result<(), Failure> {
    acknowledge(database, connection).map_err(|why| {
        let message = format!("the batch is published, but that could not be noted: {why}");
        let help = "run the same command again: the batch counts as published".to_owned();
        RunError::Failed { place: Place::default(), message, help }.into()
    })
}

/// Goes on from what there is, although more was published.
pub(crate) fn accept(database: &dyn Database, version: i64) -> Result<(), Failure> {
    let Some(store) = database.store() else {
        let message = format!("{} keeps what was published by itself", database.place());
        return Err(RunError::usage(message, "leave `--accept-catalog-version` out").into());
    };
    let found = match has_content(&store.path) {
        true => found(database, &mut *database.connect(Access::Read)?)?,
        false => None,
    };
    let is_at = found.map_or(0, |found| found.version);
    if is_at != version {
        let message = format!("{} is at version {is_at}, not {version}", database.place());
        return Err(RunError::usage(message, "`--accept-catalog-version` takes the version that there is").into());
    }
    let writes = found.map_or(0, |found| found.writes);
    let kept_before = Utc::now().timestamp_micros();
    store.marker.set(Acknowledged { store: 0, version, writes, in_file: 0, kept_before }).map_err(Failure::from)
}
