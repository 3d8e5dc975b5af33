//! The model of what a channel may hold after a crash: what is known of a put transaction and of each of its
//! events, how each result changes that, and what must be true of a channel that was opened again.
//!
//! The tests on the simulated disk and the recovery test on a real one (`millpond torture`) judge by this model.
//! It holds the rules and no list of transactions: a user of it keeps its own [`PutRecord`]s, all of them or only
//! those that are not over, and decides what excuses a [`LeaseConflict`] or a loss. It reads no clock: the user
//! counts its own steps and passes the count as `now`.

mod comparison;
mod put;
#[cfg(test)]
mod tests;

pub use comparison::{Adjacency, Comparison, Misplaced};
pub use put::{
    CommitResult, EventState, LeaseConflict, PutRecord, PutState, Settled, TakeId, TakeOutcome,
    UnknownEvent,
};
