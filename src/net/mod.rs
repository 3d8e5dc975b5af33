//! The one door to the network: connections in plain text or TLS, made and greeted with deadlines.
//!
//! Limits: [`TLS_HANDSHAKE_SECONDS_MAX`] for a handshake, [`KEY_STORE_BYTES_MAX`] for a key store.
//!
//! The story: a [`Stream`](stream::Stream) is a connection whatever lies under it. [`tls`] makes the
//! two ends of TLS out of Java's key and trust stores, [`zlib`] compresses below it; [`dial`] connects, and
//! [`attentive`] gives up who does not read. An
//! [`endpoint`] is where a URL leads, [`fetch`] gets what is there, and [`post`] sends something there.
//!
//! Invariants: no wait without a deadline but for the next bytes of a peer, which the caller bounds;
//! a server's certificate is verified unless a configuration says that it is not to be.

pub mod attentive;
pub mod dial;
pub mod endpoint;
pub mod fetch;
pub mod http_auth;
pub(crate) mod post;
pub mod reloading;
pub mod stream;
pub mod tls;
mod write_progress;
pub mod zlib;

#[cfg(doc)]
use crate::base::limits::{KEY_STORE_BYTES_MAX, TLS_HANDSHAKE_SECONDS_MAX};
