//! Sources: doors through which events come in. One adapter is one file and one line in
//! [`TYPES`].
//!
//! An adapter speaks a protocol and loops. What is shared between adapters stands beside them:
//! [`listener`] (TCP sessions with a limit), [`filter`] (who may come in), [`client_names`] (names of clients by DNS), [`framed`] (requests in frames),
//! [`stride`] (how much is read at a time), [`patience`] (commits that wait until a channel takes them), [`reading`] (files, and
//! where one stands in them).
//!
//! Invariants: a client hears OK only after the commit; no buffer, queue or line grows beyond a
//! limit; an event that was read and not committed is either answered as failed, committed later,
//! or named in a warning.

use crate::flow::source::SourceType;

pub(crate) mod client_names;
pub(crate) mod datagrams;
pub(crate) mod filter;
pub(crate) mod framed;
pub(crate) mod listener;
pub(crate) mod patience;
pub(crate) mod reading;
pub(crate) mod stride;

mod aside;
pub mod avro;
pub mod exec;
pub mod external;
mod handshake;
mod held_ports;
pub mod http;
pub mod netcat;
pub mod netcatudp;
mod rejection_log;
mod rule_patterns;
pub mod seq;
pub mod spooldir;
pub mod stress;
pub mod syslog;
pub mod taildir;
pub mod thrift;

#[cfg(test)]
mod admission_tests;
#[cfg(test)]
mod example_tests;
#[cfg(test)]
mod memory_tests;
#[cfg(test)]
mod silence_tests;
#[cfg(test)]
pub(crate) mod trial;

/// Every type of source.
pub const TYPES: &[&SourceType] = &[
    &avro::TYPE,
    &exec::TYPE,
    &external::TYPE,
    &http::TYPE,
    &netcat::TYPE,
    &netcatudp::TYPE,
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
