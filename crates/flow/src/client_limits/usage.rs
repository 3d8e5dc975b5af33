//! What a connection holds at the moment.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Notify;

/// State of a connection that is updated without a lock.
#[derive(Debug, Default)]
pub(super) struct ConnectionUsage {
    pub(super) id: u64,
    /// Time when it last sent something complete, or arrived; milliseconds since the limits were created.
    pub(super) heard: AtomicU64,
    /// True if it ever sent something complete.
    pub(super) is_proven: AtomicBool,
    /// True while a request of it is in progress.
    pub(super) is_busy: AtomicBool,
    /// True if it was evicted and has to close.
    pub(super) leaves: AtomicBool,
    pub(super) go: Notify,
    pub(super) granted: Notify,
}

/// Marks a request as in progress until it is dropped.
pub struct BusyGuard<'c>(pub(super) &'c ConnectionUsage);

impl Drop for BusyGuard<'_> {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Release);
    }
}
