//! Applying: the writes of an opening, after everything is read and decided.
//!
//! [`membership`] creates the channel, or completes its member list. [`hand_over`] then goes through
//! the decision: what is damaged is copied ([`quarantine`]), headers are written again, kept blocks
//! made durable ([`durability`]), each log is ended, the joined state goes into every checkpoint
//! file, and what is free is wiped.
//!
//! # Invariants
//!
//! * An opening may be interrupted between any two writes and repeated with the same result.
//! * Nothing is freed before the state that frees it is durable.

pub(super) mod durability;
pub(super) mod hand_over;
pub(super) mod membership;
pub(super) mod quarantine;
