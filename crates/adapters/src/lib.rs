//! The sources and sinks of [`millpond`] that need no heavy client, and their protocols.

pub mod sink;
pub mod source;
pub mod wire;
