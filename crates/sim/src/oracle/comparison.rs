//! What a list of delivered events must be.

use std::collections::BTreeSet;

/// Why an event is not where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misplaced {
    /// Events of other transactions came between it and the rest of its transaction.
    Apart,
    /// It came after a later event of its transaction.
    OutOfOrder,
}

/// Checks that the events of each transaction come one after the other and in their order.
#[derive(Clone, Debug)]
pub struct Adjacency<K> {
    seen: BTreeSet<K>,
    /// The transaction of the last event, and the index after it.
    last: Option<(K, usize)>,
}

impl<K: Ord + Copy> Adjacency<K> {
    /// Returns the check of a list without events.
    pub fn new() -> Self {
        Self { seen: BTreeSet::new(), last: None }
    }

    /// Adds the next events in the order of delivery: those of `put` from index `from` to before `to`.
    ///
    /// # Errors
    ///
    /// They do not belong here.
    pub fn push(&mut self, put: K, from: usize, to: usize) -> Result<(), Misplaced> {
        let last = self.last.replace((put, to));
        match last {
            Some((before, end)) if before == put && from < end => Err(Misplaced::OutOfOrder),
            Some((before, _)) if before == put => Ok(()),
            _ if !self.seen.insert(put) => Err(Misplaced::Apart),
            _ => Ok(()),
        }
    }
}

impl<K: Ord + Copy> Default for Adjacency<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The difference between the events that a channel at rest should deliver and those that it delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison<K> {
    /// Expected, and not delivered.
    pub lost: BTreeSet<K>,
    /// Delivered, and not expected.
    pub unexpected: BTreeSet<K>,
    /// Delivered more than once.
    pub repeated: BTreeSet<K>,
    /// Whether those of the expected that were delivered came in the expected order.
    pub in_order: bool,
}

impl<K: Ord + Copy> Comparison<K> {
    /// Compares `delivered` with `expected`, both in the order of delivery.
    pub fn of(expected: &[K], delivered: &[K]) -> Self {
        let wanted: BTreeSet<K> = expected.iter().copied().collect();
        let (mut came, mut repeated) = (BTreeSet::new(), BTreeSet::new());
        for name in delivered {
            if !came.insert(*name) {
                repeated.insert(*name);
            }
        }
        let left = expected.iter().filter(|name| came.contains(name));
        let right = delivered.iter().filter(|name| wanted.contains(name));
        Self {
            lost: wanted.difference(&came).copied().collect(),
            unexpected: came.difference(&wanted).copied().collect(),
            in_order: left.eq(right),
            repeated,
        }
    }
}
