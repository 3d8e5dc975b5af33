//! Ground floor: ids, limits, the clock, threads, checksums, sets of sequences.
//!
//! Nothing here knows what an event or a file is. Every limit of the project is in [`limits`], with its unit and its
//! reason.

pub(crate) mod atomic;
pub mod checksum;
pub mod clock;
pub mod codes;
pub mod coverage_mark;
pub mod event_ages;
pub mod event_count;
pub mod fault_cause;
mod futex;
pub mod histogram;
pub mod ids;
pub mod limits;
pub mod lock_rank;
#[cfg(mutant)]
pub mod mutation;
#[cfg(not(mutant))]
pub(crate) mod mutation;
pub mod quantity;
pub mod random;
pub mod ranges;
pub mod setting;
pub mod threads;
pub mod zeroes;
