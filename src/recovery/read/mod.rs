//! Reading: what is on the disks, before anything is decided.
//!
//! First the directories and who they are: [`members`] opens and locks them and reads their member
//! files, [`member_evidence`] corrects a file that log and checkpoints contradict, and
//! [`member_rebuild`] makes the list from the logs when no file is left. Then their contents
//! ([`contents`]), in the order of [`read_logs`]: checkpoints and segments by their headers
//! ([`inventory`]; [`salvage`] where a header is lost), the log after the newest state record
//! ([`scan`]), and what only some openings need ([`moved_copies`], [`returned_candidates`]).
//! Inspection and repair walk whole segments ([`block_walk`]).
//!
//! # Invariants
//!
//! * Nothing is written, but for locks.
//! * Only the descriptions of blocks are kept ([`stripe_reading`]), never their events.

pub(super) mod block_walk;
pub(super) mod contents;
pub(super) mod inventory;
pub(super) mod member_evidence;
pub(super) mod member_rebuild;
pub(super) mod members;
pub(super) mod moved_copies;
pub(super) mod read_logs;
pub(super) mod returned_candidates;
pub(super) mod salvage;
pub(super) mod scan;
pub(super) mod segment_file;
pub(super) mod stripe_reading;
