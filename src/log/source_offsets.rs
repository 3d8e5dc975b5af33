//! Forgetting the offsets of removed sources.
//!
//! All source offsets together have a bound ([`SOURCE_OFFSET_BYTES_MAX`]), and only the agent knows which sources
//! exist. So it names them ([`Log::name_sources`](super::Log::name_sources)). Offsets of other sources stay while there is room for them, so that
//! a source that is removed and added again continues where it was. They are evicted when an existing source needs the
//! room, or after [`SOURCE_OFFSET_RETENTION`].
//!
//! A forgotten source offset becomes a tombstone, one of no bytes with the next counter: an older record that turns up
//! later, of a segment or of a directory that was missing, loses against it in a join. The tombstone is written with
//! the next checkpoint and takes effect once that is durable; until then the source counts as busy, so no commit of it
//! gets the same counter.

use crate::base::coverage_mark::CoverageMark;
use crate::base::limits::{SOURCE_OFFSET_BYTES_MAX, SOURCE_OFFSET_RETENTION};
use crate::base::mutation::Mutation;
use crate::record::state::{SourceOffset, StateRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Prefix of the source offset of an interrupted `channel restore` (`recovery::returned_segments`). Running it again
/// after its source offset was forgotten would put events twice, so only `forget-source` forgets it.
pub const RESTORE_SOURCE_PREFIX: &str = "millpond restore ";

/// The source offsets that are not in the durable state yet: in flight, or being forgotten.
#[derive(Debug, Default)]
pub(super) struct SourceOffsets {
    /// Sources with an offset in flight, in doubt or being forgotten, and its bytes in a state record.
    in_flight: BTreeMap<String, usize>,
    /// The existing sources, and since when the set is unchanged; `None` if it was never set.
    known: Option<(BTreeSet<String>, Duration)>,
    /// Tombstones for the next checkpoint.
    tombstones: BTreeMap<String, SourceOffset>,
    /// Queued ones that a checkpoint may have written: they can no longer be kept.
    planned: BTreeSet<String>,
}

/// Puts a tombstone into a state.
pub(super) fn forget_source_offset(
    state: &mut StateRecord,
    source: &str,
    forgotten: &SourceOffset,
) {
    if Mutation::ForgottenUnsaid.is_active() {
        state.source_offsets.remove(source);
    } else {
        state.advance_source_offset(source, forgotten);
    }
}

/// Returns the bytes of a source's offset in a state record.
fn size(source: &str, len: usize) -> usize {
    16 + source.len() + len
}

/// Returns the counter of the next offset of a source. It is above any that a directory can hold which was missing when
/// the era of the stripes' epochs began: otherwise an older source offset would win when that directory is back, and
/// its lines would come again.
pub(super) fn next_counter(durable: &StateRecord, source: &str) -> u64 {
    let known = durable.source_offsets.get(source).map_or(0, |p| p.counter);
    let era = durable.stripes.iter().map(|s| s.epoch.number.first_of_era().0).max();
    let floor = era.unwrap_or_default();
    if known < floor {
        CoverageMark::SourceOffsetJump.hit();
    }
    known.max(floor) + 1
}

impl SourceOffsets {
    /// Whether an offset of `source` is in flight or in doubt.
    pub(super) fn is_in_flight(&self, source: &str) -> bool {
        self.in_flight.contains_key(source) && !Mutation::SourceOffsetsOverlap.is_active()
    }

    /// Notes that an offset of `len` bytes was reserved.
    pub(super) fn reserve(&mut self, source: String, len: usize) {
        let bytes = size(&source, len);
        self.in_flight.insert(source, bytes);
    }

    /// Notes that the offset in flight is durable or void.
    pub(super) fn end_flight(&mut self, source: &str) {
        self.in_flight.remove(source);
    }

    /// Returns the bytes of all source offsets if `source` left `len`; of every other source, the durable one or the
    /// one in flight, whichever is larger.
    pub(super) fn bytes_with(&self, durable: &StateRecord, source: &str, len: usize) -> usize {
        let durable = &durable.source_offsets;
        let known = durable.iter().filter(|(name, _)| *name != source).map(|(name, p)| {
            let in_flight = self.in_flight.get(name).copied().unwrap_or(0);
            size(name, p.bytes.len()).max(in_flight)
        });
        let in_flight = self.in_flight.iter();
        let fresh = in_flight.filter(|(name, _)| *name != source && !durable.contains_key(*name));
        known.sum::<usize>() + fresh.map(|(_, bytes)| *bytes).sum::<usize>() + size(source, len)
    }

    /// Sets which sources exist: offsets of all others may be forgotten.
    pub(super) fn set_existing(&mut self, now: Duration, sources: BTreeSet<String>) {
        for source in &sources {
            if !self.planned.contains(source) && self.tombstones.remove(source).is_some() {
                self.in_flight.remove(source);
            }
        }
        if self.known.as_ref().is_none_or(|(known, _)| *known != sources) {
            self.known = Some((sources, now));
        }
    }

    /// Adds a source that leaves an offset to the existing ones.
    pub(super) fn add_existing(&mut self, source: &str) {
        if let Some((known, _)) = &mut self.known
            && !known.contains(source)
        {
            known.insert(source.to_owned());
        }
    }

    /// Forgets offsets of sources that have not existed for [`SOURCE_OFFSET_RETENTION`]. Returns whether there are any.
    pub(super) fn expire(&mut self, now: Duration, durable: &StateRecord) -> bool {
        match &mut self.known {
            Some((_, since)) if now.saturating_sub(*since) >= SOURCE_OFFSET_RETENTION => {
                *since = now;
                self.forget_unnamed(durable)
            }
            _ => false,
        }
    }

    /// Starts forgetting the offsets of sources that do not exist. Returns whether there are any.
    pub(super) fn forget_unnamed(&mut self, durable: &StateRecord) -> bool {
        let Some((named, _)) = &self.known else { return false };
        let is_gone = |source: &String, offset: &SourceOffset| {
            !offset.is_tombstone()
                && !named.contains(source)
                && !source.starts_with(RESTORE_SOURCE_PREFIX)
                && !self.in_flight.contains_key(source)
        };
        let offsets = durable.source_offsets.iter();
        let gone: Vec<String> = offsets
            .filter(|(source, offset)| is_gone(source, offset))
            .map(|(source, _)| source.clone())
            .collect();
        let any = !gone.is_empty();
        for source in gone {
            let counter = next_counter(durable, &source);
            self.in_flight.insert(source.clone(), 0);
            self.tombstones.insert(source, SourceOffset { counter, bytes: Vec::new() });
        }
        any
    }

    /// Returns the bytes that become free when the tombstones are durable.
    pub(super) fn bytes_being_freed(&self, durable: &StateRecord) -> usize {
        let bytes =
            |source: &String| durable.source_offsets.get(source).map_or(0, |p| p.bytes.len());
        self.tombstones.keys().map(bytes).sum()
    }

    /// Whether a checkpoint is to write tombstones.
    pub(super) fn has_tombstones(&self) -> bool {
        !self.tombstones.is_empty()
    }

    /// Returns the tombstones for the next checkpoint.
    pub(super) fn plan_tombstones(&mut self) -> BTreeMap<String, SourceOffset> {
        self.planned.extend(self.tombstones.keys().cloned());
        self.tombstones.clone()
    }

    /// Puts the tombstones of a checkpoint that is durable into the durable state.
    pub(super) fn tombstones_are_durable(
        &mut self,
        forgotten: &BTreeMap<String, SourceOffset>,
        durable: &mut StateRecord,
    ) {
        for (source, offset) in forgotten {
            self.tombstones.remove(source);
            self.planned.remove(source);
            self.in_flight.remove(source);
            forget_source_offset(durable, source, offset);
        }
    }
}

/// Whether all source offsets together have room once `freed` of their `bytes` are forgotten.
pub(super) fn fit_without(bytes: usize, freed: usize) -> bool {
    freed > 0 && bytes.saturating_sub(freed) <= SOURCE_OFFSET_BYTES_MAX
}
