//! Run-time check of the safety proof of `memory.rs`: which bytes of a slab may be accessed.
//!
//! In builds with debug assertions every span, every access through it, its end and every view of an area is checked
//! against this ledger; other builds record nothing. The mutex orders threads that would otherwise be unordered. So
//! tests for data races build without debug assertions (docs/testing.md, "Threads"), or the ledger would hide them.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The bytes of one slab, by use.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Ranges>);

/// Ranges by their start; none overlap.
#[derive(Debug, Default)]
struct Ranges {
    /// Spans that may be written.
    lent: BTreeMap<usize, usize>,
    /// Areas that were read: never written again in the life of the slab.
    read: BTreeMap<usize, usize>,
}

fn overlaps(ranges: &BTreeMap<usize, usize>, start: usize, end: usize) -> bool {
    ranges.range(..end).next_back().is_some_and(|(at, len)| at + len > start)
}

impl Ledger {
    fn ranges(&self, len: usize) -> Option<MutexGuard<'_, Ranges>> {
        // An empty range conflicts with nothing.
        let noted = cfg!(debug_assertions) && len > 0;
        noted.then(|| self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Records a span of a slab of `room` bytes.
    ///
    /// # Panics
    /// As all of these: a byte is in use otherwise.
    pub(super) fn lend(&self, start: usize, len: usize, room: usize) {
        let Some(mut ranges) = self.ranges(len) else { return };
        let end = start.checked_add(len).expect("a span ends inside the address space");
        assert!(end <= room, "a span {start}..{end} is inside its slab of {room} bytes");
        assert!(!overlaps(&ranges.lent, start, end), "span {start}..{end} is free");
        assert!(!overlaps(&ranges.read, start, end), "span {start}..{end} was never read");
        ranges.lent.insert(start, len);
    }

    /// Checks that the bytes of a span may be written.
    pub(super) fn write(&self, start: usize, len: usize) {
        let Some(ranges) = self.ranges(len) else { return };
        assert_eq!(ranges.lent.get(&start), Some(&len), "a span that is written is lent");
    }

    /// Records the end of a span.
    pub(super) fn give_back(&self, start: usize, len: usize) {
        let Some(mut ranges) = self.ranges(len) else { return };
        assert_eq!(ranges.lent.remove(&start), Some(len), "a span is given back once");
    }

    /// Checks that an area of a slab of `room` bytes may be read.
    pub(super) fn read(&self, start: usize, len: usize, room: usize) {
        let Some(mut ranges) = self.ranges(len) else { return };
        let end = start.checked_add(len).expect("an area ends inside the address space");
        assert!(end <= room, "an area {start}..{end} is inside its slab of {room} bytes");
        assert!(!overlaps(&ranges.lent, start, end), "no span is left in the area {start}..{end}");
        ranges.read.insert(start, len);
    }
}

#[cfg(all(test, debug_assertions))]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Returns a ledger of 100 bytes of which 10..20 are lent and 0..10 were read.
    fn ledger() -> Ledger {
        let ledger = Ledger::default();
        ledger.lend(0, 10, 100);
        ledger.write(0, 10);
        ledger.lend(10, 10, 100);
        ledger.give_back(0, 10);
        ledger.read(0, 10, 100);
        ledger
    }

    fn is_refused(misuse: impl FnOnce(&Ledger)) -> bool {
        catch_unwind(AssertUnwindSafe(|| misuse(&ledger()))).is_err()
    }

    #[test]
    fn every_misuse_of_block_memory_is_refused() {
        assert!(is_refused(|ledger| ledger.lend(95, 6, 100)), "beyond the slab");
        assert!(is_refused(|ledger| ledger.lend(usize::MAX, 2, 100)), "beyond all memory");
        assert!(is_refused(|ledger| ledger.lend(19, 2, 100)), "over the end of a span");
        assert!(is_refused(|ledger| ledger.lend(5, 50, 100)), "around a span");
        assert!(is_refused(|ledger| ledger.lend(9, 1, 100)), "over what was read");
        assert!(is_refused(|ledger| ledger.write(0, 10)), "after its end");
        assert!(is_refused(|ledger| ledger.write(10, 11)), "longer than it is");
        assert!(is_refused(|ledger| ledger.give_back(0, 10)), "twice");
        assert!(is_refused(|ledger| ledger.read(0, 11, 100)), "while it is written");
        assert!(is_refused(|ledger| ledger.read(90, 11, 100)), "an area beyond the slab");
    }

    #[test]
    fn free_bytes_may_be_used() {
        let ledger = ledger();
        ledger.lend(20, 80, 100);
        ledger.lend(20, 0, 100);
        ledger.give_back(20, 80);
        ledger.read(20, 80, 100);
        ledger.read(0, 10, 100);
    }
}
