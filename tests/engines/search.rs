//! Random histories, tried on every database that is there.
#![expect(clippy::wildcard_enum_match_arm, reason = "all other values are written by the model")]

use std::fmt::Debug;

use proptest::{
    strategy::BoxedStrategy,
    test_runner::{Config, TestCaseError, TestError, TestRunner},
};
use qetl_test_models::{
    oracle::Value,
    text::{TextRow, float_text},
};
use tokio::runtime::Runtime;

use crate::server::{Kind, Place};

/// How many histories each test tries on each database.
fn cases() -> u32 {
    std::env::var("QETL_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(100)
}

/// Tries random histories on two threads; the smallest one that fails is told.
pub(crate) fn search<H: Debug>(
    kind: Kind,
    histories: fn() -> BoxedStrategy<H>,
    told: fn(&H) -> String,
    check: fn(&Runtime, Place, &H) -> Result<(), TestCaseError>,
) {
    let Some(server) = kind.server() else { return };
    let each = cases().div_ceil(2);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
                let config = Config {
                    cases: each,
                    max_shrink_iters: std::env::var("QETL_SHRINK").ok().and_then(|text| text.parse().ok()).unwrap_or(200),
                    failure_persistence: None,
                    ..Config::default()
                };
                let mut runner = TestRunner::new(config);
                match runner.run(&histories(), |history| check(&runtime, server.place(), &history)) {
                    Ok(()) => (),
                    Err(TestError::Fail(why, history)) => panic!("{kind:?}: {why}\n{}", told(&history)),
                    Err(TestError::Abort(why)) => panic!("{kind:?}: {why}"),
                }
            });
        }
    });
}

/// A test for each kind of database.
macro_rules! on_every_database {
    ($histories:expr, $told:expr, $check:expr) => {
        #[test]
        fn sqlite_is_as_the_model_says() {
            crate::search::search(crate::server::Kind::Sqlite, $histories, $told, $check);
        }

        #[test]
        fn postgres_is_as_the_model_says() {
            crate::search::search(crate::server::Kind::Postgres, $histories, $told, $check);
        }

        #[test]
        fn mariadb_is_as_the_model_says() {
            crate::search::search(crate::server::Kind::MariaDb, $histories, $told, $check);
        }
    };
}

pub(crate) use on_every_database;

pub(crate) fn failed(why: impl ToString) -> TestCaseError {
    TestCaseError::fail(why.to_string())
}

pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        // −0.0 is stored as 0.0.
        Value::Float(value) => Some(float_text(if *value == 0.0 { 0.0 } else { *value })),
        other => Some(other.text()),
    }
}

/// Compares rows that are sorted with those of the model.
pub(crate) fn equal(dataset: &str, found: &[TextRow], mut expected: Vec<TextRow>) -> Result<(), TestCaseError> {
    expected.sort();
    if found == expected {
        return Ok(());
    }
    let only =
        |a: &[TextRow], b: &[TextRow]| a.iter().filter(|row| !b.contains(row)).map(|row| format!("\n    {row:?}")).collect::<String>();
    let counts = format!("{} rows, {} in the model", found.len(), expected.len());
    Err(failed(format!(
        "`{dataset}` differs: {counts}\n  only there:{}\n  only in the model:{}",
        only(found, &expected),
        only(&expected, found)
    )))
}
