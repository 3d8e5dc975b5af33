//! millpond: a durable file channel, and an agent around it.
//!
//! `--no-default-features` builds the storage library alone; the feature `agent` (default) adds
//! sources, sinks, configuration files and the command line. DESIGN.md is the map.

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
