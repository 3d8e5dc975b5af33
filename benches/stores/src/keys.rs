//! Numbers of the events of a queue that lives in an ordered map.

use crate::{Failure, locked};
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Mutex;

/// Gives out numbers to puts, and to takes the range that they may look at: nothing in it is about
/// to be put any more, though numbers of a put that failed may be missing in it.
pub(crate) struct Keys(Mutex<State>);

struct State {
    /// Of the next put.
    next: u64,
    /// First numbers of puts under way.
    open: BTreeSet<u64>,
    /// All below it was taken or is being taken.
    first: u64,
}

impl Keys {
    /// Of a queue whose numbers end before `next`.
    pub(crate) fn new(next: u64) -> Self {
        Self(Mutex::new(State { next, open: BTreeSet::new(), first: 0 }))
    }

    /// Runs `put` with the first of `count` numbers. They are not used again, however it ends.
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

    /// Runs `read` with the range that may be taken from; it answers the number behind the last
    /// event that it read, and those are this take's from then on.
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

    /// The take of what begins at `first` failed.
    pub(crate) fn give_back(&self, first: u64) {
        let mut state = locked(&self.0);
        state.first = state.first.min(first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_take_sees_nothing_behind_a_put_that_is_under_way_and_gets_what_another_gave_back() {
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
