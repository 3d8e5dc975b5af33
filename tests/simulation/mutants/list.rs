//! What is broken, and which campaign has to notice it.

use millpond::disk::sim::{Lie, Mutant};

/// Where a mutant is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Campaign {
    /// Small lives, stopped at every operation: `exhaustive.rs`.
    Scripts,
    /// Lives drawn from seeds: `random.rs`.
    Seeds,
    /// The same with sources that do not wait for an answer.
    Eager,
    /// The same on disks that are full.
    Full,
    /// Openings of which each read is refused: `reads.rs`.
    Reads,
    /// Writes that failed and land when the channel is open again: `late.rs`.
    Late,
    /// The same with writes that hang and return long after they were given up.
    Hung,
    /// Directories that disappear and come back: `away.rs`.
    Away,
    /// Bytes that change on the medium: `rot`.
    Rot,
    /// Refusals and failures after which everything has to go on: `edges.rs`.
    Edges,
}

impl Campaign {
    /// Crash states within which each of its mutants must be noticed.
    pub(super) const fn states_max(self) -> usize {
        match self {
            Self::Scripts => 1500,
            Self::Seeds | Self::Eager | Self::Full | Self::Hung => 12_000,
            // What one rule forgets another one nearly always covers when a directory is away, or a
            // write lands late.
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
    /// The door to storage.
    Door(Mutant),
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
    /// Its name in the table.
    pub(super) fn name(&self) -> String {
        match self.breaks {
            Breaks::Rule(name) => name.to_owned(),
            Breaks::Door(Mutant { lie, path_contains: "" }) => format!("{lie:?}"),
            Breaks::Door(Mutant { lie, path_contains }) => format!("{lie:?} {path_contains}"),
        }
    }
}

const fn door(door: Mutant, campaign: Campaign, broken: &'static str) -> Hunt {
    Hunt { breaks: Breaks::Door(door), campaign, broken }
}

const fn rule(name: &'static str, campaign: Campaign, broken: &'static str) -> Hunt {
    Hunt { breaks: Breaks::Rule(name), campaign, broken }
}

use Campaign::{Away, Eager, Edges, Full, Hung, Late, Reads, Rot, Scripts, Seeds};

/// Every mutant.
pub(super) const HUNTS: &[Hunt] = &[
    door(
        Lie::SkipFileSync.about("segment"),
        Seeds,
        "no sync of a segment's file, new or recovered",
    ),
    door(Lie::SkipFileSync.about("member"), Scripts, "no sync of a member file when it is made"),
    door(
        Lie::SkipFileSync.about("data0/checkpoint"),
        Full,
        "no sync of a stripe's checkpoint file when it is made",
    ),
    door(Lie::SkipLength.everywhere(), Scripts, "a file's sync forgets its length"),
    door(Lie::SkipDirSync.about("data"), Scripts, "no sync of a data directory"),
    door(
        Lie::ForgetNewDirectory.everywhere(),
        Scripts,
        "the name of a new directory is not synced",
    ),
    door(
        Lie::SubmitNotDurable.about("segment"),
        Seeds,
        "a write to the log is answered from a cache",
    ),
    door(
        Lie::SubmitNotDurable.about("member"),
        Scripts,
        "what a member file says is written to a cache",
    ),
    door(
        Lie::SubmitNotDurable.about("data0/checkpoint"),
        Full,
        "a stripe's checkpoint is written to a cache",
    ),
    door(Lie::HalfWrite.everywhere(), Seeds, "half of a write stays in a cache"),
    door(Lie::SwapWrites.everywhere(), Seeds, "of two writes the second arrives first"),
    door(Lie::HideSyncErrors.everywhere(), Seeds, "a sync that failed is believed"),
    door(Lie::HideWriteErrors.everywhere(), Seeds, "a write that failed is believed"),
    door(Lie::LockAnyway.everywhere(), Seeds, "a lock that is held is granted"),
    door(
        Lie::SilentBuffering.about(""),
        Seeds,
        "storage that buffers what it takes for direct is driven as if it wrote directly",
    ),
    door(
        Lie::SharedBlocks.about(""),
        Seeds,
        "blocks of the log share physical blocks of the device, which tear",
    ),
    rule("PublishedOverGaps", Seeds, "the watermark goes over a write that has not completed"),
    rule("FenceBehind", Seeds, "a fence is written behind the frames that it frees"),
    rule("VoidForgotten", Seeds, "what a failed write made void is not in the state"),
    rule(
        "MovedIsDurable",
        Seeds,
        "a commit is answered when its frame moves, not when it is durable",
    ),
    rule("HauntedSegment", Hung, "a segment is used while a write that was given up may reach it"),
    rule("AckOnOneStripe", Away, "an acknowledgement goes to one of its stripes"),
    rule(
        "AckNamedEarly",
        Seeds,
        "a state record names a part of an acknowledgement that is not durable",
    ),
    rule("SlotAckUnwritten", Full, "an acknowledgement is answered although its checkpoint failed"),
    rule("PositionsOverlap", Eager, "a source has two positions on their way"),
    rule("RecycledEarly", Seeds, "a segment is used again while events in it wait"),
    rule("OneSlot", Full, "a checkpoint is written over the only good one"),
    rule("OnePhase", Scripts, "a channel is made in one phase"),
    rule("ReadFailedIsEnd", Reads, "a failed read is taken for a tear"),
    rule("SequenceReused", Seeds, "sequences behind the last whole block are given out again"),
    rule("KeptNotFlushed", Seeds, "what recovery keeps is not made durable again"),
    rule(
        "FreeNotWiped",
        Late,
        "free segments are not made invalid, and one that lands late counts",
    ),
    rule("LogNotEnded", Late, "an opening does not end the logs: a write that lands late counts"),
    rule("FenceUnread", Scripts, "recovery reads no fence"),
    rule("NothingAdopted", Away, "an opening without a directory notes nothing of what it keeps"),
    rule("DamageUnsaid", Rot, "events that are lost below a name are void, and not counted"),
    rule("VoidsAreHoles", Edges, "void ranges behind the next event keep it from being lent"),
    rule("LargeRefusalForAll", Edges, "a large put for which there is no space refuses all"),
    rule("FailedFileReused", Edges, "a file whose sync failed is not opened anew"),
    rule("SlotTriedForEver", Edges, "a checkpoint slot that cannot be written is tried for ever"),
    rule("HungWhateverSize", Edges, "a large write hangs after the time of a small one"),
    rule("PoolByNumber", Edges, "free segments are kept by their number, however large"),
    rule("RetryUnsaid", Edges, "who waits for a refused read is not woken for the next try"),
    rule("HoleHides", Rot, "recovery reads no further than the first place without a block"),
    rule("MissingUnrefused", Edges, "an opening gives up the events of a missing segment unasked"),
    rule(
        "ReturnedIsFree",
        Edges,
        "a segment that came back after it was given up is taken for free",
    ),
    rule("ForgottenUnsaid", Edges, "nothing stands in the place of a position that is forgotten"),
    rule("LockErrorRefuses", Edges, "a lock file that cannot be written refuses the other disks"),
    rule("SegmentUnnamed", Edges, "no checkpoint is begun for a segment that was taken into use"),
];
