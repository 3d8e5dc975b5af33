//! The atomics of the two places where threads meet without a lock: the word they sleep on and
//! the fill count of block memory. A build with `--cfg millpond_loom` gives them loom's, which
//! tries every order in which two threads can run (docs/testing.md, "Threads").

#[cfg(millpond_loom)]
pub(crate) use loom::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};
#[cfg(not(millpond_loom))]
pub(crate) use std::sync::{
    Mutex,
    atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
};

/// Between two `SeqCst` accesses: nothing, they are in one order for all threads. Loom takes them
/// for `AcqRel` and knows that order only of fences.
#[inline(always)]
pub(crate) fn total_order() {
    #[cfg(millpond_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
