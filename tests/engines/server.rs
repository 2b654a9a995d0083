//! The databases of the tests: files, and servers that are started for them and stopped with them.

use std::sync::Arc;

use tempfile::TempDir;

use crate::project::temporary;

/// A kind of database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
}

/// What gives each test a database of its own.
pub(crate) enum Server {
    Files,
}

impl Kind {
    /// `None` where it is not installed.
    pub(crate) fn server(self) -> Option<&'static Server> {
        match self {
            Kind::Sqlite => Some(&Server::Files),
        }
    }
}

impl Server {
    pub(crate) fn place(&self) -> Place {
        match self {
            Server::Files => Place::File(Arc::new(temporary())),
        }
    }
}

/// A database that nobody else uses.
#[derive(Clone)]
pub(crate) enum Place {
    File(Arc<TempDir>),
}

impl Place {
    /// The project file that names it.
    pub(crate) fn settings(&self) -> String {
        match self {
            Place::File(folder) => {
                format!("[engine]\nname = \"sqlite\"\n[engine.config]\npath = \"{}/test.db\"\n", folder.path().display())
            }
        }
    }
}
