//! The on-disk format: encoding and decoding of everything that the channel writes. Pure: no I/O, no clock.
//!
//! # Limits
//!
//! Every length and count is checked against the available bytes before anything is allocated for it. A state record
//! has at most [`STATE_BYTES_MAX`](crate::base::limits::STATE_BYTES_MAX) bytes, a frame's payload less than 4 GiB.
//! Little-endian, fixed widths.
//!
//! # Structure
//!
//! A stripe's log is a series of [`segment`]s; each begins with a header and holds [`block`]s. A block is the content
//! of one write: a header and [`frame`]s. A frame is one transaction or one record of the log's own: its [`body`] is a
//! put's prefix and [`event`]s, an acknowledgement, a fence, a loss, or a [`state`] record. State records and
//! [`member`] records are also kept in [`slot`]s, two to a file, written in turn. docs/format.md has the layouts; a
//! test compares that page with this module.
//!
//! # Invariants
//!
//! - Every value has one encoding, and accepted bytes encode as the same bytes again.
//! - Decoders take any bytes: they return a [`DecodeError`], never panic, and never loop.
//! - The checksum of a versioned structure is checked before its version: damage never reads as "newer program".
//! - Encoders panic only on a buffer shorter than their stated length.

pub mod block;
pub mod body;
mod cursor;
mod decode_error;
pub mod event;
pub mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod member;
pub mod segment;
pub mod slot;
pub mod state;
mod state_codec;

pub use decode_error::DecodeError;

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

/// A stripe's epoch: number, random nonce, and the first block that belongs to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Grows at each opening and after each failed write.
    pub number: EpochNumber,
    /// Random, to distinguish two epochs with one number (after a disk was missing).
    pub nonce: u64,
    /// First block of this epoch. Blocks of earlier epochs from this number on are void.
    pub start: BlockNumber,
}

/// The position up to which a stripe is durable: the end of its last durable block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Watermark {
    /// The last durable block; blocks count from 1, so 0 says that there is none.
    pub block: BlockNumber,
    /// The sequence after its last event.
    pub sequence: Sequence,
    /// Its write order.
    pub order: WriteOrder,
    /// Its segment; segments count from 1, so 0 says that there is none.
    pub segment: SegmentId,
    /// Its end in that segment, bytes.
    pub end_offset: u64,
}
