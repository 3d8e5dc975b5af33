//! What an opening hands over: a channel that is durable and decided, and not yet running.

use super::finding::Finding;
use super::read::members::Present;
use crate::base::ids::{
    BlockNumber, EpochNumber, SegmentId, Sequence, StripeIndex, Uuid, WriteOrder,
};
use crate::disk::{Directory, Lock};
use crate::layout::{MemberClaim, SlotFile};
use crate::log::{FreeSegment, LiveSegment};
use crate::record::member::Member;
use crate::record::state::StateRecord;
use std::sync::Arc;
use std::time::Duration;

/// A recovered channel: durable, decided, not yet running.
pub struct Recovered {
    /// The channel.
    pub channel: Uuid,
    /// The joined state. Each stripe's watermark is the end of its recovered log.
    pub state: StateRecord,
    /// The stripes, in the order of the member list.
    pub stripes: Vec<RecoveredStripe>,
    /// The checkpoint directory.
    pub checkpoint_dir: RecoveredCheckpointDir,
    /// The highest write order seen anywhere.
    pub order: WriteOrder,
    /// What was found and done.
    pub report: Report,
}

/// The checkpoint directory, locked.
pub struct RecoveredCheckpointDir {
    /// The directory.
    pub directory: Arc<dyn Directory>,
    /// Its lock.
    pub lock: Box<dyn Lock>,
    /// Its member uuid: the owner of its slots.
    pub uuid: Uuid,
    /// Its member record.
    pub member: Option<Member>,
    /// Its checkpoint slots.
    pub slots: SlotFile,
}

/// A recovered stripe.
pub struct RecoveredStripe {
    /// Index in the member list.
    pub index: StripeIndex,
    /// Its member uuid.
    pub uuid: Uuid,
    /// Directory, lock, and slots; `None` when the directory is missing in a degraded opening.
    pub home: Option<RecoveredDir>,
    /// The highest epoch number seen anywhere; in a degraded opening already far ahead.
    pub epoch_seen: EpochNumber,
    /// The highest segment id seen anywhere. Segments with a higher id are new.
    pub segment_seen: SegmentId,
    /// Live segments, oldest first; the last one is current.
    pub segments: Vec<LiveSegment>,
    /// Where the log continues in the current segment, bytes; the segment's length when nothing may
    /// be appended there.
    pub end_offset: u64,
    /// Segments that may be overwritten now, those never used first.
    pub free: Vec<FreeSegment>,
    /// The lowest slot that a new segment file may take.
    pub next_slot: u32,
    /// Number of the next block.
    pub next_block: BlockNumber,
    /// The next sequence to give out.
    pub next_sequence: Sequence,
}

impl RecoveredStripe {
    /// Returns whether its directory is present.
    #[must_use]
    pub fn available(&self) -> bool {
        self.home.is_some()
    }
}

/// The directory of a stripe, locked.
pub struct RecoveredDir {
    /// The directory.
    pub directory: Arc<dyn Directory>,
    /// Its member record.
    pub member: Option<Member>,
    /// Its lock.
    pub lock: Box<dyn Lock>,
    /// Its checkpoint slots.
    pub slots: SlotFile,
}

/// What recovery found and did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether this opening created the channel.
    pub created: bool,
    /// Blocks read after the newest state record.
    pub blocks_scanned: u64,
    /// Blocks flushed or written again to make them durable.
    pub blocks_rewritten: u64,
    /// How long it took.
    pub took: Duration,
    /// All findings, in the order found.
    pub findings: Vec<Finding>,
}

impl RecoveredDir {
    /// Returns the part of a locked directory that a running channel needs.
    pub(crate) fn of(present: Present, slots: SlotFile) -> Self {
        let member = match present.claim {
            MemberClaim::Member(member) => Some(member),
            MemberClaim::Nothing | MemberClaim::Damaged => None,
        };
        let lock = present.lock.expect("an opening locks every directory");
        Self { directory: present.directory, member, lock, slots }
    }
}
