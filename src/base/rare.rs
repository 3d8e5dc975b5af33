//! Places in the engine that are reached rarely, and that tests must reach all the same.
//!
//! A campaign of random lives that never meets a failed write on a full disk proves nothing about
//! it. Each such place says that it was reached; the simulation counts, prints and asserts it.
//! Nothing is kept here, and without a listener at trace level nothing happens.

/// Target of the trace events, for who listens.
pub const TARGET: &str = "millpond::rare";

/// A place that is reached rarely.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rare {
    /// A write failed and its frames went to another stripe behind a fence.
    FenceMoved,
    /// A fence of another stripe, still suspended, went along.
    FenceRepeated,
    /// A frame was moved that had been moved before.
    MovedTwice,
    /// A write failed on the only stripe, which went on in a fresh segment.
    FreshSegment,
    /// A write failed and its frames could go nowhere.
    NowhereToGo,
    /// What was in doubt waits for the fence of yet another stripe.
    DoubtPassedOn,
    /// A write hung and was given up.
    HungWrite,
    /// A write that had been given up returned.
    LateReturn,
    /// Acknowledgements became durable in a checkpoint, because the log had no room.
    SlotAck,
    /// A life began in a checkpoint slot, because no segment was free.
    EpochInSlot,
    /// A life that failed ended in a checkpoint slot, because no segment was free for the next one.
    LifeEndedInSlot,
    /// A stripe was to go on in the next segment and had none.
    RollWaits,
    /// A transaction got a block of its own.
    Oversize,
    /// Blocks that had stayed in memory behind a gap joined the window.
    GapClosed,
    /// The counter of a source's position jumped over what a missing directory may know.
    PositionJump,
    /// An opening without a directory adopted events.
    Adopted,
    /// An event in a directory that is back was void, since its first copy was adopted.
    CopyVoid,
    /// A segment of a life that others know to have ended, behind all that they know of its log, was
    /// kept: they had gone on without the directory.
    LogBehindKept,
    /// Two state records disagreed about what was adopted.
    JoinConflict,
    /// A block was made durable at recovery by a flush.
    BlockFlushed,
    /// A block was written again at recovery.
    BlockRewritten,
}

impl Rare {
    /// All places.
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
        Self::LifeEndedInSlot,
        Self::RollWaits,
        Self::Oversize,
        Self::GapClosed,
        Self::PositionJump,
        Self::Adopted,
        Self::CopyVoid,
        Self::LogBehindKept,
        Self::JoinConflict,
        Self::BlockFlushed,
        Self::BlockRewritten,
    ];

    /// Says that the place was reached.
    pub fn reached(self) {
        tracing::trace!(target: TARGET, "{self:?}");
    }
}
