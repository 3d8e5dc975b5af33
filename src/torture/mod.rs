//! Crash testing for the user's own disks: a channel that is killed and opened again and again.
//!
//! # Limits
//!
//! Unix. Data directories as many as a channel may have; a run's memory grows with the events that
//! wait and with eight bytes for each opening.
//!
//! # The story
//!
//! [`run()`] starts the same binary again as a child ([`child`]). The child opens a channel, tells
//! what is in it, and lets producers and takers work; each says before it asks the channel and after
//! the channel answered ([`note`]). It is killed from outside at a random time, or kills itself at a
//! chosen call of the door to storage ([`door`]): at the nth write of a checkpoint, in the middle of
//! recycling a segment, while recovering. The next child opens what is left, and the oracle
//! ([`oracle`]) judges it. What every event holds follows from the seed ([`shape`]), so notes carry
//! names only.
//!
//! For power cuts there are two phases ([`phases`]): one that writes and sends its notes away, to a
//! file on another disk or to [`phases::collect`] on another host, and one that judges what the
//! power cut left.
//!
//! # Invariants
//!
//! - Nothing is asked of the channel before the note that says so is out of the process.
//! - Only what a test made is ever removed ([`ground`]).

mod child;
mod door;
mod draw;
mod full;
mod ground;
mod life;
mod moment;
mod note;
mod oracle;
pub mod phases;
mod plan;
mod process;
mod producer;
mod report;
mod run;
mod shape;
mod taker;
mod voice;

pub use child::live;
pub use door::Lie;
pub use ground::GroundError;
pub use moment::Moment;
pub use oracle::{Counts, Kind};
pub use process::CHILD_COMMAND;
pub use report::{FullDisk, Report};
pub use run::{Limit, QUOTA_BYTES_MIN, RunOptions, TortureError, run};
