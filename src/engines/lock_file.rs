//! Locks of flows beside a database that is a file.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use qetl_runtime::durable;

use crate::database::{Failure, Hold};

/// A lock of the operating system on a file: it dies with its holder.
pub(crate) struct Held(File);

impl Hold for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing is not enough while a child that is just being started still holds a copy of the descriptor.
        let _ = self.0.unlock();
    }
}

/// The folder of the locks.
pub(crate) fn folder(database: &Path) -> PathBuf {
    let mut folder = database.as_os_str().to_owned();
    folder.push(".locks");
    folder.into()
}

/// Takes the flow's lock if nobody has it.
pub(crate) fn hold(database: &Path, flow: &str) -> Result<Option<Held>, Failure> {
    let folder = folder(database);
    let path = folder.join(format!("{flow}.lock"));
    let failed = |why: std::io::Error| Failure::Other(format!("`{}`: {why}", path.display()));
    durable::create_folder(&folder).map_err(failed)?;
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Held(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(why)) => Err(failed(why)),
    }
}
