//! The mutants, and the campaign that must notice each.

use millpond_sim::disk::{DiskMutation, Lie};

/// The campaign for a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Campaign {
    /// Small lives, stopped at every operation: `exhaustive.rs`.
    Scripts,
    /// Lives drawn from seeds: `random.rs`.
    Seeds,
    /// Those with sources that do not wait for commits.
    Eager,
    /// Those on disks that are full.
    Full,
    /// Openings with one refused read each: `reads.rs`.
    Reads,
    /// Writes that failed and land when the channel is open again: `late_writes.rs`.
    Late,
    /// Those with writes that hang and return long after they were given up.
    Hung,
    /// Directories that disappear and come back: `missing_dirs.rs`.
    Away,
    /// Bytes that change on the medium: `rot`.
    Rot,
    /// Refusals and failures after which everything must continue: `edges.rs`.
    Edges,
}

impl Campaign {
    /// Returns the crash states within which each of its mutants must be noticed.
    pub(super) const fn states_max(self) -> usize {
        match self {
            Self::Scripts => 1500,
            Self::Seeds | Self::Eager | Self::Full | Self::Hung => 12_000,
            // A broken rule is nearly always covered by another one when a directory is missing or a write lands late.
            Self::Away | Self::Late => 40_000,
            Self::Rot => 1400,
            Self::Reads => 300,
            // They have no crash.
            Self::Edges => 0,
        }
    }
}

/// What is broken.
#[derive(Clone, Copy)]
pub(super) enum Breaks {
    /// A promise of the disk.
    Disk(DiskMutation),
    /// A rule in the code, by its name.
    Rule(&'static str),
}

/// A mutant, and where it must be noticed.
#[derive(Clone, Copy)]
pub(super) struct Hunt {
    pub(super) breaks: Breaks,
    pub(super) campaign: Campaign,
    /// What is broken, for the table.
    pub(super) broken: &'static str,
}

impl Hunt {
    /// Returns its name in the table.
    pub(super) fn name(&self) -> String {
        match self.breaks {
            Breaks::Rule(name) => name.to_owned(),
            Breaks::Disk(DiskMutation { lie, path_contains: "" }) => format!("{lie:?}"),
            Breaks::Disk(DiskMutation { lie, path_contains }) => format!("{lie:?} {path_contains}"),
        }
    }
}

const fn disk(mutation: DiskMutation, campaign: Campaign, broken: &'static str) -> Hunt {
    Hunt { breaks: Breaks::Disk(mutation), campaign, broken }
}

const fn rule(name: &'static str, campaign: Campaign, broken: &'static str) -> Hunt {
    Hunt { breaks: Breaks::Rule(name), campaign, broken }
}

use Campaign::{Away, Eager, Edges, Full, Hung, Late, Reads, Rot, Scripts, Seeds};

/// Every mutant.
pub(super) const HUNTS: &[Hunt] = &[
    disk(
        Lie::SkipFileSync.about("segment"),
        Seeds,
        "no sync of a segment's file, new or recovered",
    ),
    disk(Lie::SkipFileSync.about("member"), Scripts, "no sync of a member file when it is created"),
    disk(
        Lie::SkipFileSync.about("data0/checkpoint"),
        Full,
        "no sync of a stripe's checkpoint file when it is created",
    ),
    disk(Lie::SkipLength.everywhere(), Scripts, "a file's sync forgets its length"),
    disk(Lie::SkipDirSync.about("data"), Scripts, "no sync of a data directory"),
    disk(
        Lie::ForgetNewDirectory.everywhere(),
        Scripts,
        "the name of a new directory is not synced",
    ),
    disk(
        Lie::SubmitNotDurable.about("segment"),
        Seeds,
        "a write to the log completes from a cache",
    ),
    disk(
        Lie::SubmitNotDurable.about("member"),
        Scripts,
        "a member file's content is written to a cache",
    ),
    disk(
        Lie::SubmitNotDurable.about("data0/checkpoint"),
        Full,
        "a stripe's checkpoint is written to a cache",
    ),
    disk(Lie::HalfWrite.everywhere(), Seeds, "half of a write stays in a cache"),
    disk(Lie::SwapWrites.everywhere(), Seeds, "of two writes the second arrives first"),
    disk(Lie::HideSyncErrors.everywhere(), Seeds, "a failed sync counts as done"),
    disk(Lie::HideWriteErrors.everywhere(), Seeds, "a failed write counts as done"),
    disk(Lie::LockAnyway.everywhere(), Seeds, "a lock that is held is granted"),
    disk(
        Lie::SilentBuffering.about(""),
        Seeds,
        "storage that buffers direct writes is driven as if it did not",
    ),
    disk(
        Lie::SharedBlocks.about(""),
        Seeds,
        "blocks of the log share physical blocks of the device, which tear",
    ),
    rule("PublishedOverGaps", Seeds, "the watermark passes a write that has not completed"),
    rule("FenceBehind", Seeds, "a fence is written after the frames that it frees"),
    rule("VoidForgotten", Seeds, "the void range of a failed write is not in the state"),
    rule(
        "MovedIsDurable",
        Seeds,
        "a commit returns when its frame is moved, not when it is durable",
    ),
    rule(
        "SegmentReusedUnderWrite",
        Hung,
        "a segment is used while an abandoned write may reach it",
    ),
    rule("AckOnOneStripe", Away, "an acknowledgement is written to only one of its stripes"),
    rule(
        "AckNamedEarly",
        Seeds,
        "a state record names a part of an acknowledgement that is not durable",
    ),
    rule("SlotAckUnwritten", Full, "an acknowledgement completes although its checkpoint failed"),
    rule("SourceOffsetsOverlap", Eager, "a source has two source offsets in flight"),
    rule("RecycledEarly", Seeds, "a segment is used again while events in it wait"),
    rule("OneSlot", Full, "a checkpoint is written over the only good one"),
    rule("OnePhase", Scripts, "a channel is created in one phase"),
    rule("ReadFailedIsEnd", Reads, "a failed read is taken for a tear"),
    rule("SequenceReused", Seeds, "sequences after the last whole block are reused"),
    rule("KeptNotFlushed", Seeds, "what recovery keeps is not made durable again"),
    rule("FreeNotWiped", Late, "free segments are not zeroed, and one that lands late counts"),
    rule("LogNotEnded", Late, "an opening does not end the logs: a write that lands late counts"),
    rule("FenceUnread", Scripts, "recovery reads no fence"),
    rule("NothingAdopted", Away, "an opening without a directory does not record what it keeps"),
    rule("DamageUnsaid", Rot, "events lost below a named sequence are void, and not counted"),
    rule("VoidsAreHoles", Edges, "void ranges after the next event keep it from being lent"),
    rule("LargeRefusalForAll", Edges, "a large put without space makes all puts be refused"),
    rule("FailedFileReused", Edges, "a file whose sync failed is not opened again"),
    rule("SlotTriedForEver", Edges, "a checkpoint slot that cannot be written is tried forever"),
    rule("HungWhateverSize", Edges, "a large write counts as hung after the time of a small one"),
    rule("PoolByNumber", Edges, "free segments are kept by their number, however large"),
    rule(
        "RetryUnsaid",
        Edges,
        "a taker that waits for a refused read is not woken for the next try",
    ),
    rule("HoleHides", Rot, "recovery reads no further than the first place without a block"),
    rule(
        "MissingUnrefused",
        Edges,
        "an opening without the option gives up the events of a missing segment",
    ),
    rule("ReturnedIsFree", Edges, "a segment that came back after it was given up counts as free"),
    rule("ForgottenUnsaid", Edges, "a forgotten source offset gets no tombstone"),
    rule(
        "LockErrorRefuses",
        Edges,
        "a lock file that cannot be written makes a degraded opening fail",
    ),
    rule("SegmentUnnamed", Edges, "no checkpoint is started for a segment that was taken into use"),
];
