//! A durable file channel for events.
//!
//! A [`FileChannel`] is a queue of events on one or several disks. The events of a committed put survive a crash and a
//! power cut; those of a committed take are never delivered again.
//!
//! ```
//! use millpond::{Channel, Event, FileChannel, FileChannelOptions};
//!
//! # let dir = tempfile::tempdir()?;
//! # let at = |name: &str| dir.path().join(name);
//! // A directory for its checkpoints, and one on each disk for events.
//! let mut options = FileChannelOptions::new(at("checkpoint"), [at("disk1"), at("disk2")]);
//! # options.segment_bytes = 1 << 20;
//! options.minimum_required_space = 1 << 20; // leave a MiB of each disk to others
//! let channel = FileChannel::open(options)?;
//!
//! let mut put = channel.begin_put();
//! put.put(Event::new("first"))?;
//! put.put(Event::new("second"))?;
//! if let Err(failure) = put.commit() {
//!     // A refused transaction is returned with its events. One in doubt is not: only a reopened channel knows.
//!     match failure.transaction {
//!         Some(again) => again.commit()?,
//!         None => return Err(failure.error.into()),
//!     }
//! }
//!
//! let mut take = channel.begin_take();
//! for event in take.take(100)? {
//!     println!("{}", String::from_utf8_lossy(&event.body));
//! }
//! take.commit()?; // or rollback(), or drop it: then they are delivered again, in order
//! channel.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! * One process can open a channel at a time; its threads share it, and clones are the same channel.
//! * One group of readers: takers share the events, each event goes to one of them.
//! * A queue: events are delivered in the order of their commits, and cannot be read again from an offset.
//! * 1 to 32 directories for events; an event has up to 256 MiB of headers and body, and fits one
//!   transaction.
//! * Linux.
//!
//! # Where to go from here
//!
//! [`Channel`] has what every channel can do: transactions, source offsets, errors. Its calls that wait also exist as
//! futures, which need no particular runtime. [`FileChannel`] is the durable one, [`MemoryChannel`] and
//! [`SpillableChannel`] implement the same trait. Tests that depend on time pass in a [`ManualClock`].
//!
//! DESIGN.md is the map. [`internal`] is for the other crates of this project and not part of the interface.

mod base;
mod channel;
mod disk;
mod event;
#[doc(hidden)]
pub mod internal;
mod layout;
mod log;
mod record;
mod recovery;

// The unit tests compile the source of the simulator for themselves: in a dependency on it there would be
// another build of this crate, with other types.
#[cfg(test)]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used)]
#[path = "../crates/sim/src/contract/mod.rs"]
mod contract;
#[cfg(test)]
extern crate self as millpond;
#[cfg(test)]
#[allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used)]
#[path = "../crates/sim/src/disk/mod.rs"]
mod simulated_disk;

pub use base::clock::{Clock, ManualClock, SystemClock};
pub use base::ids::{SegmentId, StripeIndex};
pub use channel::file::{FileChannel, FileChannelOptions, OpenError, RestoreError, Restored};
pub use channel::memory::{MemoryChannel, MemoryOptions, MemoryOptionsError};
pub use channel::spillable::{SpillableChannel, SpillableOptions, SpillableOptionsError};
pub use channel::{
    BoxFuture, Channel, CloseError, CommitError, CommitFailure, CommittedOffset, EventRange,
    FaultCause, FaultKind, FaultPlace, Limits, PutAllError, PutError, PutTransaction,
    RefusedReason, Retry, Setting, SourceOffsetError, Status, StripeStatus, TakeError,
    TakeTransaction,
};
pub use event::{Event, Headers};
