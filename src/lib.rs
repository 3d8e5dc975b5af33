//! A durable file channel, as a library, and an agent around it.
//!
//! A [`FileChannel`](channel::file::FileChannel) is a queue of events on one or several disks. What a
//! put has committed is there after a crash and a power cut; what a take has committed never comes again.
//!
//! ```
//! use millpond::channel::Channel;
//! use millpond::channel::file::{FileChannel, FileChannelOptions};
//! use millpond::event::Event;
//!
//! # let dir = tempfile::tempdir()?;
//! # let at = |name: &str| dir.path().join(name);
//! // A directory for its checkpoints, and one for events on each disk.
//! let mut options = FileChannelOptions::new(at("checkpoint"), [at("disk1"), at("disk2")]);
//! # options.segment_bytes = 1 << 20;
//! options.minimum_required_space = 1 << 20; // leave a MiB of each disk to others
//! let channel = FileChannel::open(options)?;
//!
//! let mut put = channel.begin_put();
//! put.put(Event::new("first"))?;
//! put.put(Event::new("second"))?;
//! if let Err(failure) = put.commit() {
//!     // Refused, it comes back with its events. In doubt, it does not: only a reopened channel knows.
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
//! take.commit()?; // or rollback(), or drop it: then they come again, in their order
//! channel.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! * One process has a channel at a time; its threads share it, and clones are the same channel.
//! * One group of readers: takers share the events, each event goes to one of them.
//! * A queue: events come in the order of their commits, and there is no reading from a place again.
//! * 1 to 32 directories for events; an event has up to 256 MiB of headers and body, and fits one
//!   transaction.
//! * Linux.
//!
//! # Where to go from here
//!
//! [`channel`] has what every channel can do: transactions, positions of sources, errors, and the same
//! as futures, which need no particular runtime. [`channel::file`] is the durable one,
//! [`channel::memory`] and [`channel::spillable`] are others behind the same trait. The other modules are the
//! engine's floors; a user of the library needs [`event`] and, for times in tests, [`base::clock`].
//!
//! `--no-default-features` builds this library alone; the feature `agent` (default) adds sources, sinks,
//! configuration files and the command line. DESIGN.md is the map.

#[cfg(feature = "agent")]
pub mod admin;
#[cfg(feature = "agent")]
pub mod agent;
pub mod base;
#[cfg(feature = "agent")]
pub mod bench;
pub mod channel;
#[cfg(feature = "agent")]
pub mod cli;
#[cfg(feature = "agent")]
pub mod codes;
#[cfg(feature = "agent")]
pub mod config;
pub mod disk;
pub mod event;
#[cfg(feature = "agent")]
pub mod flow;
#[cfg(feature = "agent")]
pub mod graph;
pub mod log;
pub mod metrics;
#[cfg(feature = "agent")]
pub mod monitor;
#[cfg(feature = "agent")]
pub mod net;
#[cfg(feature = "agent")]
pub mod pattern;
pub mod record;
pub mod recovery;
#[cfg(feature = "agent")]
pub mod sink;
#[cfg(feature = "agent")]
pub mod source;
#[cfg(feature = "agent")]
pub mod top;
#[cfg(feature = "agent")]
pub mod torture;
#[cfg(feature = "agent")]
pub mod wire;
