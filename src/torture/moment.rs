//! Moments at which a process can kill itself: calls of the door to storage, by what they are for.

use serde::{Deserialize, Serialize};

/// What the channel is doing when it calls the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
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

impl Moment {
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

    /// Its name in notes and reports.
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
pub(super) enum How {
    /// Before it did anything.
    Before,
    /// A write, after the first part of it.
    Half,
    /// After it succeeded and before the channel heard so.
    After,
}

impl How {
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

/// When a process is to kill itself: at the `nth` (from 1) call of the door at such a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Strike {
    pub(super) moment: Moment,
    pub(super) nth: u64,
    pub(super) how: How,
}
