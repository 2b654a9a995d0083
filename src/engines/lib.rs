//! Engines that run flows as SQL: each a database, with its tables and qetl's records in it.
//!
//! A batch is one transaction of the database, its records among what it writes: so exactly-once and all-or-nothing hold by
//! the database's own guarantee. [`open`] is all there is to call.

mod arrow_file;
mod author;
mod bench;
mod cell;
mod database;
#[cfg(feature = "duckdb")]
mod duckdb;
mod engine;
mod held;
mod kept;
mod landing;
mod lock_file;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod numeric;
#[cfg(feature = "postgres")]
mod postgres;
mod records;
mod retype;
mod runs;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod stored;
mod tables;
#[cfg(any(feature = "duckdb", feature = "sqlite"))]
mod watch;
mod whole;
mod work;
mod zones;

use std::{path::Path, sync::Arc};

use qetl_core::project::{EngineChoice, EngineConfig, EngineName};
use qetl_runtime::{Engine, RunError};

use crate::{database::Database, engine::SqlEngine};

/// Opens the engine that the settings name. Paths are relative to the project's folder. Nothing is connected yet.
///
/// # Errors
/// The engine is not part of this program, or its settings name no database.
pub fn open(choice: &EngineChoice, project: &Path) -> Result<Arc<dyn Engine>, RunError> {
    let config = &choice.config;
    let database: Arc<dyn Database> = match choice.name.value {
        #[cfg(feature = "duckdb")]
        EngineName::Duckdb => Arc::new(duckdb::DuckDb::new(choice, project)?),
        #[cfg(feature = "sqlite")]
        EngineName::Sqlite => Arc::new(sqlite::Sqlite::new(config, project)?),
        #[cfg(feature = "postgres")]
        EngineName::Postgres => Arc::new(postgres::Postgres::new(config)?),
        #[cfg(feature = "mysql")]
        EngineName::Mysql => Arc::new(mysql::MySql::new(config)?),
        #[cfg(not(feature = "duckdb"))]
        name @ EngineName::Duckdb => return Err(absent(name)),
        #[cfg(not(feature = "sqlite"))]
        name @ EngineName::Sqlite => return Err(absent(name)),
        #[cfg(not(feature = "postgres"))]
        name @ EngineName::Postgres => return Err(absent(name)),
        #[cfg(not(feature = "mysql"))]
        name @ EngineName::Mysql => return Err(absent(name)),
        name @ EngineName::Datafusion => return Err(absent(name)),
    };
    Ok(Arc::new(SqlEngine::new(database)))
}

/// Whether the engine is part of this program.
pub fn has(name: EngineName) -> bool {
    match name {
        EngineName::Datafusion => false,
        EngineName::Duckdb => cfg!(feature = "duckdb"),
        EngineName::Sqlite => cfg!(feature = "sqlite"),
        EngineName::Postgres => cfg!(feature = "postgres"),
        EngineName::Mysql => cfg!(feature = "mysql"),
    }
}

fn absent(name: EngineName) -> RunError {
    let message = format!("this qetl was built without the engine `{}`", name.name());
    RunError::usage(message, "build it with its feature, as released binaries are, or choose another engine")
}

/// The path in the settings, which decoding made sure of.
#[cfg(any(feature = "duckdb", feature = "sqlite"))]
fn path_of(config: &EngineConfig, project: &Path) -> Result<std::path::PathBuf, RunError> {
    let path = config.path.as_ref().map(|path| project.join(path.as_str()));
    path.ok_or_else(|| RunError::usage("`[engine.config]` has no `path`", "name the database's file: `path = \"shop.db\"`"))
}

/// The address in the settings, which decoding made sure of.
#[cfg(any(feature = "postgres", feature = "mysql"))]
fn url_of(config: &EngineConfig) -> Result<&str, RunError> {
    let url = config.url.as_ref().map(|url| url.value.0.as_str());
    url.ok_or_else(|| RunError::usage("`[engine.config]` has no `url`", "name the server and the database with `url` or `url_env`"))
}
