//! The state record: all progress of a channel, as one value that only grows.
//!
//! Two state records can be joined in any order, any number of times ([`StateRecord::join`]); recovery joins every
//! valid one it finds and reads on in the logs. A writer puts into one only what is durable: an acknowledgement enters
//! whole, when a copy of its frame is at or below the watermark of the stripe that holds it.

use super::{Epoch, Watermark};
use crate::base::coverage_mark::CoverageMark;
use crate::base::ids::{GroupId, MAIN_GROUP, Sequence, StripeIndex};
use crate::base::limits::RANGES_MAX;
use crate::base::ranges::RangeSet;
use std::collections::BTreeMap;

/// Adopted ranges kept per stripe. An opening adopts only when a directory is newly missing, so more of them are not
/// expected.
pub const ADOPTED_RANGES_MAX: usize = 16;

/// Damaged ranges recorded per stripe; further ones are only counted.
pub const DAMAGE_NAMED_MAX: usize = 32;

/// Recorded parts of one range that is given up with a missing segment.
const GIVEN_UP_PARTS_MAX: usize = 8;

/// The offset of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceOffset {
    /// Grows by one with each committed offset of this source.
    pub counter: u64,
    /// The source's own bytes; none if it is forgotten.
    pub bytes: Vec<u8>,
}

impl SourceOffset {
    /// Whether the source counts as one without an offset.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.bytes.is_empty()
    }
}

/// All progress of a channel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateRecord {
    /// One for each stripe of the member list, in its order.
    pub stripes: Vec<StripeState>,
    /// Source offsets by source name.
    pub source_offsets: BTreeMap<String, SourceOffset>,
}

/// Progress of one stripe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripeState {
    /// The latest epoch of the stripe in any durable record. Its start is above `watermark.block + 1` only in records
    /// that other directories have of a stripe whose directory was missing: they have its fence, and its log only as
    /// they knew it before.
    pub epoch: Epoch,
    /// The position up to which the stripe is durable.
    pub watermark: Watermark,
    /// The next sequence: before the record was written, no event of this stripe had been given a sequence at or above
    /// it.
    pub next: Sequence,
    /// Acknowledged sequences of each reader group. Void sequences count as acknowledged in every group.
    pub acknowledged: BTreeMap<GroupId, RangeSet>,
    /// Events lost to damage since the channel was created.
    pub damaged_events: u64,
    /// Sequences of that damage, at most [`DAMAGE_NAMED_MAX`] ranges `start..end`.
    pub damaged: Vec<(u64, u64)>,
    /// Number of the latest opening of the channel with this directory. Of two directories, the one with the lower
    /// number was missing while the other continued.
    pub opened: u64,
    /// Sequences that an opening without some directory found above everything recorded, and kept: nothing else can
    /// have made them void except the missing directory, by a fence. From then on the events are here. What that
    /// directory says of these sequences does not count, and copies of them that were moved to it are void: see
    /// [`StripeState::join`].
    pub adopted: RangeSet,
}

impl StateRecord {
    /// Returns the state in which nothing has happened.
    #[must_use]
    pub fn new(stripes: usize) -> Self {
        let stripe = StripeState {
            acknowledged: BTreeMap::from([(MAIN_GROUP, RangeSet::default())]),
            ..StripeState::default()
        };
        Self { stripes: vec![stripe; stripes], source_offsets: BTreeMap::new() }
    }

    /// Adds everything that `other` knows. A record with more stripes (a directory was added) widens this one.
    pub fn join(&mut self, other: &Self) {
        if self.stripes.len() < other.stripes.len() {
            self.stripes.resize_with(other.stripes.len(), StripeState::default);
        }
        for (mine, theirs) in self.stripes.iter_mut().zip(&other.stripes) {
            mine.join(theirs);
        }
        for (source, source_offset) in &other.source_offsets {
            self.advance_source_offset(source, source_offset);
        }
    }

    /// Sets a source's offset if `source_offset` is later than the known one.
    pub fn advance_source_offset(&mut self, source: &str, source_offset: &SourceOffset) {
        match self.source_offsets.get_mut(source) {
            Some(known) if known.counter >= source_offset.counter => {}
            Some(known) => *known = source_offset.clone(),
            None => {
                self.source_offsets.insert(source.to_owned(), source_offset.clone());
            }
        }
    }

    /// Returns each stripe's share of the ranges beyond the frontier.
    #[must_use]
    pub fn ranges_per_stripe(&self) -> usize {
        RANGES_MAX / self.stripes.len().max(1)
    }

    /// Returns the state of one stripe.
    ///
    /// # Panics
    /// The stripe is not in the member list: ids from a disk are checked where they are decoded.
    #[must_use]
    pub fn stripe(&self, index: StripeIndex) -> &StripeState {
        &self.stripes[index.at()]
    }

    /// Returns the state of one stripe, to change.
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
    /// Two things are known of each sequence: whether it was adopted, and whether it is acknowledged or void. Adoption
    /// takes precedence. A fence on a disk that was missing may have called a sequence void, while an opening without
    /// that disk found the event whole and kept it: then only records that know of the adoption decide whether it still
    /// waits. With this order each sequence has a value that only grows, and joining stays independent of order and
    /// repetition.
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
        CoverageMark::JoinConflict.hit();
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

    /// Keeps `start..end` for good, whatever a missing directory may say of it. Beyond [`ADOPTED_RANGES_MAX`] ranges it
    /// is not recorded.
    pub fn adopt(&mut self, start: u64, end: u64) {
        let mut more = self.adopted.clone();
        more.insert(start, end);
        if more.ranges().count() <= ADOPTED_RANGES_MAX {
            self.adopted = more;
        }
    }

    /// Voids the range of a fence, except what was adopted by an opening that did not know of the fence.
    pub fn void_fenced(&mut self, start: u64, end: u64) {
        for (start, end) in self.adopted.missing_in(start, end) {
            self.void(start, end);
        }
        self.next = self.next.max(Sequence(end));
    }

    /// Acknowledges `start..end` for one group and returns how many were new.
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

    /// Voids `start..end` because it is damaged, and records and counts the part that waited. Half of the recorded
    /// ranges are reserved for what is given up with missing segments.
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

    /// Voids `start..end` because its segment is missing, and records and counts the part that waited: by the record a
    /// returned file is recognised.
    pub fn give_up(&mut self, start: u64, end: u64) {
        let fresh = self.missing(start, end);
        self.damaged_events += fresh.iter().map(|(a, b)| b - a).sum::<u64>();
        self.void(start, end);
        self.name_parts(fresh);
    }

    /// Voids `start..end`, which may or may not have held events: it was in a missing segment. What of it is not
    /// acknowledged is recorded and not counted, so that a returned file is recognised.
    pub fn void_unknown(&mut self, start: u64, end: u64) {
        let fresh = self.missing(start, end);
        self.void(start, end);
        self.name_parts(fresh);
    }

    /// Returns the parts of `start..end` that group `main` has not acknowledged.
    #[must_use]
    pub fn missing(&self, start: u64, end: u64) -> Vec<(u64, u64)> {
        match self.acknowledged.get(&MAIN_GROUP) {
            Some(ranges) => ranges.missing_in(start, end),
            None if start < end => vec![(start, end)],
            None => Vec::new(),
        }
    }

    /// Returns the first sequence that some group has not acknowledged.
    #[must_use]
    pub fn frontier(&self) -> u64 {
        self.acknowledged.values().map(RangeSet::frontier).min().unwrap_or(0)
    }

    /// Counts the ranges beyond the frontier, of the group that has most.
    #[must_use]
    pub fn ranges_beyond(&self) -> usize {
        self.acknowledged.values().map(RangeSet::ranges_beyond).max().unwrap_or(0)
    }

    /// Records ascending parts of one range that is given up. If there are too many, those with the smallest gaps are
    /// merged: acknowledged events may then come again with the file, but none is left out.
    fn name_parts(&mut self, mut parts: Vec<(u64, u64)>) {
        while parts.len() > GIVEN_UP_PARTS_MAX {
            let between = |at: &usize| parts[at + 1].0 - parts[*at].1;
            let Some(least) = (0..parts.len() - 1).min_by_key(between) else { break };
            parts[least].1 = parts.remove(least + 1).1;
        }
        parts.into_iter().for_each(|part| self.name(part));
    }

    /// Records a range; of more than [`DAMAGE_NAMED_MAX`] the newest are kept.
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
