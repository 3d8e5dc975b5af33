//! What passes between the machine and whoever drives it.

use super::block::Reservation;
use super::fate::Fate;
use std::sync::Arc;

/// Counts since the log was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events whose put is durable.
    pub put: u64,
    /// Events whose acknowledgement is durable.
    pub taken: u64,
    /// Block writes that ended well.
    pub writes: u64,
    /// Bytes of those.
    pub written_bytes: u64,
    /// Block writes that failed or were abandoned.
    pub failed_writes: u64,
    /// Segments taken into use.
    pub rolls: u64,
    /// Segments that came free.
    pub recycled: u64,
    /// Acknowledgements that went into checkpoint slots for want of room in the log.
    pub slot_acks: u64,
}

/// How an acknowledgement goes to the disk.
#[derive(Debug)]
pub enum Acknowledgement {
    /// As a frame in each of these blocks; done when all are durable.
    Frames(Vec<Reservation>),
    /// In the next checkpoint: the log has no room.
    Slot(Arc<Fate>),
}

/// What has gathered for a stripe's next write, which could begin at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathered {
    /// Commits.
    pub frames: usize,
    /// They are so few bytes that the write takes no longer with some more.
    pub small: bool,
}
