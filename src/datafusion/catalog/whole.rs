//! Whether the catalog is whole: nothing that was said to be published is missing from it, or from the data files.
//!
//! `user_version` counts the catalog's writes, and `application_id` tells it from other catalogs. Both stand in the first
//! page of the database, which so is part of every write: a log or a file of another time shows by it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use chrono::Utc;
use qetl_runtime::{
    Place, RunError,
    acknowledged::{Acknowledged, Found, Unreadable, loss, refuse_loss},
    durable,
};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::{Catalog, DataFile};
use crate::{
    error,
    stage::{PREFIX, made_at},
};

/// Where SQLite keeps `user_version` in the database's first page.
const WRITES_AT: u64 = 60;

/// How long a publish waits for readers of what it has written to the log.
const READERS: Duration = Duration::from_millis(50);

/// A catalog that is open to be written to.
pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) found: Found,
}

/// The number that tells a new catalog from others.
pub(super) fn new_store() -> i32 {
    let (_, random) = uuid::Uuid::new_v4().as_u64_pair();
    i32::try_from(random & 0x7fff_ffff).unwrap_or(1).max(1)
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, pragma, |row| row.get(0))
}

/// Why a write did not come to be.
pub(super) enum Unwritten {
    Catalog(rusqlite::Error),
    Told(Box<RunError>),
}

impl From<rusqlite::Error> for Unwritten {
    fn from(why: rusqlite::Error) -> Self {
        Unwritten::Catalog(why)
    }
}

impl From<RunError> for Unwritten {
    fn from(told: RunError) -> Self {
        Unwritten::Told(Box::new(told))
    }
}

impl From<Unwritten> for RunError {
    fn from(why: Unwritten) -> Self {
        match why {
            Unwritten::Catalog(why) => error::catalog(why),
            Unwritten::Told(told) => *told,
        }
    }
}

/// Writes in one transaction, or nothing; how many writes there are with it.
pub(super) fn written<T>(
    connection: &mut Connection,
    write: impl FnOnce(&Transaction<'_>) -> Result<T, Unwritten>,
) -> Result<(T, i64), Unwritten> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let writes = number(&transaction, "user_version")? + 1;
    transaction.pragma_update(None, "user_version", writes)?;
    let made = write(&transaction)?;
    transaction.commit()?;
    Ok((made, writes))
}

/// Brings what stands in the log into the catalog's own file; false when readers of other processes kept that from being
/// done whole.
fn checkpoint(connection: &Connection) -> bool {
    let whole = || -> rusqlite::Result<bool> {
        connection.busy_timeout(READERS)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| Ok(row.get::<_, i64>(0)? == 0))
    };
    whole().unwrap_or(false)
}

impl Catalog {
    fn name(&self) -> String {
        format!("the catalog `{}`", self.file.display())
    }

    /// The catalog as it is, which is open.
    pub(super) fn found(&self, connection: &Connection) -> Result<Found, RunError> {
        let newest = "SELECT coalesce(max(snapshot_id), 0) FROM ducklake_snapshot";
        let read = || -> rusqlite::Result<Found> {
            Ok(Found {
                store: number(connection, "application_id")?,
                version: connection.query_row(newest, (), |row| row.get(0))?,
                writes: number(connection, "user_version")?,
                in_file: None,
            })
        };
        let found = read().map_err(|why| self.unreadable(&why))?;
        let mut log = self.file.as_os_str().to_owned();
        log.push("-wal");
        let has_log = fs::metadata(log).is_ok_and(|log| log.len() > 0);
        if has_log {
            self.refuse_cut(connection).map_err(|why| self.unreadable(&why))?;
        }
        Ok(Found { in_file: has_log.then(|| self.writes_in_file()).transpose()?, ..found })
    }

    /// A file may be shorter than the catalog only by pages that its log has; SQLite takes others for empty ones, and does not
    /// see that before it needs them.
    fn refuse_cut(&self, connection: &Connection) -> rusqlite::Result<()> {
        let bytes = number(connection, "page_count")?.saturating_mul(number(connection, "page_size")?);
        let is_short = fs::metadata(&self.file).is_ok_and(|file| i64::try_from(file.len()).is_ok_and(|length| length < bytes));
        if is_short {
            let found: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
            if found != "ok" {
                return Err(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT), Some(found)));
            }
        }
        Ok(())
    }

    fn writes_in_file(&self) -> Result<i64, RunError> {
        let mut bytes = [0; 4];
        let read = held(&self.file).and_then(|file| file.read_exact_at(&mut bytes, WRITES_AT));
        read.map_err(|why| self.unreadable(&why))?;
        Ok(i64::from(i32::from_be_bytes(bytes)))
    }

    /// A catalog of which not even the version can be told.
    pub(super) fn unreadable(&self, why: &dyn std::fmt::Display) -> RunError {
        let said = self.marker.read().ok().flatten().filter(|said| said.version > 0);
        let published = said.map(|said| format!("; version {} was published with it", said.version)).unwrap_or_default();
        let message = format!("{} cannot be read: {why}{published}", self.name());
        RunError::Failed { place: Place::default(), message, help: error::DAMAGED_CATALOG.to_owned() }
    }

    /// Refuses a catalog that lacks what was published.
    pub(super) fn refuse_loss(&self, said: &Result<Option<Acknowledged>, Unreadable>, found: Found) -> Result<(), RunError> {
        refuse_loss(&self.name(), said, Some(found))
    }

    /// Refuses to take a catalog that is missing, or empty, for one that was never made.
    pub(super) fn refuse_absence(&self) -> Result<(), RunError> {
        refuse_loss(&self.name(), &self.marker.read(), None)?;
        match first_file(&self.data) {
            Some(file) => Err(loss(format!("{} is missing or empty, and there is data: `{}`", self.name(), file.display()), 0)),
            None => Ok(()),
        }
    }

    /// Notes what was published but not noted, by a run that died between the two, or by an older qetl.
    pub(super) fn catch_up(&self, writer: &Writer) -> Result<(), RunError> {
        let said = self.marker.read();
        let is_noted = matches!(said, Ok(Some(said)) if said.version >= writer.found.version);
        if is_noted { Ok(()) } else { self.acknowledge(&writer.connection, writer.found) }
    }

    /// Notes what is published, so that a catalog that lacks it is known by that from now on.
    pub(super) fn acknowledge(&self, connection: &Connection, found: Found) -> Result<(), RunError> {
        let in_file = if checkpoint(connection) { found.writes } else { 0 };
        let now = Acknowledged { store: found.store, version: found.version, writes: found.writes, in_file, kept_before: 0 };
        self.marker.update(|said| match said {
            Some(said) => said.or(now),
            None => Acknowledged { kept_before: self.now_or_newest(), ..now },
        })
    }

    /// Now, or just after the newest file was made, whatever the clock says.
    fn now_or_newest(&self) -> i64 {
        let mut newest = 0;
        each_file(&self.data, &mut |file| {
            newest = newest.max(made_at(file).unwrap_or(0));
            true
        });
        Utc::now().timestamp_micros().max(newest + 1)
    }

    /// Makes the names of files in these folders durable, and those of the folders.
    pub(crate) fn sync(&self, folders: &BTreeSet<PathBuf>) -> Result<(), RunError> {
        for folder in folders {
            let top = if folder.starts_with(self.location()) { self.location() } else { folder };
            durable::sync_up_to(folder, top).map_err(|why| error::file(folder, why))?;
        }
        Ok(())
    }

    fn location(&self) -> &Path {
        self.data.parent().unwrap_or(&self.data)
    }

    /// Goes on from the version that there is, although a newer one was published.
    pub(crate) fn accept(&self, version: i64) -> Result<(), RunError> {
        let said = self.marker.read();
        let connection = match self.open_unjudged()? {
            Some(connection) => Some(connection),
            None if version == 0 => Some(self.make()?),
            None => None,
        };
        let found = connection.as_ref().map(|connection| self.found(connection)).transpose()?;
        let is_at = found.map_or(0, |found| found.version);
        let (Some(connection), Some(found)) = (connection, found.filter(|found| found.version == version)) else {
            let message = format!("{} is at version {is_at}, not {version}", self.name());
            return Err(RunError::usage(message, "`--accept-catalog-version` takes the version that there is"));
        };
        if matches!(said, Ok(Some(_))) && self.refuse_loss(&said, found).is_ok() {
            return Ok(());
        }
        // It is another catalog from here on: so the lost one, should it come back, is not taken for it.
        let (store, mut connection) = (new_store(), connection);
        let brand = |transaction: &Transaction<'_>| Ok(transaction.pragma_update(None, "application_id", store)?);
        let ((), writes) = written(&mut connection, brand)?;
        let in_file = if checkpoint(&connection) { writes } else { 0 };
        self.marker.set(Acknowledged { store: store.into(), version, writes, in_file, kept_before: self.now_or_newest() })
    }

    /// Removes what runs that died left in a folder of theirs.
    pub(crate) fn reclaim(&self, folder: &Path) -> Result<(), RunError> {
        let known = self.known_files(folder)?;
        let kept_before = self.marker.read().ok().flatten().map_or(i64::MAX, |said| said.kept_before);
        crate::stage::reclaim(folder, &known, kept_before).map(|_| ()).map_err(|why| error::file(folder, why))
    }
}

/// The file, which stays open: a process that closes a file gives up every lock that SQLite holds in it.
fn held(path: &Path) -> io::Result<Arc<File>> {
    static HELD: Mutex<BTreeMap<(u64, u64), Arc<File>>> = Mutex::new(BTreeMap::new());
    let mut all = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    let identity = |file: &Metadata| (file.dev(), file.ino());
    if let Some(file) = all.get(&identity(&fs::metadata(path)?)) {
        return Ok(file.clone());
    }
    let file = File::open(path)?;
    Ok(all.entry(identity(&file.metadata()?)).or_insert(Arc::new(file)).clone())
}

/// Refuses files that are not there, or not as long as the catalog says.
pub(crate) fn refuse_gaps<'a>(files: impl Iterator<Item = &'a DataFile>) -> Result<(), RunError> {
    let deletes = |file: &'a DataFile| file.deletes.as_ref().map(|deletes| (&deletes.path, deletes.bytes));
    let all = files.flat_map(|file| [Some((&file.path, file.bytes)), deletes(file)]).flatten();
    let gaps: Vec<String> = all
        .filter_map(|(path, bytes)| match fs::metadata(path) {
            Ok(file) if file.len() == bytes => None,
            Ok(file) => Some(format!("`{}` has {} bytes, not {bytes}", path.display(), file.len())),
            Err(why) => Some(format!("`{}`: {why}", path.display())),
        })
        .collect();
    let Some(first) = gaps.first() else { return Ok(()) };
    let more = if gaps.len() > 1 { format!(", and {} more files are missing or changed", gaps.len() - 1) } else { String::new() };
    let message =
        format!("the warehouse does not fit together: the catalog names a file that is not there as it was written: {first}{more}");
    let help =
        "put it back from a copy; or, when only a table that a flow derives lacks it, `qetl execute FLOW --full-refresh` makes that anew";
    Err(RunError::Failed { place: Place::default(), message, help: help.to_owned() })
}

/// One of the program's files below a folder.
fn first_file(folder: &Path) -> Option<PathBuf> {
    let mut found = None;
    each_file(folder, &mut |file| {
        found = Some(file.to_owned());
        false
    });
    found
}

/// Shows the program's files below a folder, until it is told to stop.
fn each_file(folder: &Path, see: &mut dyn FnMut(&Path) -> bool) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return true };
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let ours = || path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        let on = if path.is_dir() { each_file(&path, see) } else { !ours() || see(&path) };
        if !on {
            return false;
        }
    }
    true
}
