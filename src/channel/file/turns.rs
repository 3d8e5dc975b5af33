//! Whose turn it is: commits of one source enter the log in the order in which they were asked for.
//!
//! A source may ask for its next commit before the last one is answered. Both may then wait for
//! room, and either could find it first. Would the later one enter, a crash left its position
//! without the lines of the earlier one, which the source would never read again. The same if the
//! earlier one is refused, or given up, while the later one waits: so that one is refused with it.

use super::shared::Shared;
use crate::base::mutant::Broken;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Commits that carry a position and have not been answered, by source.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<BTreeMap<String, VecDeque<Waiting>>>);

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// In the log: whether it is settled is for the log to say.
    reserved: bool,
    /// One before it did not end well. It stays in line until it has been told: what is asked for
    /// before that is asked for by a source that does not know.
    struck_out: bool,
}

/// Where a commit stands among those of its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    First,
    BehindAnother,
    /// One before it was not committed: it never will be either.
    StruckOut,
}

/// A commit's place; to be left when it has been answered, and however else it ends.
pub(super) struct Place {
    shared: Arc<Shared>,
    source: String,
    number: u64,
    committed: bool,
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, VecDeque<Waiting>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a commit of the source waits to enter the log.
    pub(super) fn wait_for(&self, source: &str) -> bool {
        self.lock().get(source).is_some_and(|line| line.iter().any(|waiting| !waiting.reserved))
    }
}

impl Place {
    /// The place behind all that the source has asked for.
    pub(super) fn last(shared: &Arc<Shared>, source: &str) -> Self {
        let mut lines = shared.turns.lock();
        let line = lines.entry(source.to_owned()).or_default();
        let number = line.back().map_or(0, |last| last.number + 1);
        let struck_out = line.iter().any(|before| before.struck_out);
        line.push_back(Waiting { number, reserved: false, struck_out });
        drop(lines);
        Self { shared: Arc::clone(shared), source: source.to_owned(), number, committed: false }
    }

    /// Whose commit it is.
    pub(super) fn source(&self) -> &str {
        &self.source
    }

    pub(super) fn standing(&self) -> Standing {
        let lines = self.shared.turns.lock();
        let line = lines.get(&self.source).into_iter().flatten();
        let until_mine = line.take_while(|waiting| waiting.number <= self.number);
        match until_mine.enumerate().last() {
            _ if Broken::PositionsOverlap.is_chosen() => Standing::First,
            Some((_, mine)) if mine.struck_out => Standing::StruckOut,
            Some((at, _)) if at > 0 => Standing::BehindAnother,
            _ => Standing::First,
        }
    }

    /// It entered the log.
    pub(super) fn reserved(&self) {
        let mut lines = self.shared.turns.lock();
        let mut line = lines.get_mut(&self.source).into_iter().flatten();
        if let Some(mine) = line.find(|waiting| waiting.number == self.number) {
            mine.reserved = true;
        }
    }

    /// It was answered with Ok.
    pub(super) fn committed(mut self) {
        self.committed = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.shared.turns.lock();
        let Some(line) = lines.get_mut(&self.source) else { return };
        line.retain(|waiting| waiting.number != self.number);
        if !self.committed {
            let behind = line.iter_mut().filter(|waiting| waiting.number > self.number);
            behind.for_each(|waiting| waiting.struck_out = true);
        }
        if line.is_empty() {
            lines.remove(&self.source);
        }
        drop(lines);
        self.shared.room.raise();
    }
}
