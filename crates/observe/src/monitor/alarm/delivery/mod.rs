//! Delivery of alarms to targets other than the log: a web server, a DingTalk group, a command.
//!
//! # Limits
//!
//! [`WAITING_MAX`] notices wait for each target; beyond that the oldest are dropped. Drops are
//! counted, logged and, once the target accepts notices again, reported to it in a notice. The
//! setting limits the notices per minute. A notice that is refused [`REFUSALS_MAX`] times, or is
//! older than [`AGE_MAX`], is dropped too.
//!
//! # How it works
//!
//! [`target`] reads the settings. A [`queue::DeliveryQueue`] accepts notices without waiting, and
//! its task sends them one after the other, with growing pauses after failures. [`template`],
//! [`dingtalk`] and [`notice`] build the message, and [`sender`] sends it.
//!
//! # Invariants
//!
//! - Raising an alarm never waits for a delivery; one target never waits for another.
//! - A notice waits in its queue until it was delivered or given up, also when the settings change:
//!   the queue is taken over with its counts. A queue is replaced on the thread that runs its task,
//!   so that two tasks never work on one queue.
//! - No URL, header or secret is logged: of a server only its name and port are.

pub(super) mod dingtalk;
pub(super) mod notice;
pub(super) mod queue;
mod sender;
pub(super) mod target;
pub(super) mod template;

#[cfg(test)]
mod tests;

use std::time::Duration;

/// Notices that wait for one target.
const WAITING_MAX: usize = 100;
/// Attempts for a notice that the target refuses.
const REFUSALS_MAX: u32 = 3;
/// How long delivery of a notice is attempted.
const AGE_MAX: Duration = Duration::from_secs(3600);
/// The first pause after a failed attempt, and the longest.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The least pause after a reply that the rate was too high: a robot that is called again goes on
/// refusing.
const BUSY_PAUSE: Duration = Duration::from_secs(60);
/// Bytes of a reply that are read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
