//! Log lines that were not written: how many in the process, and whether a line of this thread was lost.
//!
//! Logging returns no result. A sink whose destination is the log needs one: it compares [`count`] before and after its
//! line, on one thread and without waiting in between.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static REFUSED: Cell<u64> = const { Cell::new(0) };
    static TRIED_AGAIN: Cell<bool> = const { Cell::new(false) };
}

static DROPPED: AtomicU64 = AtomicU64::new(0);
static SUPPRESSED: AtomicU64 = AtomicU64::new(0);

/// Notes that a line of this thread was refused.
pub fn note() {
    REFUSED.with(|refused| refused.set(refused.get() + 1));
}

/// Returns how many lines of this thread have been refused.
#[must_use]
pub fn count() -> u64 {
    REFUSED.with(Cell::get)
}

/// Runs `log`, whose lines are logged again if they are refused, and so do not count as lost.
pub fn trying_again(log: impl FnOnce()) {
    TRIED_AGAIN.with(|again| {
        again.set(true);
        log();
        again.set(false);
    });
}

/// Whether a line of this thread that is refused now is logged again.
#[must_use]
pub fn is_tried_again() -> bool {
    TRIED_AGAIN.with(Cell::get)
}

/// Counts lost lines: stderr or the log file did not accept them.
pub fn count_dropped(lines: u64) {
    DROPPED.fetch_add(lines, Ordering::Relaxed);
}

/// Returns the lines lost since the process began.
#[must_use]
pub fn dropped_total() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Counts warnings and errors that were not written because they repeat.
pub fn count_suppressed(lines: u64) {
    SUPPRESSED.fetch_add(lines, Ordering::Relaxed);
}

/// Returns the warnings and errors since the process began that were not written because they repeat.
#[must_use]
pub fn suppressed_total() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}
