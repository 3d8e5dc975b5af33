//! The faults, each with a few rounds on stores of its own.

mod calls;
mod full;
mod kill;
mod rot;

use crate::bench::Bench;
use crate::ledger::{Ledger, Verdict};
use crate::life::{End, Life, Order, Until, live};
use serde::Serialize;
use std::collections::BTreeSet;
use std::io;
use std::path::Path;

/// A fault of a store or its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// SIGKILL at random moments
    Kill,
    /// One sync, or write that is also one, returns EIO
    Sync,
    /// The disk is full
    Full,
    /// One write writes less than it was asked to
    Short,
    /// One bit of a stopped store's files is flipped
    Flip,
    /// One of a stopped store's files is cut short
    Cut,
}

pub(crate) const FAULTS: [Fault; 6] =
    [Fault::Kill, Fault::Sync, Fault::Full, Fault::Short, Fault::Flip, Fault::Cut];

/// One cell of the table: an engine under a fault.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) engine: String,
    pub(crate) fault: Fault,
    /// Why it has no figures.
    pub(crate) left_out: Option<String>,
    pub(crate) rounds: u64,
    /// Rounds in which the fault happened: a process may end before.
    pub(crate) met: u64,
    pub(crate) events: Verdict,
    /// Rounds after which the store did not open.
    pub(crate) unopenable: u64,
    /// Rounds in which a process hung, or died without being killed.
    pub(crate) hung: u64,
    pub(crate) died: u64,
    /// Rounds in which the same process put again after the fault, and rounds in which it could have; only if a process
    /// survives the fault.
    pub(crate) went_on: Option<(u64, u64)>,
    /// Rounds with events lost, doubled, altered, out of order or transactions in part.
    pub(crate) harmed: u64,
    /// Of those, rounds in which no error, count or warning reported it.
    pub(crate) silent: u64,
    /// Most events lost in one round.
    pub(crate) worst: u64,
    pub(crate) seconds: f64,
    /// The first message or observation of each kind.
    pub(crate) notes: Vec<String>,
}

const NOTES: usize = 6;

impl Cell {
    fn new(engine: &str, fault: Fault) -> Self {
        Self {
            engine: engine.to_owned(),
            fault,
            left_out: None,
            rounds: 0,
            met: 0,
            events: Verdict::default(),
            unopenable: 0,
            hung: 0,
            died: 0,
            went_on: None,
            harmed: 0,
            silent: 0,
            worst: 0,
            seconds: 0.0,
            notes: Vec::new(),
        }
    }

    /// Adds a note unless there is a similar one.
    fn remark(&mut self, what: &str) {
        let kind = |text: &str| -> String {
            text.chars().filter(|c| !c.is_ascii_digit()).take(60).collect()
        };
        let short: String = what.chars().take(240).collect();
        if self.notes.len() < NOTES && !self.notes.iter().any(|note| kind(note) == kind(&short)) {
            self.notes.push(short);
        }
    }

    /// Counts how processes ended in one round; a round counts once for each.
    fn count_ends(&mut self, lives: &[&Life]) {
        self.hung += u64::from(lives.iter().any(|life| life.end == End::Hung));
        self.died += u64::from(lives.iter().any(|life| matches!(life.end, End::Died(_))));
        for life in lives {
            if let Some(words) = life.first_words() {
                self.remark(&words);
            }
        }
    }

    /// Judges the events after `last` has taken everything. Of a store that does not open nothing is known: its events
    /// count as unopenable, not as lost.
    fn judge(&mut self, ledger: &Ledger, last: &Life, said: bool, what: &str) {
        let verdict = ledger.verdict();
        self.events.acked += verdict.acked;
        if !last.opened {
            self.unopenable += 1;
            return;
        }
        self.events.lost += verdict.lost;
        self.events.beyond += verdict.beyond;
        self.events.doubled += verdict.doubled;
        self.events.altered += verdict.altered;
        self.events.disordered += verdict.disordered;
        self.events.parted += verdict.parted;
        if verdict.harm() {
            self.harmed += 1;
            self.silent += u64::from(!said);
            let how = if said { "said" } else { "in silence" };
            self.remark(&format!(
                "{what}: {} lost, {} doubled, {} altered, {} out of order, {} in part, {how}",
                verdict.lost, verdict.doubled, verdict.altered, verdict.disordered, verdict.parted
            ));
        }
        self.worst = self.worst.max(verdict.lost);
    }
}

/// Called with the rounds done and the total.
pub(crate) type Progress<'a> = dyn FnMut(u64, u64) + 'a;

/// Runs the rounds of one cell.
///
/// # Errors
/// The harness itself failed: its directory cannot be written.
pub(crate) fn run(
    bench: &Bench,
    engine: &str,
    fault: Fault,
    progress: &mut Progress<'_>,
) -> io::Result<Cell> {
    match fault {
        Fault::Kill => kill::run(bench, engine, progress),
        Fault::Sync | Fault::Short => calls::run(bench, engine, fault, progress),
        Fault::Full => full::run(bench, engine, progress),
        Fault::Flip | Fault::Cut => rot::run(bench, engine, fault, progress),
    }
}

/// Returns a cell without figures.
pub(crate) fn left_out(engine: &str, fault: Fault, why: &str) -> Cell {
    Cell { left_out: Some(why.to_owned()), ..Cell::new(engine, fault) }
}

/// Takes everything with a sound process.
fn drain(bench: &Bench, engine: &str, dir: &Path, seed: u64, ledger: &mut Ledger) -> Life {
    let order = Order { engine, dir, verb: "drain", seed, times: 0, shim: &[] };
    live(bench, &order, ledger, Until::Itself)
}

/// Returns what a sound process with a sound store writes to stderr, so that it is not taken for a complaint.
fn usual(bench: &Bench, engine: &str) -> io::Result<BTreeSet<String>> {
    let (dir, seed) = (bench.fresh()?, bench.seed);
    let mut ledger = Ledger::new(seed, false);
    let order = Order { engine, dir: &dir, verb: "work", seed, times: 20, shim: &[] };
    let mut said = live(bench, &order, &mut ledger, Until::Itself).warnings;
    said.extend(drain(bench, engine, &dir, seed, &mut ledger).warnings);
    Ok(said)
}
