//! Points at which a process can kill itself: disk calls, by their purpose.

use serde::{Deserialize, Serialize};

/// The channel's activity at a disk call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashPoint {
    /// Opening: creating, recovering, beginning the new epoch.
    Opening,
    /// Writing a block of the log.
    Commit,
    /// Writing the header of a segment that was never used.
    Roll,
    /// Writing the header of a segment over that of an earlier use.
    Recycle,
    /// Making or deleting a segment file.
    Make,
    /// Writing a checkpoint.
    Checkpoint,
    /// Reading events back.
    Read,
    /// Closing.
    Closing,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Opening,
        Self::Commit,
        Self::Roll,
        Self::Recycle,
        Self::Make,
        Self::Checkpoint,
        Self::Read,
        Self::Closing,
    ];

    /// Returns its name in notes and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Commit => "commit",
            Self::Roll => "roll",
            Self::Recycle => "recycle",
            Self::Make => "make",
            Self::Checkpoint => "checkpoint",
            Self::Read => "read",
            Self::Closing => "closing",
        }
    }

    pub(super) fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|moment| moment.word() == word)
    }
}

/// Where in the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CrashTiming {
    /// Before the call has any effect.
    Before,
    /// A write, after the first part of it.
    Half,
    /// After it succeeded and before it returns to the channel.
    After,
}

impl CrashTiming {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::Half, Self::After];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::Half => "half",
            Self::After => "after",
        }
    }

    pub(super) fn read(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|how| how.word() == word)
    }
}

/// When a process is to kill itself: at the `nth` disk call (from 1) at such a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PlannedCrash {
    pub(super) moment: CrashPoint,
    pub(super) nth: u64,
    pub(super) how: CrashTiming,
}
