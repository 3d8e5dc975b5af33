//! What missing directories excuse, and nothing beyond: docs/durability.md, "A lost disk".
//!
//! While a directory is missing its events are out of reach, and what is in doubt may be decided there. An
//! acknowledgement that was written while some disk did not work may be on the missing one only, so its events may come
//! again. What was put before all are together again may come in another order, and of the positions that were left in
//! two sets of directories those in one of them win. Everything else is promised as usual, and when all directories
//! have been judged together nothing is excused of later puts.

use crate::oracle::{EventState, Oracle, PutId, PutState, name_of};
use millpond::Event;
use std::collections::BTreeSet;

type Name = (PutId, usize);

/// The excuses.
#[derive(Clone, Debug)]
pub(crate) struct Parting {
    /// Whether the channel is open, or about to be opened, without some directory.
    pub(crate) degraded: bool,
    /// Whether it was, since it was last opened with all of them.
    pub(crate) parted: bool,
    /// The first transaction put after that.
    since: PutId,
    /// Set if two sets of directories were open, each without one of the other's: of the positions left from this
    /// transaction on, those in one of them win.
    forked: Option<PutId>,
    /// When all directories were last together again: events put before came, or will come, later than they were put,
    /// if they were on a missing directory.
    together: u64,
    /// Whether no call to a disk has failed since all directories were together.
    pub(crate) steady: bool,
    away: BTreeSet<usize>,
    /// Taken while some disk did not work.
    shaky: BTreeSet<Name>,
    /// Came back although taken, or in doubt: may be found taken when all are together.
    loose: BTreeSet<Name>,
}

impl Default for Parting {
    fn default() -> Self {
        Self {
            degraded: false,
            parted: false,
            since: 0,
            forked: None,
            together: 0,
            steady: true,
            away: BTreeSet::new(),
            shaky: BTreeSet::new(),
            loose: BTreeSet::new(),
        }
    }
}

impl Parting {
    /// Notes an opening with all directories on sound disks: every directory knows everything.
    pub(crate) fn all_are_together(&mut self, now: u64) {
        let together = if self.parted { now } else { self.together };
        *self = Self { together, ..Self::default() };
    }

    /// Whether a transaction that begins at `begun` comes after all that is there.
    pub(crate) fn orders(&self, begun: u64) -> bool {
        !self.parted && begun > self.together
    }

    /// Whether an event had come back although it was taken, or in doubt.
    pub(crate) fn may_be_taken(&self, name: Name) -> bool {
        self.loose.contains(&name)
    }

    /// Whether the position that a transaction left may have lost against another one's.
    pub(crate) fn may_be_after(&self, put: PutId) -> bool {
        self.forked.is_some_and(|since| put >= since)
    }

    /// Notes that an event was taken.
    pub(crate) fn taken(&mut self, name: Name) {
        if !self.steady {
            self.shaky.insert(name);
        }
    }

    /// Whether an event that was taken may come again.
    pub(crate) fn may_return(&self, name: Name) -> bool {
        self.parted && self.shaky.contains(&name)
    }
}

impl Oracle {
    /// Notes that the channel is about to be opened without the stripes `away`.
    pub(crate) fn opening(&mut self, away: &BTreeSet<usize>) {
        let (puts, parting) = (self.puts.len(), &mut self.parting);
        parting.degraded = !away.is_empty();
        if !parting.degraded {
            return;
        }
        if !parting.parted {
            (parting.parted, parting.since) = (true, puts);
        } else if !parting.away.is_subset(away) {
            parting.forked = Some(parting.since);
        }
        parting.away.clone_from(away);
    }

    /// Checks a source's position: without some directory it may be an older one, from which the source continues, but
    /// none that was never committed.
    pub(crate) fn source_may_be_at(
        &self,
        source: usize,
        place: Option<PutId>,
    ) -> Result<(), String> {
        match place.map(|put| (put, self.puts[put].record.state)) {
            Some((put, PutState::Absent)) => {
                Err(format!("source {source} is at put {put}, which was refused or is not there"))
            }
            _ => Ok(()),
        }
    }

    /// Notes that an event came back whose acknowledgement may be on a missing directory.
    pub(crate) fn note_returned(&mut self, (put, index): Name) {
        self.puts[put].record.events[index] = EventState::Waiting;
        self.parting.loose.insert((put, index));
    }

    /// Notes that all directories are there: what had come back is there, or was taken after all.
    pub(crate) fn resolve_returned(&mut self, there: &BTreeSet<Name>) {
        for (put, index) in std::mem::take(&mut self.parting.loose) {
            let place = &mut self.puts[put].record.events[index];
            if *place == EventState::Waiting && !there.contains(&(put, index)) {
                *place = EventState::Taken;
            }
        }
    }

    /// Judges an opening without some directory; `contents` is everything in it.
    pub(crate) fn opened_degraded(
        &mut self,
        contents: &[Event],
        there: &BTreeSet<Name>,
        quarantined: u64,
    ) -> Result<(), String> {
        let peek = self.begin_take();
        self.delivered(peek, contents, false)?;
        self.contiguous(contents)?;
        self.return_events(peek);
        for (id, put) in self.puts.iter().enumerate() {
            let waits = |at: &usize| put.record.events[*at] == EventState::Waiting;
            let waiting = || (0..put.record.events.len()).filter(waits);
            let came = waiting().filter(|at| there.contains(&(id, *at))).count();
            let loose = waiting().any(|at| self.parting.loose.contains(&(id, at)));
            if put.record.state == PutState::Committed
                && came > 0
                && came != waiting().count()
                && !loose
            {
                return Err(format!("put {id} is there in part: {came} events"));
            }
        }
        let doubled =
            contents.len() - contents.iter().filter_map(name_of).collect::<BTreeSet<_>>().len();
        if doubled > 0 || quarantined > 0 {
            return Err(format!("{doubled} events twice, {quarantined} quarantined"));
        }
        Ok(())
    }
}
