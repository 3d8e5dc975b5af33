//! The striped log as a pure machine: no threads, no clock, no disk of its own.
//!
//! # The story
//!
//! [`Log`] holds the stripes of a channel. A committer *reserves* a frame in a stripe's open block
//! (an offset bump), leaves the lock, and *fills* it. Whoever finds that a write may start asks
//! for a [`WriteJob`], runs it and reports the result; blocks that are durable without a gap are
//! *published*: their effects enter the durable state, their events the readers' window, their
//! committers' [`Fate`](fate::Fate) is settled. The machine never blocks and never calls back: it
//! is handed the time, and what is to be woken lies in [`Log::take_wakes`] afterwards.
//!
//! # Invariants
//!
//! * A block's sequences are fixed when it opens; its number, place and write order when its write
//!   starts. `(epoch nonce, number, segment, offset)` is written with one content only.
//! * The durable state names only what lies at or below a watermark, transactions whole.
//! * A segment's first block is a state record, started only when nothing is in flight on the
//!   stripe; so only a stripe's last segment can be torn.
//! * The first block of an epoch is written alone.
//! * What was reserved is never taken back: it becomes durable, void, moved or in doubt.

mod ahead;
pub mod block;
mod complete;
mod events;
mod fail;
pub mod fate;
pub mod forget;
pub mod job;
pub mod lease;
pub mod lend;
mod machine;
mod progress;
pub mod ready;
mod reopen;
mod reserve;
mod resume;
mod start;
mod stripe;
mod vanish;

pub use events::{Acknowledgement, Counts, Gathered};
pub use job::WriteJob;
pub use lend::{Lent, ReadJob, ReadOutcome};
pub use machine::{Log, LogSettings, Said, Wakes};
pub use progress::{CheckpointPlan, StripeReport};
pub use reserve::{Admission, PutShape};
pub use stripe::{FreeSegment, LiveSegment, StripeStart};
