//! Bounds the time of a statement, in libraries that run it in this process.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use crate::database::Failure;

/// A library may forget an interruption that comes between two steps of a statement: so it is told again.
const AGAIN: Duration = Duration::from_millis(50);

/// Interrupts a statement once its time is up.
pub(crate) struct Watch {
    /// Hangs up when the statement is done.
    done: Sender<()>,
    thread: JoinHandle<()>,
    interrupted: Arc<AtomicBool>,
}

impl Watch {
    pub(crate) fn over(timeout: Duration, interrupt: impl Fn() + Send + 'static) -> Self {
        let (done, is_done) = mpsc::channel();
        let interrupted = Arc::new(AtomicBool::new(false));
        let flag = interrupted.clone();
        let thread = std::thread::spawn(move || {
            let mut wait = timeout;
            while is_done.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                flag.store(true, Ordering::SeqCst);
                interrupt();
                wait = AGAIN;
            }
        });
        Self { done, thread, interrupted }
    }

    /// What became of the statement: if it failed after it was interrupted, it took too long.
    pub(crate) fn judge<T>(self, done: Result<T, Failure>) -> Result<T, Failure> {
        drop(self.done);
        let _ = self.thread.join();
        done.map_err(|why| if self.interrupted.load(Ordering::SeqCst) { Failure::TooSlow(why.to_string()) } else { why })
    }
}
