//! Sources: components that receive or read events and put them into channels. An adapter is one file or folder and
//! one line in [`TYPES`].
//!
//! An adapter implements a protocol and its loop. Shared by adapters: [`listener`] (TCP sessions with a limit),
//! [`ip_filter`] (allowed client addresses), [`client_names`] (client names by DNS), [`rpc_session`] (calls and
//! replies), [`read_budget`] (bytes per read), [`commit_retry`] (commits that wait until a channel has room),
//! [`file_reading`] (files and their offsets).
//!
//! Invariants: a client receives OK only after the commit; every buffer, queue and line has a limit; an event that
//! was read and not committed is either reported to the client as failed, committed later, or named in a warning.

use millpond_flow::source::SourceType;

pub(crate) mod client_names;
pub(crate) mod commit_retry;
pub(crate) mod datagrams;
pub(crate) mod file_reading;
pub(crate) mod ip_filter;
pub(crate) mod listener;
pub(crate) mod read_budget;
pub(crate) mod rpc_session;

pub mod avro;
pub mod exec;
pub mod external;
mod handshake;
mod held_ports;
pub mod http;
mod ip_filter_patterns;
pub mod netcat;
pub mod netcat_udp;
mod parse_thread;
mod rejection_log;
pub mod seq;
pub mod spooldir;
pub mod stress;
pub mod syslog;
pub mod taildir;
pub mod thrift;

#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod idle_client_tests;
#[cfg(test)]
mod ip_filter_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
pub(crate) mod test_support;

/// All source types.
pub const TYPES: &[&SourceType] = &[
    &avro::TYPE,
    &exec::TYPE,
    &external::TYPE,
    &http::TYPE,
    &netcat::TYPE,
    &netcat_udp::TYPE,
    &seq::TYPE,
    &spooldir::TYPE,
    &stress::TYPE,
    &syslog::multiport::TYPE,
    &syslog::tcp::TYPE,
    &syslog::udp::TYPE,
    &taildir::TYPE,
    &thrift::TYPE,
    &thrift::scribe::TYPE,
];
