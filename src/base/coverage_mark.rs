//! Coverage marks: rare places in the engine that tests must reach.
//!
//! A random campaign that never meets a failed write on a full disk proves nothing about it. Each such place reports
//! when it is reached; the simulation counts, prints and asserts it. Nothing is stored here, and without a listener at
//! trace level nothing happens.

/// Target of the trace events, for listeners.
pub const TARGET: &str = "millpond::rare";

/// A rare place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CoverageMark {
    /// A write failed and its frames were moved to another stripe, after a fence.
    FenceMoved,
    /// The fence of another stripe, still suspended, was written again with it.
    FenceRepeated,
    /// A frame was moved for the second time.
    MovedTwice,
    /// A write failed on the only stripe, which continued in a fresh segment.
    FreshSegment,
    /// A write failed and its frames could not be moved.
    NowhereToGo,
    /// Frames in doubt wait for the fence of yet another stripe.
    DoubtPassedOn,
    /// A write hung and was given up.
    HungWrite,
    /// A write that had been given up returned.
    LateReturn,
    /// Acknowledgements became durable in a checkpoint, because the log had no room.
    SlotAck,
    /// An epoch began in a checkpoint slot, because no segment was free.
    EpochInSlot,
    /// A failed epoch ended in a checkpoint slot, because no segment was free for the next one.
    EpochEndedInSlot,
    /// A stripe was to roll to the next segment and had none.
    RollWaits,
    /// A transaction got a block of its own.
    Oversize,
    /// The tail cache joined the read window.
    GapClosed,
    /// The counter of a source's offset skipped the values that a missing directory may hold.
    SourceOffsetJump,
    /// An opening without a directory adopted events.
    Adopted,
    /// An event in a directory that is back was void, because its first copy was adopted.
    CopyVoid,
    /// A segment of an ended epoch, after all that the other directories know of its log, was kept: they had continued
    /// without the directory.
    LogBehindKept,
    /// Two state records disagreed about what was adopted.
    JoinConflict,
    /// A block was made durable at recovery by a flush.
    BlockFlushed,
    /// A block was rewritten at recovery.
    BlockRewritten,
}

impl CoverageMark {
    /// All marks.
    pub const ALL: [Self; 21] = [
        Self::FenceMoved,
        Self::FenceRepeated,
        Self::MovedTwice,
        Self::FreshSegment,
        Self::NowhereToGo,
        Self::DoubtPassedOn,
        Self::HungWrite,
        Self::LateReturn,
        Self::SlotAck,
        Self::EpochInSlot,
        Self::EpochEndedInSlot,
        Self::RollWaits,
        Self::Oversize,
        Self::GapClosed,
        Self::SourceOffsetJump,
        Self::Adopted,
        Self::CopyVoid,
        Self::LogBehindKept,
        Self::JoinConflict,
        Self::BlockFlushed,
        Self::BlockRewritten,
    ];

    /// Reports that the place was reached.
    pub fn hit(self) {
        tracing::trace!(target: TARGET, "{self:?}");
    }
}
