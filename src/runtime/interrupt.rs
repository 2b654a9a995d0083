//! Ends a run early, but never between the beginning of a publish and its outcome.

use std::sync::Arc;

use tokio::sync::watch;

use crate::error::RunError;

/// Whether somebody asked a run to end. Clones are of the same run.
#[derive(Debug, Clone)]
pub struct Interrupt(Arc<watch::Sender<State>>);

#[derive(Debug, Clone, Copy, Default)]
struct State {
    asked: bool,
    publishing: bool,
}

impl Default for Interrupt {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }
}

/// Requests are compared; who may interrupt them is nothing that they ask for.
impl PartialEq for Interrupt {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Interrupt {
    /// Asks the run to end. A publish that has begun goes on to its outcome.
    pub fn ask(&self) {
        self.0.send_modify(|state| state.asked = true);
    }

    /// Whether a publish is under way.
    pub fn is_publishing(&self) -> bool {
        self.0.borrow().publishing
    }

    pub fn is_asked(&self) -> bool {
        self.0.borrow().asked
    }

    /// An error once somebody asked.
    pub(crate) fn check(&self) -> Result<(), RunError> {
        if self.is_asked() { Err(RunError::interrupted()) } else { Ok(()) }
    }

    /// Works until it is done, or until somebody asks for the end.
    pub(crate) async fn over<T>(&self, work: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
        let mut state = self.0.subscribe();
        tokio::select! {
            biased;
            outcome = work => outcome,
            _ = state.wait_for(|state| state.asked && !state.publishing) => Err(RunError::interrupted()),
        }
    }

    /// Publishes, unless somebody asked for the end already.
    pub(crate) async fn publish<T>(&self, publish: impl Future<Output = Result<T, RunError>>) -> Result<T, RunError> {
        let begins = self.0.send_if_modified(|state| {
            state.publishing = !state.asked;
            state.publishing
        });
        if !begins {
            return Err(RunError::interrupted());
        }
        let publishing = Publishing(self);
        let outcome = publish.await;
        drop(publishing);
        outcome
    }
}

struct Publishing<'a>(&'a Interrupt);

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.publishing = false);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_publish_that_has_begun_is_waited_for() {
        let interrupt = Interrupt::default();
        let (sender, ended) = tokio::sync::oneshot::channel();
        let work = async {
            interrupt.publish(async { ended.await.map_err(RunError::failed) }).await?;
            std::future::pending::<Result<i32, RunError>>().await
        };
        let ask = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            interrupt.ask();
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(interrupt.is_publishing());
            sender.send(()).unwrap();
        };
        let (outcome, ()) = tokio::join!(interrupt.over(work), ask);
        assert!(matches!(outcome, Err(RunError::Interrupted { .. })));
        assert!(!interrupt.is_publishing());
        assert!(interrupt.publish(async { Ok(()) }).await.is_err(), "nothing is published after that");
    }

    #[tokio::test]
    async fn other_work_ends_at_once() {
        let interrupt = Interrupt::default();
        interrupt.ask();
        let outcome = interrupt.over(std::future::pending::<Result<(), RunError>>()).await;
        assert!(matches!(outcome, Err(RunError::Interrupted { .. })));
    }
}
