//! What is read of a channel: the directories given, and their contents.

use super::inventory::{CheckpointContents, Inventory};
use super::stripe_reading::StripeReading;
use crate::base::ids::{StripeIndex, Uuid};
use crate::disk::{Access, Directory, Entry};
use crate::record::state::StateRecord;
use crate::recovery::finding::Finding;

/// A directory to read.
pub(crate) struct InputDir<'a> {
    pub(crate) uuid: Uuid,
    pub(crate) directory: Option<&'a dyn Directory>,
    pub(crate) entries: &'a [Entry],
    /// It becomes part of the channel with this opening.
    pub(crate) added: bool,
}

/// How to read.
#[derive(Clone, Copy)]
pub(crate) struct ReadOptions {
    pub(crate) channel: Uuid,
    pub(crate) access: Access,
    pub(crate) segment_bytes: u64,
    /// Leave out stripes that cannot be read.
    pub(crate) degraded: bool,
}

/// The contents of one stripe as read.
#[derive(Default)]
pub(crate) struct StripeContents {
    pub(crate) inventory: Inventory,
    pub(crate) checkpoints: Option<CheckpointContents>,
    pub(crate) reading: StripeReading,
    /// The state in the directory's own checkpoints and segment starts.
    pub(crate) told: StateRecord,
}

/// The contents of all directories as read.
pub(crate) struct LogContents {
    /// Checkpoints and segment starts, joined.
    pub(crate) joined: StateRecord,
    pub(crate) checkpoint_dir: Option<CheckpointContents>,
    pub(crate) stripes: Vec<StripeContents>,
    pub(crate) findings: Vec<Finding>,
}

/// Returns the index of the stripe at `at` in a list of all.
pub(crate) fn stripe_index(at: usize) -> StripeIndex {
    StripeIndex(u16::try_from(at).expect("the number of stripes is bounded"))
}
