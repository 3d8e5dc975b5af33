//! Progress output and final report of the campaign.

use super::{Work, runs};
use crate::counts::{Stopped, Tally};
use crate::coverage::{self, Counts, Met};
use millpond::internal::base::coverage_mark::CoverageMark;
use millpond::internal::recovery::decision_table::Case;
use millpond::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::fmt;
use std::io::{IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Pause between two checks whether the work has ended.
const LOOK: Duration = Duration::from_millis(50);

/// Pause between two lines of progress, and between two updates of the line on a terminal.
const LINES: Duration = Duration::from_secs(10);
const STATES: Duration = Duration::from_millis(500);

/// Reports the progress of the work.
pub(super) struct Progress<'a> {
    work: &'a Work,
    tally: Tally,
    clock: SystemClock,
}

impl<'a> Progress<'a> {
    pub(super) fn new(work: &'a Work, tally: Tally) -> Self {
        Self { work, tally, clock: SystemClock::new() }
    }

    /// Runs until the work has ended; returns how long it took.
    pub(super) fn run(&self, aloud: bool) -> Duration {
        let terminal = std::io::stderr().is_terminal();
        let pause = if terminal { STATES } else { LINES };
        let mut next = pause;
        while !self.work.ended.load(Ordering::SeqCst) {
            std::thread::sleep(LOOK);
            if aloud && self.clock.now() >= next {
                next = self.clock.now() + pause;
                let (before, after) = if terminal { ("\r", "\x1b[K") } else { ("", "\n") };
                eprint!("{before}{}{after}", self.line());
                let _ = std::io::stderr().flush();
            }
        }
        if aloud && terminal {
            eprintln!();
        }
        self.clock.now()
    }

    fn line(&self) -> String {
        let work = &self.work;
        let roots = work.next_root.load(Ordering::SeqCst).min(work.roots.len());
        format!(
            "{} s: {} crash states, {roots} of {} groups of words, {} lives, {} violations",
            self.clock.now().as_secs(),
            self.tally.states(),
            work.roots.len(),
            work.next_seed.load(Ordering::SeqCst),
            work.failures().len()
        )
    }
}

/// The final report.
pub(super) struct Report<'a> {
    pub(super) tally: &'a Tally,
    pub(super) met: &'a Met,
    pub(super) took: Duration,
    pub(super) threads: usize,
}

impl Report<'_> {
    /// Fails if something was never met that should have been.
    pub(super) fn check(&self, whole: bool) {
        let due = if whole { runs::must_meet() } else { runs::must_meet_in_part() };
        let never = self.met.never(&due);
        assert!(
            never.is_empty(),
            "a campaign that never meets these proves nothing of them: {never:?}"
        );
    }
}

/// Returns the faults by the operation that failed.
fn by_kind(faults: &Counts) -> BTreeMap<&str, Counts> {
    let mut kinds: BTreeMap<&str, Counts> = BTreeMap::new();
    for (name, count) in faults {
        let (kind, how) = name.split_once(", ").unwrap_or((name, "times"));
        kinds.entry(kind).or_default().insert(how.to_owned(), *count);
    }
    kinds
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tally, met) = (self.tally, self.met);
        let stopped = |kind| tally.stopped.get(&kind).copied().unwrap_or(0);
        let count = |name: String| format!("{name} {}", met.engine.get(&name).unwrap_or(&0));
        let rows: Vec<String> = Case::ALL.iter().map(|case| count(case.to_string())).collect();
        let places: Vec<String> =
            CoverageMark::ALL.iter().map(|rare| count(format!("{rare:?}"))).collect();
        writeln!(f, "distinct crash states  {}", tally.states())?;
        writeln!(f, "crash images           {}", tally.crashes)?;
        writeln!(f, "recoveries judged      {}", tally.recoveries)?;
        writeln!(f, "  after a power cut    {}", stopped(Stopped::Power))?;
        writeln!(f, "  after a kill         {}", stopped(Stopped::Kill))?;
        writeln!(f, "  of these in creation {}", stopped(Stopped::Creating))?;
        writeln!(f, "  of these in recovery {}", stopped(Stopped::Recovering))?;
        writeln!(f, "workloads and lives    {}", tally.runs)?;
        writeln!(f, "lives with faults      {}", tally.faults)?;
        for (kind, counts) in by_kind(&met.faults) {
            writeln!(f, "fault                  {kind}: {}", coverage::listed(&counts))?;
        }
        writeln!(f, "rows of the table      {}", rows.join(", "))?;
        writeln!(f, "rare places            {}", places.join(", "))?;
        write!(f, "took                   {} s, {} threads", self.took.as_secs(), self.threads)
    }
}
