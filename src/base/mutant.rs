//! Rules of the engine that can be broken on purpose, one at a time, to see that the campaigns
//! notice it (docs/testing.md, "Mutants").
//!
//! Only a build with `--cfg mutant` can break anything, and breaks nothing until a thread chooses.
//! In every other build [`Broken::is_chosen`] is the constant `false`: the compiler leaves nothing
//! of it. What is broken stands in one place each, in the words of this list.

/// A rule, broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(mutant), allow(unreachable_pub))]
pub enum Broken {
    /// A completed write publishes those before it that have not completed.
    PublishedOverGaps,
    /// A fence is written behind the frames that it frees.
    FenceBehind,
    /// What a failed write made void is not in the state.
    VoidForgotten,
    /// A commit whose write failed is answered when its frames move, not when they are durable.
    MovedIsDurable,
    /// A segment is free although a write that was given up may still reach it.
    HauntedSegment,
    /// An acknowledgement goes to one of the stripes whose events it names.
    AckOnOneStripe,
    /// A state record names a part of an acknowledgement that is not durable.
    AckNamedEarly,
    /// An acknowledgement that waits for a checkpoint is answered although none was written.
    SlotAckUnwritten,
    /// A source may have two positions on their way.
    PositionsOverlap,
    /// A segment is used again while events in it wait.
    RecycledEarly,
    /// The value of a slot file is written over the newest whole one.
    OneSlot,
    /// A channel is made in one phase: no directory says `creating`.
    OnePhase,
    /// A failed read at recovery is taken for the end of the file.
    ReadFailedIsEnd,
    /// The sequences behind the last whole block are given out again, whatever names them.
    SequenceReused,
    /// What recovery keeps is not made durable again.
    KeptNotFlushed,
    /// What recovery finds free is not wiped, and a segment of an ended life that lands there counts.
    FreeNotWiped,
    /// What recovery kept of a log is not said to be its end.
    LogNotEnded,
    /// Recovery reads no fence.
    FenceUnread,
    /// An opening without a directory notes nothing of what it keeps.
    NothingAdopted,
    /// What is missing below something named is void and not counted as damage.
    DamageUnsaid,
    /// Void ranges behind the next event count as holes that lending it would leave.
    VoidsAreHoles,
    /// A segment that could not be made for a large put refuses the small ones too.
    LargeRefusalForAll,
    /// A segment whose write failed is used again through the same open file.
    FailedFileReused,
    /// A checkpoint slot that cannot be written is tried for ever.
    SlotTriedForEver,
    /// A write counts as hung after the same time, whatever its size.
    HungWhateverSize,
    /// Free segments are kept by their number only.
    PoolByNumber,
    /// Nobody who waits is woken when a refused read may be tried again.
    RetryUnsaid,
    /// Recovery reads no further than the first place without a block.
    HoleHides,
    /// An opening goes on without a segment file that events wait in, without being told to.
    MissingUnrefused,
    /// A segment file that came back after its events were given up is taken for a free one.
    ReturnedIsFree,
    /// A position that is forgotten is taken out of the state, and nothing stands in its place.
    ForgottenUnsaid,
    /// A degraded opening is refused by a lock file that cannot be written.
    LockErrorRefuses,
    /// A segment that was taken into use is named by the next checkpoint that is due for another reason.
    SegmentUnnamed,
}

#[cfg(mutant)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Broken>> = const { std::cell::Cell::new(None) };
}

impl Broken {
    /// Every rule.
    #[cfg(mutant)]
    pub const ALL: [Self; 33] = [
        Self::PublishedOverGaps,
        Self::FenceBehind,
        Self::VoidForgotten,
        Self::MovedIsDurable,
        Self::HauntedSegment,
        Self::AckOnOneStripe,
        Self::AckNamedEarly,
        Self::SlotAckUnwritten,
        Self::PositionsOverlap,
        Self::RecycledEarly,
        Self::OneSlot,
        Self::OnePhase,
        Self::ReadFailedIsEnd,
        Self::SequenceReused,
        Self::KeptNotFlushed,
        Self::FreeNotWiped,
        Self::LogNotEnded,
        Self::FenceUnread,
        Self::NothingAdopted,
        Self::DamageUnsaid,
        Self::VoidsAreHoles,
        Self::LargeRefusalForAll,
        Self::FailedFileReused,
        Self::SlotTriedForEver,
        Self::HungWhateverSize,
        Self::PoolByNumber,
        Self::RetryUnsaid,
        Self::HoleHides,
        Self::MissingUnrefused,
        Self::ReturnedIsFree,
        Self::ForgottenUnsaid,
        Self::LockErrorRefuses,
        Self::SegmentUnnamed,
    ];

    /// Breaks the rule for engines of this thread, or none from now on.
    #[cfg(mutant)]
    pub fn choose(rule: Option<Self>) {
        CHOSEN.set(rule);
    }

    /// Whether the rule is broken on this thread.
    #[cfg(mutant)]
    #[must_use]
    pub fn is_chosen(self) -> bool {
        CHOSEN.get() == Some(self)
    }

    /// Never.
    #[cfg(not(mutant))]
    #[inline(always)]
    pub(crate) const fn is_chosen(self) -> bool {
        false
    }
}
