//! Random histories, lived on an engine.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use proptest::{
    strategy::BoxedStrategy,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner},
};
use qetl_test_models::{outcomes, outcomes::Outcome, text::TextRow};
use tokio::runtime::{Builder, Runtime};

use crate::place::Place;

/// What became of a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lived {
    AsTheModelSays,
    /// The engine cannot say what the flow needs, and says so.
    Refused(String),
}

/// Random histories of a flow type, and how one is lived and compared.
pub struct Search<H> {
    pub flow_type: &'static str,
    pub histories: fn() -> BoxedStrategy<H>,
    /// The history, for people.
    pub told: fn(&H) -> String,
    pub live: fn(&Runtime, Places<'_>, &H) -> Result<Lived, TestCaseError>,
}

/// Gives a place with a new database each time.
pub type Places<'a> = &'a (dyn Fn() -> Place + Sync);

impl<H: Debug> Search<H> {
    /// Lives histories on an engine, and records what it proves.
    pub fn on(&self, places: Places<'_>) {
        let Place { engine, cases: usual, .. } = places();
        let refused = Mutex::new(BTreeMap::<String, u32>::new());
        self.each(usual, |runtime, history| {
            if let Lived::Refused(why) = (self.live)(runtime, places, history)? {
                *refused.lock().unwrap().entry(why).or_default() += 1;
            }
            Ok(())
        });
        let refused = refused.into_inner().unwrap();
        outcomes::record(engine, self.flow_type, &Outcome { histories: cases(usual), refused });
    }

    /// Tries as many histories as `cases` says, on two threads; the smallest one that fails is told.
    pub fn each(&self, usual: u32, check: impl Fn(&Runtime, &H) -> Result<(), TestCaseError> + Sync) {
        let (seed, each) = (seed(), cases(usual).div_ceil(2));
        println!("{}: QETL_SEED={seed}", self.flow_type);
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let check = &check;
                scope.spawn(move || {
                    let runtime = runtime();
                    let config = Config {
                        cases: each,
                        max_shrink_iters: number("QETL_SHRINK").unwrap_or(300),
                        failure_persistence: None,
                        ..Config::default()
                    };
                    let mut runner = TestRunner::new_with_rng(config, rng(seed.wrapping_add(thread)));
                    match runner.run(&(self.histories)(), |history| check(&runtime, &history)) {
                        Ok(()) => (),
                        Err(TestError::Fail(why, history)) => panic!("QETL_SEED={seed}: {why}\n{}", (self.told)(&history)),
                        Err(TestError::Abort(why)) => panic!("QETL_SEED={seed}: {why}"),
                    }
                });
            }
        });
    }
}

/// How many histories a search tries: `QETL_CASES`, or what is usual there.
pub fn cases(usual: u32) -> u32 {
    number("QETL_CASES").unwrap_or(usual)
}

/// Which histories these are; the time, when nobody says.
fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    number("QETL_SEED").unwrap_or_else(now)
}

pub fn rng(seed: u64) -> TestRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok()?.parse().ok()
}

pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn failed(why: impl ToString) -> TestCaseError {
    TestCaseError::fail(why.to_string())
}

/// Compares rows that are sorted with those of the model.
pub fn equal(dataset: &str, found: &[TextRow], expected: &[TextRow]) -> Result<(), TestCaseError> {
    let mut expected = expected.to_vec();
    expected.sort();
    if found == expected {
        return Ok(());
    }
    let only =
        |a: &[TextRow], b: &[TextRow]| a.iter().filter(|row| !b.contains(row)).map(|row| format!("\n    {row:?}")).collect::<String>();
    Err(failed(format!(
        "`{dataset}` differs: {} rows, {} in the model\n  only there:{}\n  only in the model:{}",
        found.len(),
        expected.len(),
        only(found, &expected),
        only(&expected, found)
    )))
}
