//! The content of one ZooKeeper node, followed while it changes: configurations that are kept in an ensemble.
//!
//! Limits: a node has at most as many bytes as a configuration file, 16 MiB; a server's message is a little longer.
//! An ensemble has at most [`address::SERVERS_MAX`] servers. A connection takes at most
//! [`session::CONNECT_TIMEOUT`], TLS and the beginning of the session included.
//!
//! # How it works
//!
//! [`wire`] has the bytes of the protocol, [`session`] a session with one server, [`follower`] the task that reads
//! the node, waits for its watch and reads again. It connects to another server when one is lost. Each connection is
//! a new session: nothing that a session owns is used here, so an expired one costs nothing.
//!
//! The client is own code because only two requests are needed, and because the TLS of the published clients comes
//! with a C library (`aws-lc-sys`) and reads no key stores of Java.
//!
//! # Invariants
//!
//! - What was read last stays, however long the ensemble is away: only its own reply replaces it.
//! - A server that has not yet applied what another one has shown is not used while the other ones can be reached.
//! - No password is logged.
//! - Whatever bytes a server sends, the client ends with an error at most.

pub mod access;
pub mod address;
mod error;
pub mod follower;
pub mod session;
#[cfg(test)]
mod test_server;
mod wire;

pub use error::ZooKeeperError;
