//! Errors of the libraries, as errors of a run.
#![expect(clippy::wildcard_enum_match_arm, reason = "the engine has many errors, and most are told as they are")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use qetl_runtime::{Place, RunError, panics};
use rusqlite::ErrorCode;

/// The engine's own failure; a reached memory limit names the setting.
pub(crate) fn engine(error: DataFusionError) -> RunError {
    if is_exhausted(&error) {
        return RunError::Failed {
            place: Place::default(),
            message: format!("the memory limit is reached: {}", first_line(&error.find_root().to_string())),
            help: "raise `memory_limit` under `[engine]` in `qetl.toml`".to_owned(),
        };
    }
    let overflow = match error.find_root() {
        DataFusionError::ArrowError(arrow, _) => match &**arrow {
            ArrowError::ArithmeticOverflow(what) => Some(what.clone()),
            ArrowError::ComputeError(what) if what.contains("overflow on abs") => Some(format!("integer overflow: {what}")),
            _ => None,
        },
        _ => None,
    };
    if let Some(what) = overflow {
        let help = "compute with more digits: `SUM(CAST(… AS DECIMAL(38,0)))`, or with floats: `CAST(… AS DOUBLE)`";
        return RunError::refused(Place::default(), what, help);
    }
    match error {
        DataFusionError::ExecutionJoin(panic) => panics::joined(*panic),
        DataFusionError::External(inner) => match inner.downcast::<RunError>() {
            Ok(error) => *error,
            Err(other) => RunError::failed(other),
        },
        other => RunError::failed(other.strip_backtrace()),
    }
}

/// Whether memory or the room to spill ran out.
pub(crate) fn is_exhausted(error: &DataFusionError) -> bool {
    match error {
        DataFusionError::Collection(all) => all.iter().any(is_exhausted),
        _ => {
            matches!(error.find_root(), DataFusionError::ResourcesExhausted(_))
                || error.to_string().contains("used disk space during the spilling process")
        }
    }
}

/// Whether an expression has no value, whatever it is computed from.
pub(crate) fn is_computed(error: &DataFusionError) -> bool {
    use ArrowError as A;
    matches!(error.find_root(), DataFusionError::ArrowError(arrow, _)
        if matches!(**arrow, A::ArithmeticOverflow(_) | A::ComputeError(_) | A::CastError(_) | A::DivideByZero))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The catalog could not be read or written.
pub(crate) fn catalog(error: rusqlite::Error) -> RunError {
    let is_damaged = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
    let help = if is_damaged { DAMAGED_CATALOG } else { "nothing was published; run the same command again" };
    RunError::Failed { place: Place::default(), message: format!("the catalog: {error}"), help: help.to_owned() }
}

/// The way out of a catalog that is damaged.
pub(crate) const DAMAGED_CATALOG: &str =
    "if it is damaged, put it back from a copy, with the log beside it if it has one; nothing is removed";

/// Reads a file of the warehouse with a library that may panic.
pub(crate) fn named<T>(path: &std::path::Path, read: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|panic| Err(damaged(path, &panics::told(&*panic))))
}

/// A data file has not what was written to it.
pub(crate) fn damaged(path: &std::path::Path, why: &str) -> RunError {
    RunError::Failed {
        place: Place::default(),
        message: format!("`{}` cannot be read: {why}", path.display()),
        help: "put it back from a copy; or, when a flow derives its table, `qetl execute FLOW --full-refresh` makes that anew".to_owned(),
    }
}

/// A file of the warehouse could not be read or written.
pub(crate) fn file(path: &std::path::Path, error: impl std::fmt::Display) -> RunError {
    RunError::Failed {
        place: Place::default(),
        message: format!("`{}`: {error}", path.display()),
        help: "nothing was published; run the same command again".to_owned(),
    }
}
