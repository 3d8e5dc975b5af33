//! Network connections in plain text or TLS, established with deadlines.
//!
//! Limits: [`TLS_HANDSHAKE_SECONDS_MAX`] for a handshake, [`KEY_STORE_BYTES_MAX`] for a key store.
//!
//! A [`Stream`](stream::Stream) is a connection over any of the layers. [`tls`] makes clients and servers of TLS
//! from Java's key and trust stores, [`zlib`] compresses below it. [`connect`] opens connections, and
//! [`write_timeout`] closes those whose peer does not read. An [`endpoint`] is a parsed URL, [`http_get`] fetches
//! it, and [`http_post`] posts to it.
//!
//! Invariants: no wait without a deadline, except for the next bytes of a peer, which the caller bounds; a
//! server's certificate is verified unless the configuration disables that.

pub mod connect;
pub mod endpoint;
pub mod http_auth;
pub mod http_connection;
pub mod http_get;
pub mod http_post;
pub mod store_reloader;
pub mod stream;
pub mod tls;
mod write_progress;
pub mod write_timeout;
pub mod zlib;

#[cfg(doc)]
use crate::base::limits::{KEY_STORE_BYTES_MAX, TLS_HANDSHAKE_SECONDS_MAX};
