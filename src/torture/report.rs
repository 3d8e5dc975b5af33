//! What a run says in the end: a table for people, JSON for programs.

use super::life::Numbers;
use super::moment::Moment;
use super::oracle::{Counts, Findings, Kind};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// What happened.
#[derive(Debug)]
pub struct Report {
    pub(super) seed: u64,
    pub(super) data_dirs: Vec<PathBuf>,
    pub(super) numbers: Numbers,
    /// How long it took.
    pub(super) took: Duration,
    pub(super) lives: u64,
    pub(super) kills_by_time: u64,
    pub(super) kills_by_moment: BTreeMap<Moment, u64>,
    /// Lives that ended by closing.
    pub(super) closed: u64,
    /// Time to open, microseconds, of every opening that was heard of.
    pub(super) opening_us: Vec<u64>,
    pub(super) full: FullDisk,
    pub(super) counts: Counts,
    pub(super) findings: Findings,
    pub(super) interrupted: bool,
    /// Where the evidence is, when something was found.
    pub(super) kept: bool,
}

/// What was seen while the disk was full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FullDisk {
    /// Times the disk was filled.
    pub filled: u64,
    /// Times puts were refused on it.
    pub refused: u64,
    /// Times takes went on on it.
    pub takes_went_on: u64,
    /// Times puts resumed once there was room.
    pub resumed: u64,
    /// Openings on a full disk.
    pub opened: u64,
}

impl Report {
    /// How long it took so far.
    #[must_use]
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Kills so far.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.kills_by_time + self.kills_by_moment.values().sum::<u64>()
    }

    /// Events whose put was acknowledged so far.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.counts.put_acknowledged
    }

    /// Whether nothing was found that must not be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.total() == 0
    }

    /// What was found, in words, the first few.
    #[must_use]
    pub fn findings(&self) -> &[String] {
        self.findings.words()
    }

    /// The time below which `percent` of the openings stayed, milliseconds.
    fn opening_ms(&self, percent: usize) -> f64 {
        let mut sorted = self.opening_us.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
        sorted.get(at).map_or(0.0, |us| *us as f64 / 1000.0)
    }

    /// As JSON, one object.
    #[must_use]
    pub fn json(&self) -> Value {
        let by_moment: BTreeMap<&str, u64> =
            self.kills_by_moment.iter().map(|(moment, n)| (moment.word(), *n)).collect();
        let found: BTreeMap<&str, u64> =
            Kind::ALL.iter().map(|kind| (kind.word(), self.findings.count(*kind))).collect();
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
            "lost": self.findings.count(Kind::Lost),
            "doubled": self.findings.count(Kind::Doubled),
            "found": found,
            "words": self.findings.words(),
            "kept": self.kept,
        })
    }

    /// As a table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut row = |name: &str, value: String| {
            let _ = writeln!(text, "{name:<22}{value}");
        };
        let counts = &self.counts;
        row("seed", self.seed.to_string());
        row(
            "channel",
            format!(
                "{} directories, segments of {} KiB, capacity {} events, {} producers, {} takers",
                self.data_dirs.len(),
                self.numbers.segment_bytes / 1024,
                self.numbers.capacity,
                self.numbers.writers,
                self.numbers.takers
            ),
        );
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        row("time", format!("{:.1} s{interrupted}", self.took.as_secs_f64()));
        row("kills", format!("{}", self.kills()));
        row("  at random times", self.kills_by_time.to_string());
        for (moment, kills) in &self.kills_by_moment {
            row(&format!("  at {}", moment.word()), kills.to_string());
        }
        row("closed in order", self.closed.to_string());
        row("recoveries", self.opening_us.len().to_string());
        row(
            "recovery time",
            format!(
                "p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms, max {:.1} ms",
                self.opening_ms(50),
                self.opening_ms(90),
                self.opening_ms(99),
                self.opening_ms(100)
            ),
        );
        row(
            "events acknowledged",
            format!("{} put, {} taken", counts.put_acknowledged, counts.taken_acknowledged),
        );
        row(
            "puts in doubt",
            format!("{} were there, {} were not", counts.doubt_there, counts.doubt_absent),
        );
        row(
            "takes in doubt",
            format!("{} had happened, {} had not", counts.doubt_taken, counts.doubt_returned),
        );
        row(
            "puts refused",
            format!(
                "{} channel full, {} no room on disk in time",
                counts.refused_full, counts.refused_space
            ),
        );
        if self.full.filled + self.full.opened > 0 {
            let full = &self.full;
            row(
                "disk full",
                format!(
                    "filled {} times, opened full {}, puts refused {}, takes went on {}, puts resumed {}",
                    full.filled, full.opened, full.refused, full.takes_went_on, full.resumed
                ),
            );
        }
        for kind in Kind::ALL {
            let found = self.findings.count(kind);
            if found > 0 || matches!(kind, Kind::Lost | Kind::Doubled) {
                row(kind.word(), found.to_string());
            }
        }
        for words in self.findings.words() {
            let _ = writeln!(text, "  {words}");
        }
        text
    }
}
