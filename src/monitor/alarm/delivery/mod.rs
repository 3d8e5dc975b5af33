//! Who is told of alarms beside the log: a web server, a DingTalk group, a command.
//!
//! # Limits
//!
//! [`WAITING_MAX`] notices wait for each; beyond that the oldest are dropped, which is counted, said in the log and, once
//! somebody listens again, in a notice of its own. So many a minute as the setting says are sent. A notice
//! that is refused [`REFUSALS_MAX`] times, or is older than [`AGE_MAX`], is dropped too.
//!
//! # The story
//!
//! [`target`] reads the settings. An [`outbox::Outbox`] takes notices in, never waiting, and a task of it sends them one
//! after the other, with pauses that grow while that fails. What is sent is made by [`template`], [`dingtalk`]
//! and [`notice`], and goes out by [`sending`].
//!
//! # Invariants
//!
//! - Whoever raises an alarm never waits for whoever is told of it; one that is told waits for no other.
//! - A notice waits in its queue until it was delivered or given up, also over changed settings, which take over the
//!   queue with its counts; an outbox is replaced on the thread that runs its task, so that two never work on one queue.
//! - A URL, a header and a secret stand in no log: of a server only its name and port are said.

pub(super) mod dingtalk;
pub(super) mod notice;
pub(super) mod outbox;
mod sending;
pub(super) mod target;
pub(super) mod template;

#[cfg(test)]
mod tests;

use std::time::Duration;

/// Notices that wait for one target.
const WAITING_MAX: usize = 100;
/// Tries of a notice that is refused as it is.
const REFUSALS_MAX: u32 = 3;
/// How long a notice is tried.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// The first pause behind a try that failed, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The least pause behind a word that it was too much: a robot that is asked on goes on refusing.
const BUSY_PAUSE: Duration = Duration::from_secs(60);
/// How long what a command has left behind may hold its pipes before they are given up.
const LEFT_BEHIND_GRACE: Duration = Duration::from_millis(500);
/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
