//! The state record: all progress of a channel, as one value that only grows.
//!
//! Two state records can be joined in any order, any number of times ([`StateRecord::join`]);
//! recovery joins every valid one it finds and reads on in the logs. A writer puts into one only
//! what it knows to be durable: an acknowledgement enters whole, when a copy of its frame is at or
//! below the watermark of the stripe that holds it.

use super::{Epoch, Watermark};
use crate::base::ids::{GroupId, MAIN_GROUP, Sequence, StripeIndex};
use crate::base::limits::RANGES_MAX;
use crate::base::ranges::RangeSet;
use crate::base::rare::Rare;
use std::collections::BTreeMap;

/// Adopted ranges that are kept per stripe. An opening adopts only when a directory is missing
/// that was there before, so many more of them are not to be expected.
pub const ADOPTED_RANGES_MAX: usize = 16;

/// Damaged ranges that are kept by name per stripe; more are only counted.
pub const DAMAGE_NAMED_MAX: usize = 32;

/// Names of one range that is given up with a missing segment.
const GIVEN_UP_PARTS_MAX: usize = 8;

/// What a source left with its events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcePosition {
    /// Grows by one with each committed position of this source.
    pub counter: u64,
    /// The source's own bytes; none when it is forgotten.
    pub bytes: Vec<u8>,
}

impl SourcePosition {
    /// Whether the source is to count as one that never left a position.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// All progress of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateRecord {
    /// One for each stripe of the member list, in its order.
    pub stripes: Vec<StripeState>,
    /// Source positions by source name.
    pub positions: BTreeMap<String, SourcePosition>,
}

/// Progress of one stripe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripeState {
    /// The latest life of the stripe that anyone durably named. Its start is above
    /// `watermark.block + 1` only in what others say of a stripe whose directory was missing: they
    /// have its fence, and of its log what they knew before.
    pub epoch: Epoch,
    /// Up to where the stripe is durable.
    pub watermark: Watermark,
    /// No event of this stripe has or will have been given a sequence at or above this before the
    /// record was written; the next one to give out.
    pub next: Sequence,
    /// Acknowledged sequences of each reader group. Void sequences are acknowledged from birth in
    /// every group.
    pub acknowledged: BTreeMap<GroupId, RangeSet>,
    /// Events lost to damage, since the channel was made.
    pub damaged_events: u64,
    /// Sequences of that damage, at most [`DAMAGE_NAMED_MAX`] ranges `start..end`.
    pub damaged: Vec<(u64, u64)>,
    /// Number of the latest opening of the channel in which the directory was there. Of two
    /// directories the one with the lower number was missing while the other went on.
    pub opened: u64,
    /// Sequences that an opening without some directory found above everything named, and kept:
    /// nobody else can have promised them, except the missing directory, by a fence. From then on
    /// the events are here. What that directory says of these sequences does not count, and
    /// copies of them that were moved to it are void: see [`StripeState::join`].
    pub adopted: RangeSet,
}

impl StateRecord {
    /// A state in which nothing has happened.
    #[must_use]
    pub fn new(stripes: usize) -> Self {
        let stripe = StripeState {
            acknowledged: BTreeMap::from([(MAIN_GROUP, RangeSet::default())]),
            ..StripeState::default()
        };
        Self { stripes: vec![stripe; stripes], positions: BTreeMap::new() }
    }

    /// Adds everything that `other` knows. A record with more stripes (a directory was added)
    /// widens this one.
    pub fn join(&mut self, other: &Self) {
        if self.stripes.len() < other.stripes.len() {
            self.stripes.resize_with(other.stripes.len(), StripeState::default);
        }
        for (mine, theirs) in self.stripes.iter_mut().zip(&other.stripes) {
            mine.join(theirs);
        }
        for (source, position) in &other.positions {
            self.advance_position(source, position);
        }
    }

    /// Sets a source's position if `position` is later than what is known.
    pub fn advance_position(&mut self, source: &str, position: &SourcePosition) {
        match self.positions.get_mut(source) {
            Some(known) if known.counter >= position.counter => {}
            Some(known) => *known = position.clone(),
            None => {
                self.positions.insert(source.to_owned(), position.clone());
            }
        }
    }

    /// Ranges beyond the frontier that one stripe may have, for all stripes to have as many.
    #[must_use]
    pub fn ranges_per_stripe(&self) -> usize {
        RANGES_MAX / self.stripes.len().max(1)
    }

    /// The state of one stripe.
    ///
    /// # Panics
    /// The stripe is not in the member list: ids from a disk are checked where they are decoded.
    #[must_use]
    pub fn stripe(&self, index: StripeIndex) -> &StripeState {
        &self.stripes[index.at()]
    }

    /// The state of one stripe, to change.
    ///
    /// # Panics
    /// As [`StateRecord::stripe`].
    pub fn stripe_mut(&mut self, index: StripeIndex) -> &mut StripeState {
        &mut self.stripes[index.at()]
    }
}

impl StripeState {
    /// Adds everything that `other` knows about the same stripe.
    ///
    /// Of each sequence there are two things to know: whether it was adopted, and whether it is
    /// acknowledged or void. Adopting counts first. A fence on a disk that was missing called a
    /// sequence void, and an opening that could not know of it found the event whole and kept it:
    /// then only those who know that say whether it still waits. Ordered so, each sequence has a
    /// value that only grows, and joining stays independent of order and repetition.
    pub fn join(&mut self, other: &Self) {
        if (other.epoch.number, other.epoch.nonce) > (self.epoch.number, self.epoch.nonce) {
            self.epoch = other.epoch;
        }
        if other.watermark.block > self.watermark.block {
            self.watermark = other.watermark;
        }
        self.next = self.next.max(other.next);
        if self.adopted == other.adopted {
            for (group, ranges) in &other.acknowledged {
                self.acknowledged.entry(*group).or_default().join(ranges);
            }
        } else {
            self.join_adopted(other);
        }
        self.opened = self.opened.max(other.opened);
        self.damaged_events = self.damaged_events.max(other.damaged_events);
        for range in &other.damaged {
            self.name(*range);
        }
    }

    fn join_adopted(&mut self, other: &Self) {
        Rare::JoinConflict.reached();
        let (mine, theirs) =
            (self.adopted.without(&other.adopted), other.adopted.without(&self.adopted));
        for ranges in self.acknowledged.values_mut() {
            *ranges = ranges.without(&theirs);
        }
        for (group, ranges) in &other.acknowledged {
            self.acknowledged.entry(*group).or_default().join(&ranges.without(&mine));
        }
        for (start, end) in theirs.ranges() {
            self.adopt(start, end);
        }
    }

    /// Keeps `start..end` for good, whatever a directory that is missing now may say of it. Past
    /// [`ADOPTED_RANGES_MAX`] ranges it is not noted.
    pub fn adopt(&mut self, start: u64, end: u64) {
        let mut more = self.adopted.clone();
        more.insert(start, end);
        if more.ranges().count() <= ADOPTED_RANGES_MAX {
            self.adopted = more;
        }
    }

    /// Voids what a fence says, except what was adopted by an opening that did not know of it.
    pub fn void_fenced(&mut self, start: u64, end: u64) {
        for (start, end) in self.adopted.missing_in(start, end) {
            self.void(start, end);
        }
        self.next = self.next.max(Sequence(end));
    }

    /// Acknowledges `start..end` for one group and answers how many were new.
    pub fn acknowledge(&mut self, group: GroupId, start: u64, end: u64) -> u64 {
        self.next = self.next.max(Sequence(end));
        self.acknowledged.entry(group).or_default().insert(start, end)
    }

    /// Records that no event is or will be delivered at `start..end`, in any group.
    pub fn void(&mut self, start: u64, end: u64) {
        self.next = self.next.max(Sequence(end));
        for ranges in self.acknowledged.values_mut() {
            ranges.insert(start, end);
        }
    }

    /// Voids `start..end` because what was there is damaged, and keeps name and count of what waited of it. Half
    /// of the names are left to what is given up with missing segments.
    pub fn void_damaged(&mut self, start: u64, end: u64) {
        let fresh = self.missing(start, end);
        self.void(start, end);
        for (start, end) in fresh {
            self.damaged_events += end - start;
            if self.damaged.len() < DAMAGE_NAMED_MAX / 2 {
                self.name((start, end));
            }
        }
    }

    /// Voids `start..end` because the segment that has it is missing, and keeps name and count of what waited of
    /// it: by the name a file is recognised that comes back.
    pub fn give_up(&mut self, start: u64, end: u64) {
        let fresh = self.missing(start, end);
        self.damaged_events += fresh.iter().map(|(a, b)| b - a).sum::<u64>();
        self.void(start, end);
        self.name_parts(fresh);
    }

    /// Voids `start..end`, of which nobody knows whether events had it: they were in a segment that is
    /// missing. What of it is not acknowledged is named and not counted, so that a file that comes back is
    /// recognised.
    pub fn void_unknown(&mut self, start: u64, end: u64) {
        let fresh = self.missing(start, end);
        self.void(start, end);
        self.name_parts(fresh);
    }

    /// The parts of `start..end` that group `main` has not acknowledged.
    #[must_use]
    pub fn missing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        match self.acknowledged.get(&MAIN_GROUP) {
            Some(ranges) => ranges.missing_in(start, end),
            None if start < end => vec![(start, end)],
            None => Vec::new(),
        }
    }

    /// The first sequence that some group has not acknowledged.
    #[must_use]
    pub fn frontier(&self) -> u64 {
        self.acknowledged.values().map(RangeSet::frontier).min().unwrap_or(0)
    }

    /// Ranges beyond the frontier, of the group that has most.
    #[must_use]
    pub fn ranges_beyond(&self) -> usize {
        self.acknowledged.values().map(RangeSet::ranges_beyond).max().unwrap_or(0)
    }

    /// Names ascending parts of one range that is given up. Of many, those with the least between them have one
    /// name: events that were acknowledged may come again with the file, none stays away.
    fn name_parts(&mut self, mut parts: Vec<(u64, u64)>) {
        while parts.len() > GIVEN_UP_PARTS_MAX {
            let between = |at: &usize| parts[at + 1].0 - parts[*at].1;
            let Some(least) = (0..parts.len() - 1).min_by_key(between) else { break };
            parts[least].1 = parts.remove(least + 1).1;
        }
        parts.into_iter().for_each(|part| self.name(part));
    }

    /// Of more than [`DAMAGE_NAMED_MAX`] the newest keep their names.
    fn name(&mut self, range: (u64, u64)) {
        if !self.damaged.contains(&range) {
            self.damaged.push(range);
            self.damaged.sort_unstable();
            if self.damaged.len() > DAMAGE_NAMED_MAX {
                self.damaged.remove(0);
            }
        }
    }
}
