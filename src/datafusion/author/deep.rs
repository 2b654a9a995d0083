//! Room for SQL that nests deeply: parsers and planners call themselves, and a stack that ends ends the program.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

/// The stack that planning may use. It is address space; memory is what is touched of it.
const STACK: usize = 1 << 30;

/// Runs a future on a stack of its own, its end included.
pub(crate) async fn deep<F: Future>(future: F) -> F::Output {
    Deep(Some(Box::pin(future))).await
}

struct Deep<F: Future>(Option<Pin<Box<F>>>);

impl<F: Future> Future for Deep<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        stacker::grow(STACK, || {
            let Some(future) = &mut self.0 else { return Poll::Pending };
            let polled = future.as_mut().poll(cx);
            if polled.is_ready() {
                self.0 = None;
            }
            polled
        })
    }
}

impl<F: Future> Drop for Deep<F> {
    fn drop(&mut self) {
        stacker::grow(STACK, || self.0 = None);
    }
}
