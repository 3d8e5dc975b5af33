//! Log lines that were not written: how many of the process, and whether one of this thread was.
//!
//! Who logs gets no answer. A sink whose destination is the log has to know: it compares [`count`] before
//! and after its line, on one thread and without waiting in between.

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

/// How many lines of this thread were refused until now.
#[must_use]
pub fn count() -> u64 {
    REFUSED.with(Cell::get)
}

/// Logs with `log`, whose lines are logged again if they are refused, and so are not lost.
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

/// Counts lines that are lost: stderr or the log file did not take them.
pub fn count_dropped(lines: u64) {
    DROPPED.fetch_add(lines, Ordering::Relaxed);
}

/// Lines that are lost since the process began.
#[must_use]
pub fn dropped_total() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Counts warnings and errors that were not written because they repeat.
pub fn count_suppressed(lines: u64) {
    SUPPRESSED.fetch_add(lines, Ordering::Relaxed);
}

/// Warnings and errors that were not written since the process began because they repeat.
#[must_use]
pub fn suppressed_total() -> u64 {
    SUPPRESSED.load(Ordering::Relaxed)
}
