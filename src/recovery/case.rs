//! The rows of the decision table.

use std::fmt;

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Case {
    /// A whole block above everything named: kept, and made durable again.
    R1,
    /// A hole at or below something named: damage. Copied aside, voided, counted, its range kept.
    R2,
    /// A hole that nothing names, with a whole block after it: unknown. Voided.
    R3,
    /// A whole block of an epoch that a later one has ended: void.
    R4,
    /// Nothing whole after the last block, nothing named: a torn tail. Its sequences are voided.
    R5,
    /// A segment whose header is damaged, and of which a block names the owner: header rebuilt.
    R6,
    /// A missing segment that has waiting events, or the end of the log: refused or, if so
    /// configured, opened without it; its events are given up.
    R7,
    /// A place that cannot be read, twice: refused or, in a degraded opening, left out. Nothing is
    /// voided.
    R8,
    /// A file or channel whose creation was interrupted: finished or repeated. A listed directory
    /// that is not part of the channel yet, while none is missing: added.
    R9,
    /// A newer format: refused.
    R10,
    /// Files of another channel, or of unknown origin: left alone; in a member's place refused.
    R11,
    /// The first block of an epoch is lost, later ones are whole: they are kept.
    R12,
    /// A checkpoint slot or the checkpoint directory is damaged or lost: the log suffices.
    R13,
    /// A member file is damaged, lost or another directory's, where others or the directory's own
    /// log identify it: written again.
    R14,
    /// A data directory is missing: refused or, in a degraded opening, left out.
    R15,
    /// A segment that came back after its events were given up: left alone until they are put
    /// again.
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

    /// Returns whether acknowledged data is lost.
    #[must_use]
    pub fn is_damage(self) -> bool {
        matches!(self, Self::R2 | Self::R6 | Self::R7 | Self::R12)
    }

    /// Returns whether a crash or a configuration change leaves such a place on a sound disk:
    /// nothing is lost, and no action is needed.
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
