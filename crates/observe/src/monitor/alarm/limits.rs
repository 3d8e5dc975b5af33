//! The limits of alarms.

use std::time::Duration;

/// Interval between two evaluations.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// Pause after an evaluation that panicked, four times as long after each further one, up to
/// [`REST_MAX`].
pub(super) const REST: Duration = Duration::from_secs(1);

pub(super) const REST_MAX: Duration = Duration::from_secs(600);

/// Without a successful evaluation for this long, the agent is not ready.
pub(super) const BLIND: Duration = Duration::from_secs(60);

/// Longest panic message that is repeated, characters.
pub(super) const PANIC_CHARS_MAX: usize = 200;

/// How long something must be good before its alarm is cleared, where it could recur at once.
pub(super) const SETTLES: Duration = Duration::from_secs(10);

/// Clients that are watched, of all sources together.
pub(super) const CLIENTS_MAX: usize = 1000;

/// Clients of one source that are watched per address: a client can claim any names.
pub(super) const NAMES_PER_ADDRESS_MAX: usize = 32;

/// Addresses of which an excess is reported.
pub(super) const CROWDED_MAX: usize = 100;

/// Cleared alarms that are known, of any setting.
pub(super) const HISTORY_MAX: usize = 10_000;

pub(super) const HISTORY_MAX_DEFAULT: usize = 1000;

/// Size limit of the file that stores alarms, bytes.
pub(super) const STORE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How long a start waits for that file.
pub(super) const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often it is written without a change: it holds when clients were last heard.
pub(super) const KEEP_EVERY: Duration = Duration::from_secs(600);

/// Pause after a failed write of it.
pub(super) const KEEP_PAUSE: Duration = Duration::from_secs(30);
