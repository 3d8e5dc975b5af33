//! Mutations: rules of the engine that can be broken on purpose, one at a time, to check that the campaigns notice it
//! (docs/campaigns.md, "Mutants").
//!
//! Only a build with `--cfg mutant` can break a rule, and only once a thread chooses one. In every other build
//! [`Mutation::is_active`] is the constant `false`, which the compiler removes. Each rule is broken in one place.

/// A broken rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(mutant), allow(unreachable_pub))]
pub enum Mutation {
    /// A completed write publishes earlier ones that have not completed.
    PublishedOverGaps,
    /// A fence is written after the frames that it frees.
    FenceBehind,
    /// The void range of a failed write is not in the state.
    VoidForgotten,
    /// A commit whose write failed returns when its frame is moved, not when it is durable.
    MovedIsDurable,
    /// A segment is free although a write that was given up may still reach it.
    SegmentReusedUnderWrite,
    /// An acknowledgement is written to only one of the stripes whose events it names.
    AckOnOneStripe,
    /// A state record contains a part of an acknowledgement that is not durable.
    AckNamedEarly,
    /// An acknowledgement that waits for a checkpoint completes although none was written.
    SlotAckUnwritten,
    /// A source may have two source offsets in flight.
    SourceOffsetsOverlap,
    /// A segment is recycled while events in it wait.
    RecycledEarly,
    /// A slot file overwrites its newest valid value.
    OneSlot,
    /// A channel is created in one phase: no directory says `creating`.
    OnePhase,
    /// A failed read at recovery is taken for the end of the file.
    ReadFailedIsEnd,
    /// The sequences after the last whole block are reused, whatever refers to them.
    SequenceReused,
    /// What recovery keeps is not made durable again.
    KeptNotFlushed,
    /// Segments that recovery finds free are not wiped, and a segment of an ended epoch that reappears there counts.
    FreeNotWiped,
    /// The end of the log that recovery kept is not recorded.
    LogNotEnded,
    /// Recovery reads no fence.
    FenceUnread,
    /// An opening without a directory does not record which events it keeps.
    NothingAdopted,
    /// What is missing below something that is referred to is void and not counted as damage.
    DamageUnsaid,
    /// Void ranges after the next event count as holes that lending it would leave.
    VoidsAreHoles,
    /// A segment that could not be made for a large put refuses the small ones too.
    LargeRefusalForAll,
    /// A segment whose write failed is used again through the same open file.
    FailedFileReused,
    /// A checkpoint slot that cannot be written is tried forever.
    SlotTriedForEver,
    /// A write counts as hung after the same time, whatever its size.
    HungWhateverSize,
    /// Free segments are kept by their number only.
    PoolByNumber,
    /// Waiting takers are not woken when a refused read may be tried again.
    RetryUnsaid,
    /// Recovery reads no further than the first place without a block.
    HoleHides,
    /// An opening continues without a segment file in which events wait, although it was not allowed to.
    MissingUnrefused,
    /// A segment file that came back after its events were given up is taken for a free one.
    ReturnedIsFree,
    /// A forgotten source offset is removed from the state without a tombstone.
    ForgottenUnsaid,
    /// A degraded opening is refused by a lock file that cannot be written.
    LockErrorRefuses,
    /// A segment taken into use is not named until a checkpoint is due for another reason.
    SegmentUnnamed,
}

#[cfg(mutant)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

impl Mutation {
    /// Every rule.
    #[cfg(mutant)]
    pub const ALL: [Self; 33] = [
        Self::PublishedOverGaps,
        Self::FenceBehind,
        Self::VoidForgotten,
        Self::MovedIsDurable,
        Self::SegmentReusedUnderWrite,
        Self::AckOnOneStripe,
        Self::AckNamedEarly,
        Self::SlotAckUnwritten,
        Self::SourceOffsetsOverlap,
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

    /// Breaks the rule for engines of this thread, or none.
    #[cfg(mutant)]
    pub fn choose(rule: Option<Self>) {
        CHOSEN.set(rule);
    }

    /// Whether the rule is broken on this thread.
    #[cfg(mutant)]
    #[must_use]
    pub fn is_active(self) -> bool {
        CHOSEN.get() == Some(self)
    }

    /// Whether the rule is broken: never in this build.
    #[cfg(not(mutant))]
    #[inline(always)]
    pub(crate) const fn is_active(self) -> bool {
        false
    }
}
