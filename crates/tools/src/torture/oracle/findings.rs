//! Violations found by the oracle.

use serde::Serialize;
use std::collections::BTreeMap;

/// Findings whose text is kept, and the first of each kind; beyond it they are only counted.
const WORDS_MAX: usize = 20;

/// The kind of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// An acknowledged event is lost.
    Lost,
    /// An event that was acknowledged as taken is back, or one is lent twice.
    Doubled,
    /// An event is not as it was put.
    Altered,
    /// An event is present that was never committed.
    Foreign,
    /// Events are not in the order in which they were committed.
    Disordered,
    /// A transaction is present, or acknowledged, in part.
    Halved,
    /// A source offset does not fit the source's events.
    Position,
    /// The channel's counts do not fit its contents.
    Count,
    /// The channel does not open, or refuses what it may not refuse.
    Failed,
    /// Something required did not happen in time.
    Stuck,
    /// The last read of every byte found damage.
    Damaged,
}

impl ViolationKind {
    /// All of them, in the order of reports.
    pub const ALL: [Self; 11] = [
        Self::Lost,
        Self::Doubled,
        Self::Altered,
        Self::Foreign,
        Self::Disordered,
        Self::Halved,
        Self::Position,
        Self::Count,
        Self::Failed,
        Self::Stuck,
        Self::Damaged,
    ];

    /// Returns its name in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Doubled => "doubled",
            Self::Altered => "altered",
            Self::Foreign => "foreign",
            Self::Disordered => "disordered",
            Self::Halved => "halved",
            Self::Position => "position",
            Self::Count => "count",
            Self::Failed => "failed",
            Self::Stuck => "stuck",
            Self::Damaged => "damaged",
        }
    }
}

/// All findings, and the text of the first few.
#[derive(Debug, Default)]
pub(in crate::torture) struct OracleFindings {
    counts: BTreeMap<ViolationKind, u64>,
    words: Vec<String>,
}

impl OracleFindings {
    /// Adds one.
    pub(in crate::torture) fn add(&mut self, kind: ViolationKind, words: impl Into<String>) {
        *self.counts.entry(kind).or_default() += 1;
        let mine = format!("{}: ", kind.word());
        // The first of each kind is always among them.
        if self.words.len() < WORDS_MAX || !self.words.iter().any(|it| it.starts_with(&mine)) {
            self.words.push(mine + &words.into());
        }
    }

    /// Adds `events` of one kind that share their text.
    pub(in crate::torture) fn add_events(
        &mut self,
        kind: ViolationKind,
        events: u64,
        words: String,
    ) {
        self.add(kind, words);
        *self.counts.entry(kind).or_default() += events.saturating_sub(1);
    }

    /// Returns the number of `kind`.
    pub(in crate::torture) fn count(&self, kind: ViolationKind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Returns the number of all.
    pub(in crate::torture) fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// Returns the text of the first few.
    pub(in crate::torture) fn words(&self) -> &[String] {
        &self.words
    }
}
