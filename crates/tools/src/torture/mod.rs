//! Crash testing for the user's own disks: a channel that is killed and opened again and again.
//!
//! # Limits
//!
//! Unix. As many data directories as a channel may have; a run's memory grows with the waiting
//! events and with eight bytes for each opening.
//!
//! # Overview
//!
//! [`run()`] starts the same binary again as a child ([`child`]). The child opens a channel, notes
//! what is in it, and lets producers and takers work; each writes a note before it calls the
//! channel and after the call returned ([`note`]). It is killed from outside at a random time, or
//! kills itself at a chosen disk call ([`faulty_disk`]): at the nth write of a checkpoint, in the
//! middle of recycling a segment, while recovering. The next child opens what is left, and the
//! oracle ([`oracle`]) judges it. The contents of every event follow from the seed
//! ([`transaction_shape`]), so notes carry names only.
//!
//! For power cuts there are two phases ([`phases`]): one that writes and sends its notes away, to a
//! file on another disk or to [`phases::collect`] on another host, and one that judges what the
//! power cut left.
//!
//! # Invariants
//!
//! - No call on the channel begins before its note has left the process.
//! - Only what a test made is ever removed ([`scratch_dirs`]).

mod child;
mod crash_point;
mod faulty_disk;
mod full_disk;
mod note;
mod note_writer;
mod oracle;
pub mod phases;
mod plan;
mod process;
mod producer;
mod report;
mod run;
mod run_state;
mod scratch_dirs;
mod seed_stream;
mod taker;
mod transaction_shape;
mod workload_process;

pub use child::run_child;
pub use crash_point::CrashPoint;
pub use faulty_disk::DiskLie;
pub use oracle::{EventCounts, ViolationKind};
pub use process::CHILD_COMMAND;
pub use report::{FullDisk, TortureReport};
pub use run::{QUOTA_BYTES_MIN, RunLimit, RunOptions, TortureError, run};
pub use scratch_dirs::ScratchDirError;
