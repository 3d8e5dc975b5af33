//! Ground floor: ids, limits, the clock, threads, checksums, sets of sequences.
//!
//! Nothing here knows what an event or a file is. Every limit of the house stands in
//! [`limits`], with its unit and its reason.

pub(crate) mod atomic;
pub mod calendar;
pub mod checksum;
pub mod clock;
pub mod codes;
pub mod files;
pub mod ids;
pub mod limits;
pub mod lost_lines;
#[cfg(mutant)]
pub mod mutant;
#[cfg(not(mutant))]
pub(crate) mod mutant;
pub mod quantity;
pub mod random;
pub mod ranges;
pub mod rare;
pub mod read_whole;
pub mod rolling;
pub mod service;
pub mod setting;
pub mod signal;
pub mod threads;
pub mod trouble;
pub mod usable;
pub mod visible;
mod word;
pub mod zeroes;
