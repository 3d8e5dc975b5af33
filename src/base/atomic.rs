//! The atomics of the two places where threads synchronise without a lock: the futex and the fill count of block
//! memory. A build with `--cfg millpond_loom` uses loom's atomics, which try every interleaving of two threads
//! (docs/testing.md, "Threads").

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

/// Orders two `SeqCst` accesses. Does nothing, as all threads see them in one order; but loom treats them as `AcqRel`
/// and has that order for fences only.
#[inline(always)]
pub(crate) fn total_order() {
    #[cfg(millpond_loom)]
    loom::sync::atomic::fence(Ordering::SeqCst);
}
