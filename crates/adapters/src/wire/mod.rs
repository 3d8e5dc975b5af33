//! Protocols of the network and of pipes: bytes to values and back, without sockets, threads or clocks.
//!
//! One folder or file for each protocol. Decoders accept bytes from any peer: they are bounded by the limits of
//! [`millpond_flow::base::limits`], allocate for received bytes and never for announced ones, and return errors.

pub mod avro;
pub mod irc;
pub mod json_events;
pub mod syslog;
pub mod syslog_relayed;
pub(crate) mod text;
pub mod thrift;
