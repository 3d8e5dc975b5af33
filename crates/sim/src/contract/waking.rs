//! Futures polled by hand: on this thread, once, or with a waker that only records the call.

use millpond::{Clock, SystemClock};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

/// Long enough for a busy machine; only a failing test waits so long.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

struct ThreadWaker(thread::Thread);

impl Wake for ThreadWaker {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
pub fn block_on<T>(mut future: impl Future<Output = T> + Unpin) -> T {
    let waker = Waker::from(Arc::new(ThreadWaker(thread::current())));
    let mut context = Context::from_waker(&waker);
    let clock = SystemClock::new();
    loop {
        if let Poll::Ready(value) = Pin::new(&mut future).poll(&mut context) {
            return value;
        }
        assert!(clock.now() < PATIENCE, "the future was never woken");
        thread::park_timeout(PATIENCE);
    }
}

/// Polls with a waker that does nothing.
pub fn poll_once<T>(future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
    Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// A waker that only records that it was called.
#[derive(Clone, Default)]
pub(super) struct WakeFlag(Arc<(Mutex<bool>, Condvar)>);

struct FlagWaker(WakeFlag);

impl Wake for FlagWaker {
    fn wake(self: Arc<Self>) {
        *self.0.0.0.lock().unwrap() = true;
        self.0.0.1.notify_all();
    }
}

impl WakeFlag {
    pub(super) fn poll<T>(&self, future: &mut (impl Future<Output = T> + Unpin)) -> Poll<T> {
        let waker = Waker::from(Arc::new(FlagWaker(self.clone())));
        Pin::new(future).poll(&mut Context::from_waker(&waker))
    }

    /// Returns once the waker was called.
    pub(super) fn wait(&self) {
        let raised = self.0.0.lock().unwrap();
        let (raised, _) =
            self.0.1.wait_timeout_while(raised, PATIENCE / 2, |raised| !*raised).unwrap();
        assert!(*raised, "the future was never woken");
    }
}
