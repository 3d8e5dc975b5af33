//! The values that pass between the machine and its driver.

use super::block::Reservation;
use super::block_completion::BlockCompletion;
use std::sync::Arc;

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Events whose put is durable.
    pub put: u64,
    /// Events whose acknowledgement is durable.
    pub taken: u64,
    /// Block writes that succeeded.
    pub writes: u64,
    /// Bytes of these writes.
    pub written_bytes: u64,
    /// Block writes that failed or were abandoned.
    pub failed_writes: u64,
    /// Segments taken into use.
    pub rolls: u64,
    /// Segments that came free.
    pub recycled: u64,
    /// Acknowledgements written to checkpoint slots because the log had no room.
    pub slot_acks: u64,
}

/// How an acknowledgement is written.
#[derive(Debug)]
pub enum Acknowledgement {
    /// As a frame in each of these blocks; done when all are durable.
    Frames(Vec<Reservation>),
    /// In the next checkpoint: the log has no room.
    Slot(Arc<BlockCompletion>),
}

/// The content of a stripe's next write, which could start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingWrite {
    /// Commits.
    pub frames: usize,
    /// Whether they are so few bytes that a few more would not make the write slower.
    pub small: bool,
}
