//! A set of numbers kept as a frontier and the ranges beyond it.

use std::collections::BTreeMap;

/// The numbers `0..frontier` and, beyond it, disjoint ranges that do not touch.
///
/// The set only grows ([`RangeSet::insert`], [`RangeSet::join`]), so two copies of it can be
/// joined in any order, any number of times, with the same result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    frontier: u64,
    beyond: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Returns the set `0..frontier`.
    #[must_use]
    pub fn up_to(frontier: u64) -> Self {
        Self { frontier, beyond: BTreeMap::new() }
    }

    /// Returns the first number that is not in the set.
    #[must_use]
    pub fn frontier(&self) -> u64 {
        self.frontier
    }

    /// Returns the ranges beyond the frontier, `start..end`, ascending.
    pub fn beyond(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.beyond.iter().map(|(&start, &end)| (start, end))
    }

    /// Returns all ranges, `start..end`, ascending, including the one below the frontier.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (self.frontier > 0).then_some((0, self.frontier)).into_iter().chain(self.beyond())
    }

    /// Whether the set is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frontier == 0 && self.beyond.is_empty()
    }

    /// Whether all of `start..end` is in the set.
    #[must_use]
    pub fn covers(&self, start: u64, end: u64) -> bool {
        self.missing_in(start, end).is_empty()
    }

    /// Returns what is in this set and not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Self::default();
        for (start, end) in self.ranges() {
            for (start, end) in other.missing_in(start, end) {
                left.insert(start, end);
            }
        }
        left
    }

    /// Counts the ranges beyond the frontier.
    #[must_use]
    pub fn ranges_beyond(&self) -> usize {
        self.beyond.len()
    }

    /// Counts those that begin below `number`.
    #[must_use]
    pub fn ranges_below(&self, number: u64) -> usize {
        self.beyond.range(..number).count()
    }

    /// Counts the numbers in the set beyond the frontier.
    #[must_use]
    pub fn count_beyond(&self) -> u64 {
        self.beyond().map(|(start, end)| end - start).sum()
    }

    /// Whether `number` is in the set.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        if number < self.frontier {
            return true;
        }
        self.beyond.range(..=number).next_back().is_some_and(|(_, &end)| number < end)
    }

    /// Adds `start..end` and returns how many numbers were new.
    pub fn insert(&mut self, start: u64, end: u64) -> u64 {
        let (mut start, mut end) = (start.max(self.frontier), end);
        if start >= end {
            return 0;
        }
        let mut fresh = end - start;
        let first = match self.beyond.range(..=start).next_back() {
            Some((&s, &e)) if e >= start => s,
            _ => start,
        };
        let touching: Vec<(u64, u64)> =
            self.beyond.range(first..=end).map(|(&s, &e)| (s, e)).collect();
        for (s, e) in touching {
            fresh -= e.min(end).saturating_sub(s.max(start));
            self.beyond.remove(&s);
            start = start.min(s);
            end = end.max(e);
        }
        if start <= self.frontier {
            self.frontier = end;
        } else {
            self.beyond.insert(start, end);
        }
        fresh
    }

    /// Adds everything that `other` has.
    pub fn join(&mut self, other: &Self) {
        self.insert(0, other.frontier);
        for (start, end) in other.beyond() {
            self.insert(start, end);
        }
    }

    /// Returns the parts of `start..end` that are not in the set, ascending.
    #[must_use]
    pub fn missing_in(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        let mut at = start.max(self.frontier);
        let mut missing = Vec::new();
        let from = self.beyond.range(..=at).next_back().map_or(at, |(&s, _)| s);
        for (&s, &e) in self.beyond.range(from..) {
            if s >= end {
                break;
            }
            if s > at {
                missing.push((at, s));
            }
            at = at.max(e);
        }
        if at < end {
            missing.push((at, end));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn build(ranges: &[(u64, u64)]) -> RangeSet {
        let mut set = RangeSet::default();
        for (start, len) in ranges {
            set.insert(*start, start + len);
        }
        set
    }

    proptest! {
        #[test]
        fn a_range_set_is_the_set_of_its_numbers(
            inserts in proptest::collection::vec((0u64..64, 0u64..12), 0..40),
            from in 0u64..80, len in 0u64..40,
        ) {
            let (mut set, mut model) = (RangeSet::default(), BTreeSet::new());
            for (start, len) in inserts {
                let fresh = (start..start + len).filter(|n| model.insert(*n)).count() as u64;
                prop_assert_eq!(set.insert(start, start + len), fresh);
            }
            for n in 0..90 {
                prop_assert_eq!(set.contains(n), model.contains(&n));
            }
            let missing: Vec<u64> =
                set.missing_in(from, from + len).into_iter().flat_map(|(s, e)| s..e).collect();
            let expected: Vec<u64> = (from..from + len).filter(|n| !model.contains(n)).collect();
            prop_assert_eq!(missing, expected);
            let beyond = model.iter().filter(|n| **n >= set.frontier()).count() as u64;
            prop_assert_eq!(set.count_beyond(), beyond);
        }

        #[test]
        fn what_is_left_without_another_set_is_the_difference(
            a in proptest::collection::vec((0u64..64, 0u64..12), 0..12),
            b in proptest::collection::vec((0u64..64, 0u64..12), 0..12),
        ) {
            let (a, b) = (build(&a), build(&b));
            let left = a.without(&b);
            for n in 0..90 {
                prop_assert_eq!(left.contains(n), a.contains(n) && !b.contains(n));
                prop_assert_eq!(a.covers(n, n + 3), (n..n + 3).all(|n| a.contains(n)));
            }
            let numbers: Vec<u64> = a.ranges().flat_map(|(s, e)| s..e).collect();
            prop_assert_eq!(numbers, (0..90).filter(|n| a.contains(*n)).collect::<Vec<_>>());
            prop_assert_eq!(a.is_empty(), (0..90).all(|n| !a.contains(n)));
        }

        #[test]
        fn joining_is_union_in_any_order(
            a in proptest::collection::vec((0u64..64, 0u64..12), 0..12),
            b in proptest::collection::vec((0u64..64, 0u64..12), 0..12),
        ) {
            let (mut ab, mut ba) = (build(&a), build(&b));
            ab.join(&build(&b));
            ba.join(&build(&a));
            prop_assert_eq!(&ab, &ba);
            let once = ab.clone();
            ab.join(&ba);
            prop_assert_eq!(ab, once);
        }
    }
}
