//! The admin socket: access to a running agent for its own user, and for root.
//!
//! # Limits
//!
//! [`SESSIONS_MAX`] sessions at once, a request of [`REQUEST_BYTES_MAX`] that must arrive within
//! [`REQUEST_WAIT`], and [`ANSWER_SECONDS_MAX`] for a client that does not read. What a session
//! shows has the bounds of [`millpond_flow::tap`].
//!
//! # How it works
//!
//! There is no socket unless `millpond.admin.socket` names one ([`place`]). Then [`Admin`] listens
//! on it, a Unix socket with the mode 0600. Each session sends one request ([`AdminRequest`]) and
//! gets lines of JSON ([`AdminReply`]). The only request so far is a tap: the events that pass a
//! component. [`AdminClient`] is the client side.
//!
//! # Invariants
//!
//! - A user that may not read the agent's memory may not connect: only the owner can open the
//!   socket, from its creation on.
//! - Nothing here delays the flow or changes it.

mod client;
mod protocol;
mod session;
mod socket;
mod socket_path;

pub use client::{AdminClient, AdminClientError};
pub use protocol::{AdminReply, AdminRequest, ShownEvent, TapRequest};
pub use socket::Admin;
pub use socket_path::{KEY, SocketPathError, place};

use millpond_flow::tap::Taps;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use millpond_flow::base::limits::ANSWER_SECONDS_MAX;

/// Sessions at once.
const SESSIONS_MAX: usize = 16;
/// Longest request, bytes.
const REQUEST_BYTES_MAX: usize = 4096;
/// How long a request may take to arrive.
const REQUEST_WAIT: Duration = Duration::from_secs(10);

/// The state that requests are served from.
#[derive(Clone, Debug)]
pub struct AdminState {
    /// The agent's name.
    pub agent: String,
    /// Its components.
    pub taps: Arc<Taps>,
}
