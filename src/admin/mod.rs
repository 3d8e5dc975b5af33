//! The admin socket: a door to a running agent for its own user, and for root.
//!
//! # Limits
//!
//! [`SESSIONS_MAX`] sessions at once, a request of [`REQUEST_BYTES_MAX`] that has [`REQUEST_WAIT`] to come, and
//! [`ANSWER_SECONDS_MAX`] for who does not read. What a session shows has the bounds of [`crate::flow::tap`].
//!
//! # The story
//!
//! There is no socket unless `millpond.admin.socket` names one ([`place`]). Then [`Admin`] listens on it, a
//! socket of Unix with the mode 0600, and each session asks for one thing ([`Request`]) and is answered with lines of
//! JSON ([`Line`]). Today that one thing is a tap: the events that pass a component. [`Client`] is the other side.
//!
//! # Invariants
//!
//! - Who may not read the agent's memory may not ask here: the socket is the owner's alone from its first moment.
//! - Nothing here holds up the flow, and nothing changes it.

mod client;
mod lines;
mod place;
mod session;
mod socket;

pub use client::{Client, ClientError};
pub use lines::{Line, Request, Shown, TapRequest};
pub use place::{KEY, PlaceError, place};
pub use socket::Admin;

use crate::flow::tap::Taps;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use crate::base::limits::ANSWER_SECONDS_MAX;

/// Sessions at once.
const SESSIONS_MAX: usize = 16;
/// Bytes of a request.
const REQUEST_BYTES_MAX: usize = 4096;
/// How long a request may take to come.
const REQUEST_WAIT: Duration = Duration::from_secs(10);

/// What can be asked about.
#[derive(Clone, Debug)]
pub struct Served {
    /// The agent's name.
    pub agent: String,
    /// Its components.
    pub taps: Arc<Taps>,
}
