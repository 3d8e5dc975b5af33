//! What others speak on the network and in pipes: bytes to values and back, without sockets, threads or clocks.
//!
//! One folder or file for each protocol. Decoders take what any peer may send: they are bounded by limits
//! of [`crate::base::limits`], allocate for what has arrived and never for what was announced, and
//! refuse with an error.

pub mod avro;
pub(crate) mod charset;
pub mod external;
pub mod irc;
pub mod json_events;
pub mod syslog;
pub mod syslog_relayed;
pub(crate) mod text;
pub mod thrift;
