//! Bytes to values and back: everything the channel writes to a disk. Pure: no I/O, no clock.
//!
//! # Limits
//!
//! Every length and count is checked against the bytes that are there before anything is allocated
//! for it. A state record has at most [`STATE_BYTES_MAX`](crate::base::limits::STATE_BYTES_MAX)
//! bytes, a frame's payload less than 4 GiB. Little-endian, fixed widths.
//!
//! # Story
//!
//! A stripe's log is a row of [`segment`]s, each begins with a header and holds [`block`]s. A block
//! is what one write carries: a header and [`frame`]s. A frame is one transaction or one record of
//! the log's own: its [`body`] is a put's prefix and [`event`]s, an acknowledgement, a fence, a
//! loss, or a [`state`] record. State records and [`member`] records also stand in [`slot`]s, two
//! to a file, written in turn. docs/format.md draws it all; a test ties that page to this module.
//!
//! # Invariants
//!
//! - Every value has one encoding, and what is accepted encodes as the same bytes again.
//! - Decoders take any bytes: they answer a [`Refusal`], never panic, and never loop.
//! - Whatever has a version has its checksum looked at first: rot never reads as "newer program".
//! - Encoders panic only on a buffer that is shorter than they said it must be.

pub mod block;
pub mod body;
mod cursor;
pub mod event;
pub mod frame;
pub mod fuzz;
pub mod member;
mod refusal;
pub mod segment;
pub mod slot;
pub mod state;
mod state_codec;

pub use refusal::Refusal;

#[cfg(test)]
mod format_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod round_trip_tests;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

use crate::base::ids::{BlockNumber, EpochNumber, SegmentId, Sequence, WriteOrder};

/// A stripe's life: number, random nonce, and the first block that belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Grows at each opening and after each failed write.
    pub number: EpochNumber,
    /// Random, so that two lives with one number (after a disk was missing) tell apart.
    pub nonce: u64,
    /// First block of this life. Blocks of earlier lives from this number on are void.
    pub start: BlockNumber,
}

/// Up to where a stripe is durable: the end of its last durable block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    /// The last durable block; blocks count from 1, so 0 says that there is none.
    pub block: BlockNumber,
    /// The sequence behind its last event.
    pub sequence: Sequence,
    /// Its write order.
    pub order: WriteOrder,
    /// The segment it lies in; segments count from 1, so 0 says that there is none.
    pub segment: SegmentId,
    /// Where it ends in that segment, bytes.
    pub end_offset: u64,
}
