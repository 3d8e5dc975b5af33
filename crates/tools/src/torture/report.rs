//! The report of a run: a table for people, JSON for programs.

use super::crash_point::CrashPoint;
use super::oracle::{EventCounts, OracleFindings, ViolationKind};
use super::run_state::ChannelNumbers;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// The result.
#[derive(Debug)]
pub struct TortureReport {
    pub(super) seed: u64,
    pub(super) data_dirs: Vec<PathBuf>,
    pub(super) numbers: ChannelNumbers,
    /// How long it took.
    pub(super) took: Duration,
    pub(super) lives: u64,
    pub(super) kills_by_time: u64,
    pub(super) kills_by_moment: BTreeMap<CrashPoint, u64>,
    /// Child runs that ended by closing.
    pub(super) closed: u64,
    /// Time to open, microseconds, of every opening that was noted.
    pub(super) opening_us: Vec<u64>,
    pub(super) full: FullDisk,
    pub(super) counts: EventCounts,
    pub(super) findings: OracleFindings,
    pub(super) interrupted: bool,
    /// Whether the evidence was kept, when something was found.
    pub(super) kept: bool,
}

/// What was seen while the disk was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FullDisk {
    /// Times the disk was filled.
    pub filled: u64,
    /// Times puts were refused on it.
    pub refused: u64,
    /// Times takes continued on it.
    pub takes_went_on: u64,
    /// Times puts resumed once there was room.
    pub resumed: u64,
    /// Openings on a full disk.
    pub opened: u64,
}

impl TortureReport {
    /// Returns how long it took so far.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Returns the kills so far.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.kills_by_time + self.kills_by_moment.values().sum::<u64>()
    }

    /// Returns the events whose put was acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.counts.put_acknowledged
    }

    /// Returns whether no violation was found.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.total() == 0
    }

    /// Returns the text of the first few findings.
    #[must_use]
    pub fn findings(&self) -> &[String] {
        self.findings.words()
    }

    /// Returns the time below which `percent` of the openings stayed, milliseconds.
    fn opening_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.opening_us.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(at).map_or(0.0, |us| *us as f64 / 1000.0)
    }

    /// Returns the report as JSON, one object.
    #[must_use]
    pub fn json(&self) -> Value {
        let by_moment: BTreeMap<&str, u64> =
            self.kills_by_moment.iter().map(|(moment, n)| (moment.word(), *n)).collect();
        let found: BTreeMap<&str, u64> = ViolationKind::ALL
            .iter()
            .map(|kind| (kind.word(), self.findings.count(*kind)))
            .collect();
        json!({
            "clean": self.is_clean(),
            "interrupted": self.interrupted,
            "seed": self.seed,
            "data_dirs": self.data_dirs,
            "segment_bytes": self.numbers.segment_bytes,
            "capacity": self.numbers.capacity,
            "writers": self.numbers.writers,
            "takers": self.numbers.takers,
            "seconds": (self.took.as_secs_f64() * 1000.0).round() / 1000.0,
            "lives": self.lives,
            "kills": { "total": self.kills(), "at_random_times": self.kills_by_time, "at_operations": by_moment },
            "closed": self.closed,
            "recoveries": self.opening_us.len(),
            "recovery_ms": {
                "p50": self.opening_ms(50), "p90": self.opening_ms(90),
                "p99": self.opening_ms(99), "max": self.opening_ms(100),
            },
            "events": self.counts,
            "full_disk": self.full,
            "lost": self.findings.count(ViolationKind::Lost),
            "doubled": self.findings.count(ViolationKind::Doubled),
            "found": found,
            "words": self.findings.words(),
            "kept": self.kept,
        })
    }

    /// Returns the report as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let found = ViolationKind::ALL.into_iter().map(|kind| (kind, self.findings.count(kind)));
        let shown = found.filter(|(kind, n)| {
            *n > 0 || matches!(kind, ViolationKind::Lost | ViolationKind::Doubled)
        });
        let shown = shown.map(|(kind, n)| (kind.word().to_owned(), n.to_string()));
        for (name, value) in self.run_rows().into_iter().chain(self.event_rows()).chain(shown) {
            let _ = writeln!(text, "{name:<22}{value}");
        }
        let _ = writeln!(text, "{:<22}{}", "verdict", self.verdict());
        for words in self.findings.words() {
            let _ = writeln!(text, "  {words}");
        }
        text
    }

    fn verdict(&self) -> &'static str {
        match (self.is_clean(), self.kills()) {
            (false, _) => "NOT CLEAN, see below",
            (true, 0) => "clean, but nothing was killed",
            (true, _) => "clean: all that was acknowledged was there, whole, once, in order",
        }
    }

    fn run_rows(&self) -> Vec<(String, String)> {
        let numbers = &self.numbers;
        let channel = format!(
            "{} directories, segments of {} KiB, capacity {} events, {} producers, {} takers",
            self.data_dirs.len(),
            numbers.segment_bytes / 1024,
            numbers.capacity,
            numbers.writers,
            numbers.takers
        );
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        let mut rows = vec![
            ("seed".to_owned(), self.seed.to_string()),
            ("channel".to_owned(), channel),
            ("time".to_owned(), format!("{:.1} s{interrupted}", self.took.as_secs_f64())),
            ("kills".to_owned(), self.kills().to_string()),
            ("  at random times".to_owned(), self.kills_by_time.to_string()),
        ];
        for (moment, kills) in &self.kills_by_moment {
            rows.push((format!("  at {}", moment.word()), kills.to_string()));
        }
        rows.push(("closed in order".to_owned(), self.closed.to_string()));
        rows.push(("recoveries".to_owned(), self.opening_us.len().to_string()));
        let [p50, p90, p99, max] = [50, 90, 99, 100].map(|percent| self.opening_ms(percent));
        let times = format!("p50 {p50:.1} ms, p90 {p90:.1} ms, p99 {p99:.1} ms, max {max:.1} ms");
        rows.push(("recovery time".to_owned(), times));
        rows
    }

    fn event_rows(&self) -> Vec<(String, String)> {
        let (counts, full) = (&self.counts, &self.full);
        let (put, taken) = (counts.put_acknowledged, counts.taken_acknowledged);
        let (there, absent) = (counts.doubt_there, counts.doubt_absent);
        let (happened, returned) = (counts.doubt_taken, counts.doubt_returned);
        let (refused, space) = (counts.refused_full, counts.refused_space);
        let mut rows = vec![
            ("events acknowledged", format!("{put} put, {taken} taken")),
            ("puts in doubt", format!("{there} were there, {absent} were not")),
            ("takes in doubt", format!("{happened} had happened, {returned} had not")),
            ("puts refused", format!("{refused} channel full, {space} no room on disk in time")),
        ];
        if full.filled + full.opened > 0 {
            let seen = format!(
                "filled {} times, opened full {}, puts refused {}, takes went on {}, puts resumed {}",
                full.filled, full.opened, full.refused, full.takes_went_on, full.resumed
            );
            rows.push(("disk full", seen));
        }
        rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
