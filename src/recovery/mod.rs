//! Recovery: the state of a channel after a crash or a clean stop.
//!
//! [`recover`] opens the directories of a channel: it locks them, creates the channel when they are
//! all new, joins every state record it finds, scans each stripe from there on, decides by a table
//! ([`decision_table`]) what each place means, makes everything it keeps durable, and returns what the
//! channel floor needs to go on ([`Recovered`]). It starts no new epoch itself. [`repair()`] repairs
//! what only reading every byte finds. [`inspection`] does the same reading without locks or writes.
//!
//! An opening reads ([`read`]), decides ([`decide`]) and applies ([`apply`]), in this order; the
//! steps are in [`open`].
//!
//! # Limits
//!
//! * Reading is bounded by one header per segment and the part of each log after the newest state
//!   record: with fresh checkpoints a few blocks, without any a segment per stripe.
//! * Memory holds descriptions of blocks, never their payload, except for one read buffer.
//! * Quarantined copies are capped ([`crate::base::limits::QUARANTINE_BYTES_MAX`] per stripe).
//!
//! # Invariants
//!
//! * Nothing is voided because it could not be *read*: only a checksum that fails twice is damage.
//! * Every block that is kept is durable before [`recover`] returns, and so is the joined state.
//! * Recovering twice, or recovering again after a crash during recovery, gives the same result.
//! * No sequence, block number, segment id or epoch that anything on any disk names is given out
//!   again.

mod apply;
mod assessment;
mod case;
mod decide;
mod error;
mod finding;
pub mod inspection;
mod open;
mod options;
mod read;
mod recovered;
mod repair;
mod report_text;

pub use decide::{decision_table, returned_segments};
pub use error::{MissingSegments, RecoveryError};
pub use finding::Finding;
pub use open::{recover, recover_without};
pub use options::RecoverOptions;
pub use recovered::{Recovered, RecoveredCheckpointDir, RecoveredDir, RecoveredStripe, Report};
pub use repair::{RepairReport, repair};

#[cfg(test)]
mod tests;
