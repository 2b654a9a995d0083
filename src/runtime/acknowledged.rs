//! What was said to be published, kept beside a store: a store that is older has lost something.
//!
//! A run says that a batch is published once this file says so. It is written after the store's COMMIT: so a store may be
//! newer than the file says, and never older unless it was damaged, or replaced.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    durable,
    error::{Place, RunError},
};

/// How long to wait for others who write the file.
const WAIT: Duration = Duration::from_secs(60);

/// The newest state of a store that runs have said is published.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Acknowledged {
    /// Which store it is, where stores can be told apart: one that went on from an older version is another one.
    pub store: i64,
    /// The version that was published last.
    pub version: i64,
    /// How often the store had been written to then: this grows with each write, those that publish nothing too.
    pub writes: i64,
    /// How often it had been written to when all of that stood in its own file, and nothing in a log beside it.
    pub in_file: i64,
    /// Files that were made before, in microseconds since 1970, stay even if the store does not name them.
    pub kept_before: i64,
}

impl Acknowledged {
    /// With what is newer in either.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            store: other.store,
            version: self.version.max(other.version),
            writes: self.writes.max(other.writes),
            in_file: self.in_file.max(other.in_file),
            kept_before: self.kept_before.max(other.kept_before),
        }
    }
}

/// A store as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    pub store: i64,
    pub version: i64,
    pub writes: i64,
    /// What `writes` is in the store's own file, if there is a log beside it.
    pub in_file: Option<i64>,
}

/// Refuses a store that lacks something of what was said to be published. `what`: the store, for messages.
pub fn refuse_loss(what: &str, said: &Result<Option<Acknowledged>, Unreadable>, found: Option<Found>) -> Result<(), RunError> {
    let version = found.map_or(0, |found| found.version);
    let said = match said {
        Ok(Some(said)) => said,
        Ok(None) => return Ok(()),
        Err(Unreadable(why)) => return Err(loss(why.clone(), version)),
    };
    let message = match found {
        None if said.version == 0 => return Ok(()),
        None => format!("{what} is missing or empty, and version {} was published", said.version),
        Some(found) if found.version < said.version => {
            format!("{what} is at version {version}, and version {} was published: what came after {version} is missing", said.version)
        }
        Some(found) if found.store != said.store => {
            format!("{what} is not the one that version {} was published with; it is at version {version}", said.version)
        }
        Some(found) if found.writes < said.writes || found.in_file.is_some_and(|writes| writes < said.in_file) => {
            format!(
                "{what} is at version {version}, and not whole: a part of it is older than version {}, which was published",
                said.version
            )
        }
        Some(_) => return Ok(()),
    };
    Err(loss(message, version))
}

/// What a store lacks, with the ways out. `version`: what it is at, 0 when it is not there.
pub fn loss(message: String, version: i64) -> RunError {
    let goes_on = if version == 0 { "begins anew beside what is there".to_owned() } else { format!("goes on from version {version}") };
    let help = format!(
        "put it back from a copy, with the log beside it if it has one; or `qetl execute --accept-catalog-version {version}` {goes_on}. \
         Nothing is removed either way"
    );
    RunError::Failed { place: Place::default(), message, help }
}

/// Why the file does not say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// The file that says it.
#[derive(Debug, Clone)]
pub struct Marker {
    path: PathBuf,
}

impl Marker {
    /// In a folder.
    pub fn new(folder: &Path) -> Self {
        Self { path: folder.join("published.json") }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says; `None` when there is none.
    pub fn read(&self) -> Result<Option<Acknowledged>, Unreadable> {
        let text = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(why) => return Err(self.unreadable(&why)),
        };
        serde_json::from_str(&text).map(Some).map_err(|why| self.unreadable(&why))
    }

    /// Writes what it is to say, from what it says; nothing when that is the same.
    pub fn update(&self, next: impl FnOnce(Option<Acknowledged>) -> Acknowledged) -> Result<(), RunError> {
        let _lock = self.lock().map_err(|why| self.failed(&why))?;
        let said = self.read().map_err(|why| RunError::failed(why.0))?;
        self.write(said, next(said))
    }

    /// Writes what it is to say, whatever it says.
    pub fn set(&self, acknowledged: Acknowledged) -> Result<(), RunError> {
        let _lock = self.lock().map_err(|why| self.failed(&why))?;
        self.write(None, acknowledged)
    }

    fn write(&self, said: Option<Acknowledged>, next: Acknowledged) -> Result<(), RunError> {
        if said == Some(next) {
            return Ok(());
        }
        let text = serde_json::to_string(&next).map_err(RunError::failed)?;
        durable::replace(&self.path, &format!("{text}\n")).map_err(|why| self.failed(&why))
    }

    /// Those who write take turns. The lock is the operating system's, and dies with its holder.
    fn lock(&self) -> io::Result<File> {
        if let Some(folder) = self.path.parent() {
            durable::create_folder(folder)?;
        }
        let file = File::create(self.path.with_extension("json.lock"))?;
        let until = Instant::now() + WAIT;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(Duration::from_millis(2)),
                Err(why) => return Err(why.into()),
            }
        }
    }

    fn unreadable(&self, why: &dyn std::fmt::Display) -> Unreadable {
        Unreadable(format!("`{}`, which says what was published last, cannot be read: {why}", self.path.display()))
    }

    fn failed(&self, why: &dyn std::fmt::Display) -> RunError {
        RunError::failed(format!("`{}`: {why}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stands() {
        let folder = std::env::temp_dir().join(format!("qetl-acknowledged-{}", uuid::Uuid::now_v7()));
        let marker = Marker::new(&folder);
        assert_eq!(marker.read().unwrap(), None);
        let state = |version| Acknowledged { store: 7, version, writes: 10 * version, in_file: 10 * version, kept_before: 0 };
        // Runs that publish at once may write in any order.
        std::thread::scope(|scope| {
            for version in 1..=8 {
                let marker = marker.clone();
                scope.spawn(move || marker.update(|said| said.unwrap_or_default().or(state(version))).unwrap());
            }
        });
        assert_eq!(marker.read().unwrap(), Some(state(8)));
        for damaged in ["", "{\"version\":", "{\"other\":1}"] {
            fs::write(marker.path(), damaged).unwrap();
            assert!(marker.read().unwrap_err().0.contains("cannot be read"), "{damaged}");
        }
        marker.set(state(2)).unwrap();
        assert_eq!(marker.read().unwrap(), Some(state(2)));
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_store_that_lacks_something_is_refused() {
        let said = Acknowledged { store: 7, version: 5, writes: 50, in_file: 40, kept_before: 0 };
        let whole = Found { store: 7, version: 5, writes: 50, in_file: Some(40) };
        let judge = |found| refuse_loss("the catalog", &Ok(Some(said)), found).err().map(|error| error.to_string());
        assert_eq!(judge(Some(whole)), None);
        assert_eq!(judge(Some(Found { version: 9, writes: 90, in_file: None, ..whole })), None);
        for (found, message) in [
            (None, "is missing or empty, and version 5 was published"),
            (Some(Found { version: 3, writes: 30, ..whole }), "is at version 3, and version 5 was published"),
            (
                Some(Found { store: 8, version: 9, writes: 90, ..whole }),
                "is not the one that version 5 was published with; it is at version 9",
            ),
            (Some(Found { writes: 49, ..whole }), "not whole"),
            (Some(Found { in_file: Some(39), ..whole }), "not whole"),
        ] {
            assert!(judge(found).is_some_and(|told| told.contains(message)), "{found:?}");
        }
        assert!(refuse_loss("the catalog", &Ok(None), None).is_ok());
        assert!(refuse_loss("the catalog", &Ok(Some(Acknowledged::default())), None).is_ok(), "nothing was published yet");
    }
}
