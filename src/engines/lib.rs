//! Engines that run flows as SQL: each a database, with its tables and qetl's records in it.
//!
//! A batch is one transaction of the database, its records among what it writes: so exactly-once and all-or-nothing hold by
//! the database's own guarantee. [`open`] is all there is to call.

mod bench;
mod cell;
mod database;
mod engine;
mod landing;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod numeric;
#[cfg(feature = "postgres")]
mod postgres;
mod records;
#[cfg(feature = "sqlite")]
mod sqlite;
mod statements;
mod tables;
mod work;

use std::{path::Path, sync::Arc};

use qetl_core::project::{EngineConfig, EngineName};
use qetl_runtime::{Engine, RunError};

use crate::{database::Database, engine::SqlEngine};

/// Opens the engine of that name. Paths are relative to the project's folder. Nothing is connected yet, but for a database
/// that has to be.
///
/// # Errors
/// The engine is not part of this program, or its settings name no database.
pub fn open(name: EngineName, config: &EngineConfig, project: &Path) -> Result<Arc<dyn Engine>, RunError> {
    let database: Arc<dyn Database> = match name {
        #[cfg(feature = "sqlite")]
        EngineName::Sqlite => Arc::new(sqlite::Sqlite::new(config, project)?),
        #[cfg(feature = "postgres")]
        EngineName::Postgres => Arc::new(postgres::Postgres::new(config)?),
        #[cfg(feature = "mysql")]
        EngineName::Mysql => Arc::new(mysql::MySql::new(config)?),
        #[cfg(not(feature = "sqlite"))]
        EngineName::Sqlite => return Err(absent(name)),
        #[cfg(not(feature = "postgres"))]
        EngineName::Postgres => return Err(absent(name)),
        #[cfg(not(feature = "mysql"))]
        EngineName::Mysql => return Err(absent(name)),
        EngineName::Datafusion | EngineName::Duckdb => return Err(absent(name)),
    };
    Ok(Arc::new(SqlEngine::new(database)))
}

fn absent(name: EngineName) -> RunError {
    let message = format!("this qetl was built without the engine `{}`", name.name());
    RunError::usage(message, "build it with its feature, as released binaries are, or choose another engine")
}

/// The path in the settings, which decoding made sure of.
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
