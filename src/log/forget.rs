//! Forgetting the positions of sources that are gone.
//!
//! All positions together have a bound ([`POSITION_BYTES_MAX`]), and only sources know which of them
//! exist. So whoever runs them names them ([`Log::name_sources`]); positions of others stay while there
//! is room for them, so that a source that is taken out and put back goes on where it was, and give way
//! when a source that exists needs the room, or after [`SOURCE_FORGET_AFTER`].
//!
//! A forgotten position becomes one of no bytes, with the next counter: whatever older record comes
//! back, of a segment or of a directory that was missing, loses against it in a join. It goes with the
//! next checkpoint, and is in effect once that is durable; until then the source counts as busy, so no
//! commit of it gets the same counter.

use super::Log;
use crate::base::limits::{POSITION_BYTES_MAX, SOURCE_FORGET_AFTER};
use crate::base::mutant::Broken;
use crate::record::state::{SourcePosition, StateRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What the position of an interrupted `channel restore` begins with (`recovery::returned`). Running it again
/// after its position was forgotten would put events twice, so only `forget-source` forgets it.
pub const RESTORE_SOURCE_PREFIX: &str = "millpond restore ";

/// The sources that exist, and the positions that are being forgotten.
#[derive(Debug, Default)]
pub(super) struct Forgetting {
    /// The sources that exist, and since when these; `None` where nobody said.
    named: Option<(BTreeSet<String>, Duration)>,
    /// What stands in the next checkpoint instead of the positions that are forgotten.
    queue: BTreeMap<String, SourcePosition>,
    /// Those of the queue that a checkpoint may have said: they cannot be kept any more.
    offered: BTreeSet<String>,
}

/// Puts what stands for a forgotten position into a state.
pub(super) fn forget_position(state: &mut StateRecord, source: &str, forgotten: &SourcePosition) {
    if Broken::ForgottenUnsaid.is_chosen() {
        state.positions.remove(source);
    } else {
        state.advance_position(source, forgotten);
    }
}

impl Log {
    /// Names the sources that exist: positions of all others may be forgotten.
    pub fn name_sources(&mut self, now: Duration, sources: BTreeSet<String>) {
        for source in &sources {
            if !self.forgetting.offered.contains(source)
                && self.forgetting.queue.remove(source).is_some()
            {
                self.positions_busy.remove(source);
            }
        }
        let same = self.forgetting.named.as_ref().is_some_and(|(known, _)| *known == sources);
        if !same {
            self.forgetting.named = Some((sources, now));
        }
    }

    /// The position of the source, if it has left one that was not forgotten.
    #[must_use]
    pub fn position(&self, source: &str) -> Option<&SourcePosition> {
        self.durable.positions.get(source).filter(|position| !position.is_forgotten())
    }

    /// Every position that was not forgotten.
    pub fn positions(&self) -> impl Iterator<Item = (&String, &SourcePosition)> {
        self.durable.positions.iter().filter(|(_, position)| !position.is_forgotten())
    }

    /// Forgets the positions of sources that are not among those named for long.
    pub fn forget_long_gone(&mut self, now: Duration) {
        let Some((_, since)) = &mut self.forgetting.named else { return };
        if now.saturating_sub(*since) >= SOURCE_FORGET_AFTER {
            *since = now;
            self.forget_gone();
        }
    }

    /// A source that leaves a position exists, whoever named it or did not.
    pub(super) fn leaves_a_position(&mut self, source: &str) {
        if let Some((named, _)) = &mut self.forgetting.named
            && !named.contains(source)
        {
            named.insert(source.to_owned());
        }
    }

    /// Whether room for a position of `bytes` will come by waiting: because positions of sources
    /// that are gone are being forgotten, now at the latest.
    pub(super) fn makes_room_for(&mut self, all: usize) -> bool {
        if self.forgetting.queue.is_empty() {
            self.forget_gone();
        }
        let frees =
            |source: &String| self.durable.positions.get(source).map_or(0, |p| p.bytes.len());
        let freed: usize = self.forgetting.queue.keys().map(frees).sum();
        freed > 0 && all.saturating_sub(freed) <= POSITION_BYTES_MAX
    }

    fn forget_gone(&mut self) {
        let Some((named, _)) = &self.forgetting.named else { return };
        let gone: Vec<String> = self
            .durable
            .positions
            .iter()
            .filter(|(source, position)| {
                !position.is_forgotten()
                    && !named.contains(*source)
                    && !source.starts_with(RESTORE_SOURCE_PREFIX)
                    && !self.positions_busy.contains_key(*source)
            })
            .map(|(source, _)| source.clone())
            .collect();
        for source in gone {
            let counter = self.next_position(&source);
            let forgotten = SourcePosition { counter, bytes: Vec::new() };
            self.positions_busy.insert(source.clone(), 0);
            self.forgetting.queue.insert(source, forgotten);
            self.wakes.keeper = true;
        }
    }

    /// Whether a checkpoint is to say what was forgotten.
    pub(super) fn forgets(&self) -> bool {
        !self.forgetting.queue.is_empty()
    }

    /// What the next checkpoint says in place of the positions that are forgotten.
    pub(super) fn forgotten(&mut self) -> BTreeMap<String, SourcePosition> {
        self.forgetting.offered.extend(self.forgetting.queue.keys().cloned());
        self.forgetting.queue.clone()
    }

    /// A checkpoint that says so is durable.
    pub(super) fn forgotten_is_durable(&mut self, forgotten: BTreeMap<String, SourcePosition>) {
        for (source, position) in forgotten {
            self.forgetting.queue.remove(&source);
            self.forgetting.offered.remove(&source);
            self.positions_busy.remove(&source);
            forget_position(&mut self.durable, &source, &position);
            self.wakes.room = true;
        }
    }
}
