//! The offsets of sources, as the log keeps them.

use super::Log;
use super::source_offsets::{fit_without, next_counter};
use crate::record::state::SourceOffset;
use std::collections::BTreeSet;
use std::time::Duration;

impl Log {
    /// Sets which sources exist: offsets of all others may be forgotten.
    pub fn name_sources(&mut self, now: Duration, sources: BTreeSet<String>) {
        self.source_offsets.set_existing(now, sources);
    }

    /// Returns the offset of the source, if it has one that was not forgotten.
    #[must_use]
    pub fn source_offset(&self, source: &str) -> Option<&SourceOffset> {
        self.durable.source_offsets.get(source).filter(|offset| !offset.is_tombstone())
    }

    /// Returns every source offset that was not forgotten.
    pub fn source_offsets(&self) -> impl Iterator<Item = (&String, &SourceOffset)> {
        self.durable.source_offsets.iter().filter(|(_, offset)| !offset.is_tombstone())
    }

    /// Whether a source offset of `source` is in flight or in doubt.
    #[must_use]
    pub fn source_offset_is_in_flight(&self, source: &str) -> bool {
        self.source_offsets.is_in_flight(source)
    }

    /// Returns the counter for the source offset of a put reserved now.
    #[must_use]
    pub fn next_source_offset(&self, source: &str) -> u64 {
        next_counter(&self.durable, source)
    }

    /// Forgets offsets of sources that have not existed for long.
    pub fn expire_source_offsets(&mut self, now: Duration) {
        self.wakeups.maintenance |= self.source_offsets.expire(now, &self.durable);
    }

    /// Whether room for source offsets of `bytes` will become free by waiting, because offsets of removed sources are
    /// being forgotten; starts that if needed.
    pub(super) fn will_free_room_for(&mut self, bytes: usize) -> bool {
        if !self.source_offsets.has_tombstones() {
            self.wakeups.maintenance |= self.source_offsets.forget_unnamed(&self.durable);
        }
        fit_without(bytes, self.source_offsets.bytes_being_freed(&self.durable))
    }
}
