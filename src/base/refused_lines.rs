//! Log lines that the log refused, as the thread that logged them sees it.
//!
//! Who logs gets no answer. A sink whose destination is the log has to know: it compares [`count`] before
//! and after its line, on one thread and without waiting in between.

use std::cell::Cell;

thread_local! {
    static REFUSED: Cell<u64> = const { Cell::new(0) };
}

/// Notes that a line of this thread was refused.
pub fn note() {
    REFUSED.with(|refused| refused.set(refused.get() + 1));
}

/// How many lines of this thread were refused until now.
#[must_use]
pub fn count() -> u64 {
    REFUSED.with(Cell::get)
}
