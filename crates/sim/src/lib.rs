//! What tests of channels use: a disk in memory that crashes, tears and fails when it is asked to, the suite of
//! tests that every channel passes, and the model of what a channel may hold after a crash.
//!
//! The first two are there with the feature `disk`, which no program enables: `millpond torture` uses the model
//! alone.
//!
//! The files of [`contract`] and [`disk`] name each other by `super` only: the engine's unit tests include them.
#![allow(clippy::unwrap_used)]

#[cfg(feature = "disk")]
pub mod contract;
#[cfg(feature = "disk")]
pub mod disk;
pub mod oracle;
