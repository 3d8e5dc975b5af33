//! Event numbers of a queue in an ordered map.

use crate::{Failure, locked};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;

/// Assigns numbers to puts, and to takes the range that they may read: no put in it is under way any more, though
/// numbers of a failed put may be missing.
pub(crate) struct Keys(Mutex<State>);

struct State {
    /// Number of the next put.
    next: u64,
    /// First numbers of puts under way.
    open: BTreeSet<u64>,
    /// All below it was taken or is being taken.
    first: u64,
}

impl Keys {
    /// Returns the numbers of a queue that end before `next`.
    pub(crate) fn new(next: u64) -> Self {
        Self(Mutex::new(State { next, open: BTreeSet::new(), first: 0 }))
    }

    /// Runs `put` with the first of `count` numbers. They are not reused, whatever its result.
    pub(crate) fn put<T>(&self, count: usize, put: impl FnOnce(u64) -> T) -> T {
        let first = {
            let mut state = locked(&self.0);
            let first = state.next;
            state.next += count as u64;
            state.open.insert(first);
            first
        };
        let answer = put(first);
        locked(&self.0).open.remove(&first);
        answer
    }

    /// Runs `read` with the range that may be taken from; it returns the number after the last event that it read, and
    /// the events up to there belong to this take from then on.
    pub(crate) fn claim<T>(
        &self,
        read: impl FnOnce(Range<u64>) -> Result<(u64, T), Failure>,
    ) -> Result<(Range<u64>, T), Failure> {
        let mut state = locked(&self.0);
        let end = state.open.first().copied().unwrap_or(state.next);
        let first = state.first;
        let (behind, answer) = read(first..end)?;
        state.first = behind.max(first);
        Ok((first..state.first, answer))
    }

    /// Returns events to the queue: the take of those from `first` on failed.
    pub(crate) fn give_back(&self, first: u64) {
        let mut state = locked(&self.0);
        state.first = state.first.min(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_take_stops_at_an_open_put_and_gets_rolled_back_events() {
        let keys = Keys::new(5);
        let look = |keys: &Keys| {
            let mut seen = 0..0;
            keys.claim(|range| {
                seen = range.clone();
                Ok((range.end, ()))
            })
            .unwrap();
            seen
        };
        keys.put(10, |first| assert_eq!(first, 5));
        keys.put(2, |first| {
            assert_eq!(first, 15);
            keys.put(1, |later| assert_eq!(later, 17));
            assert_eq!(look(&keys), 0..15);
        });
        assert_eq!(look(&keys), 15..18);
        keys.give_back(15);
        assert_eq!(look(&keys), 15..18);
        assert_eq!(look(&keys), 18..18);
    }
}
