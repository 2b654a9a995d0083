//! Panics, as errors: libraries have some for damaged files, and a fault of ours must not end the process either.

use std::{
    any::Any,
    future::Future,
    panic::{self, AssertUnwindSafe, Location},
    sync::{Mutex, PoisonError},
};

use futures::FutureExt;
use tokio::task::JoinError;

use crate::error::{Place, RunError};

/// What the last panic said, and where it was: whoever catches it learns only the first.
static LAST: Mutex<Option<(String, String)>> = Mutex::new(None);

/// From now on panics are told by those who catch them, and not by themselves.
pub fn keep_quiet() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(Location::to_string).unwrap_or_default();
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((said(info.payload()), place));
    }));
}

fn said(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a word".to_owned())
}

/// What a panic said, and where it was if that is known.
pub fn told(payload: &(dyn Any + Send)) -> String {
    let said = said(payload);
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match last.filter(|(last, _)| *last == said) {
        Some((_, place)) => format!("{said} ({})", short(&place)),
        None => said,
    }
}

/// Where in a library: folders of the machine that built the program say nothing.
fn short(place: &str) -> &str {
    place.split_once("/src/index.crates.io-").and_then(|(_, rest)| rest.split_once('/')).map_or(place, |(_, rest)| rest)
}

/// The panic as an error of a run.
pub fn error(payload: &(dyn Any + Send)) -> RunError {
    let message = format!("a panic: {}", told(payload));
    let help = "a file that was read may be damaged; if none is, this is a fault of qetl: please report it".to_owned();
    RunError::Failed { place: Place::default(), message, help }
}

/// The end of a task that did not come to its own.
pub fn joined(error: JoinError) -> RunError {
    match error.try_into_panic() {
        Ok(payload) => self::error(&*payload),
        Err(why) => RunError::failed(format!("a thread ended early: {why}")),
    }
}

/// Work that ends in an error where it would panic.
pub async fn caught<T>(work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|payload| Err(error(&*payload)))
}

/// The same for work that blocks.
pub fn caught_here<T>(work: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| Err(error(&*payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn panics_are_errors() {
        let told = |outcome: Result<(), RunError>| outcome.unwrap_err().to_string();
        assert!(told(caught_here(|| panic!("a page has no end"))).contains("a page has no end"));
        assert!(told(caught(async { panic!("page {}", 7) }).await).contains("page 7"));
        let task = tokio::spawn(async { panic!("in a task") });
        assert!(joined(task.await.unwrap_err()).to_string().contains("in a task"));
    }

    #[test]
    fn places_in_libraries_are_short() {
        assert_eq!(
            short("/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/parquet-59.3.2/src/a.rs:7:1"),
            "parquet-59.3.2/src/a.rs:7:1"
        );
        assert_eq!(short("src/runtime/run.rs:1:1"), "src/runtime/run.rs:1:1");
    }
}
