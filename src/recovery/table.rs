//! The table: what a place found at recovery means, and what is done about it.
//!
//! docs/recovery.md has the same rows with the same labels and the reason of each; every row has
//! a test that begins with its label. [`whole`] and [`hole`] are the two decisions about the log;
//! the other rows are about files and directories and are ruled where those are opened.

use std::fmt;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Case {
    /// A whole block above everything named: kept, and made durable again.
    R1,
    /// A hole at or below something named: damage. Copied aside, voided, counted, its range kept.
    R2,
    /// A hole that nothing names, with a whole block behind it: unknown. Voided.
    R3,
    /// A whole block of a life that a later one has ended: void.
    R4,
    /// Nothing whole behind the last block, nothing named: a torn tail. Its sequences are voided.
    R5,
    /// A segment whose header is damaged, and in which a block tells whose it is: header made again.
    R6,
    /// A segment that is missing and has events that wait, or the end of the log: refused or, if told
    /// to, gone on without, its events given up.
    R7,
    /// A place that cannot be read, twice: refused or, in a degraded opening, left out. Nothing is
    /// voided.
    R8,
    /// A file or channel whose making was interrupted: finished or done again. A listed directory
    /// that is no part of the channel yet, while none is missing: added.
    R9,
    /// A newer format: refused.
    R10,
    /// Files of another channel, or of nobody: left alone; in a member's place refused.
    R11,
    /// The first block of a life is gone, later ones are whole: they are kept.
    R12,
    /// A checkpoint slot or the checkpoint directory is damaged or lost: the log suffices.
    R13,
    /// A member file is damaged, lost or another directory's, where others or the directory's own
    /// log vouch for it: written again.
    R14,
    /// A data directory is missing: refused or, in a degraded opening, left out.
    R15,
    /// A segment that came back after its events were given up: left alone until they are put again.
    R16,
}

impl Case {
    /// All rows, in order.
    pub const ALL: [Self; 16] = [
        Self::R1,
        Self::R2,
        Self::R3,
        Self::R4,
        Self::R5,
        Self::R6,
        Self::R7,
        Self::R8,
        Self::R9,
        Self::R10,
        Self::R11,
        Self::R12,
        Self::R13,
        Self::R14,
        Self::R15,
        Self::R16,
    ];

    /// Whether something promised is gone.
    #[must_use]
    pub fn is_damage(self) -> bool {
        matches!(self, Self::R2 | Self::R6 | Self::R7 | Self::R12)
    }

    /// Whether a crash or a change of the configuration leaves such a place on a sound disk: nothing is lost,
    /// and nobody has to do anything.
    #[must_use]
    pub fn is_ordinary(self) -> bool {
        matches!(self, Self::R1 | Self::R3 | Self::R4 | Self::R5 | Self::R9)
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What is known about a whole block behind the joined watermark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    /// It belongs to the log: no later life has ended it.
    pub(super) live: bool,
    /// Something names its number, or a higher one, as durable.
    pub(super) named: bool,
    /// Its life is known by a record, or it is not the first of its life that was found.
    pub(super) life_known: bool,
}

/// Rules on a whole block. A named one in a known life is as it should be and gets no row.
pub(super) fn whole(block: &Whole) -> Option<Case> {
    match block {
        Whole { live: false, .. } => Some(Case::R4),
        Whole { life_known: false, .. } => Some(Case::R12),
        Whole { named: false, .. } => Some(Case::R1),
        Whole { .. } => None,
    }
}

/// What is known about a place where blocks or sequences are missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    /// Block numbers are missing, not only sequences.
    pub(super) blocks_missing: bool,
    /// Something names the first of those numbers, or a higher one, as durable.
    pub(super) block_named: bool,
    /// Events are missing that something names as durable.
    pub(super) events_promised: bool,
    /// An acknowledgement names a sequence behind the last block: it was durable once.
    pub(super) taken_from: bool,
    /// A later life starts above: an earlier opening has ruled on this hole.
    pub(super) judged_before: bool,
    /// A whole block of the log stands behind it.
    pub(super) whole_behind: bool,
    /// Sequences are missing that nothing names.
    pub(super) events_unpromised: bool,
    /// The segment in which it lies is there.
    pub(super) segment_there: bool,
}

/// Rules on a hole. A jump of the sequences over void ones gets no row.
pub(super) fn hole(hole: &Hole) -> Option<Case> {
    match hole {
        Hole { events_promised: true, segment_there: false, .. } => Some(Case::R7),
        Hole { events_promised: true, .. } => Some(Case::R2),
        Hole { taken_from: true, .. } => Some(Case::R2),
        // No event is missing, but the block was durable: acknowledgements may come back.
        Hole { blocks_missing: true, block_named: true, judged_before: false, .. } => {
            Some(Case::R2)
        }
        Hole { blocks_missing: true, whole_behind: true, .. } => Some(Case::R3),
        Hole { events_unpromised: true, whole_behind: true, .. } => Some(Case::R3),
        Hole { whole_behind: true, .. } => None,
        Hole { .. } => Some(Case::R5),
    }
}
