//! What directories that were missing excuse, and nothing beyond: docs/durability.md, "A lost disk".
//!
//! While a directory is missing its events are out of reach, and what is in doubt may have its
//! answer there. An acknowledgement that was written while some disk did not work may lie on the
//! missing one only, so its events may come again. Everything else is promised as ever, and when
//! all directories are together again nothing is excused.

use crate::oracle::{Oracle, Place, PutId, Standing, name_of};
use millpond::event::Event;
use std::collections::BTreeSet;

type Name = (PutId, usize);

/// The excuses.
#[derive(Clone, Debug)]
pub(crate) struct Parting {
    /// The channel is open, or about to be opened, without some directory.
    pub(crate) degraded: bool,
    /// It was, since it was last opened with all of them.
    pub(crate) parted: bool,
    /// Two sets of directories were open, each without one of the other's. Then the positions
    /// that were left in one of them win.
    pub(crate) forked: bool,
    /// Some events came, or will come, later than they were put: those of a missing directory.
    pub(crate) unordered: bool,
    /// No call to a disk has failed since all directories were together.
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
            forked: false,
            unordered: false,
            steady: true,
            away: BTreeSet::new(),
            shaky: BTreeSet::new(),
            loose: BTreeSet::new(),
        }
    }
}

impl Parting {
    /// The channel is about to be opened without the stripes `away`.
    pub(crate) fn opening(&mut self, away: &BTreeSet<usize>) {
        self.degraded = !away.is_empty();
        if self.degraded {
            self.forked |= self.parted && !self.away.is_subset(away);
            self.parted = true;
            self.unordered = true;
            self.away.clone_from(away);
        }
    }

    /// It was opened with all directories on sound disks: everyone knows everything.
    pub(crate) fn all_are_together(&mut self) {
        let Self { unordered, forked, .. } = *self;
        *self = Self { unordered, forked, ..Self::default() };
    }

    /// An event was taken.
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
    /// An event came back whose acknowledgement may be on a missing directory.
    pub(crate) fn loosen(&mut self, (put, index): Name) {
        self.puts[put].places[index] = Place::Waiting;
        self.parting.loose.insert((put, index));
    }

    /// All directories are there: what had come back is there, or was taken after all.
    pub(crate) fn settle_loose(&mut self, there: &BTreeSet<Name>) {
        for (put, index) in std::mem::take(&mut self.parting.loose) {
            let place = &mut self.puts[put].places[index];
            if *place == Place::Waiting && !there.contains(&(put, index)) {
                *place = Place::Taken;
            }
        }
    }

    /// The channel was opened without some directory and `contents` is everything in it.
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
            let waits = |at: &usize| put.places[*at] == Place::Waiting;
            let waiting = || (0..put.places.len()).filter(waits);
            let came = waiting().filter(|at| there.contains(&(id, *at))).count();
            let loose = waiting().any(|at| self.parting.loose.contains(&(id, at)));
            if put.standing == Standing::There && came > 0 && came != waiting().count() && !loose {
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
