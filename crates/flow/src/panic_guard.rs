//! Catches panics of components, so that the rest of the agent goes on.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A future that returns a panic as an error with its message. After a panic it must not be polled again, and
/// what it worked on must be dropped, because its state is unknown.
pub struct PanicGuard<F>(Pin<Box<F>>);

/// Wraps `future`.
pub fn catch_panics<F: Future>(future: F) -> PanicGuard<F> {
    PanicGuard(Box::pin(future))
}

impl<F: Future> Future for PanicGuard<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match catch_unwind(AssertUnwindSafe(|| self.0.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic_message(&*panic))),
        }
    }
}

/// Returns the message of a panic.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}
