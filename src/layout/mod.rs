//! The files of a channel: their names, and every way in which one is created, written, read back,
//! checked and removed.
//!
//! A data directory holds a lock, a member file, a file with two checkpoint slots, segment files,
//! and copies of damaged bytes; `checkpointDir` has the first three. What their bytes mean is in
//! [`record`](crate::record); what is done about what a crash left, in
//! [`recovery`](crate::recovery); when a file is created or removed while a channel runs, in
//! [`channel::file`](crate::channel::file). Nothing here decides, and nothing here logs but
//! [`CheckpointSlots`], which skips a slot that cannot be written.
//!
//! # Limits
//!
//! * A failed read is tried once more; a failed write never, but in a file that was opened or
//!   created anew.
//! * [`quarantine`]: [`QUARANTINE_BYTES_MAX`](crate::base::limits::QUARANTINE_BYTES_MAX) of copies
//!   for each directory.
//!
//! # Invariants
//!
//! * A file that was created is durable, name and length, before its first use.
//! * A value is written to the slot that does not hold the newest whole one.
//! * Every failure names the file, and keeps its cause ([`LayoutError`]).

mod aligned_buffer;
mod checkpoint_slots;
mod durable_file;
mod error;
mod file_watch;
mod member_file;
mod names;
pub mod quarantine;
mod segment_file;
mod segment_reader;
mod slot_file;
mod zeroed_file;

pub(crate) use aligned_buffer::{AlignedBuffer, read_at, write_at};
pub(crate) use checkpoint_slots::CheckpointSlots;
pub(crate) use durable_file::{create_file, open_file};
pub use error::LayoutError;
pub(crate) use file_watch::{SegmentChange, is_in_place, segment_change};
pub(crate) use member_file::{MemberClaim, read_member, write_member, write_member_again};
pub(crate) use names::is_own_name;
pub use names::{CHECKPOINT_NAME, LOCK_NAME, MEMBER_NAME, segment_name, segment_slot};
pub(crate) use segment_file::{
    HEAD_BYTES, remove_segment, reopened_segment, segment_header, wipe_segment, write_header,
    write_header_copy,
};
pub(crate) use segment_reader::{ExpectedBlocks, PieceMemory, Probe, ReusedBuffer, SegmentReader};
pub use slot_file::SlotFile;
pub(crate) use slot_file::{SlotContents, SlotValue, read_slots};
pub use zeroed_file::{ZeroedFile, make_zeroed};
