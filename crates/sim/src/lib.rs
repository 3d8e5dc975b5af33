//! What only tests of channels use: a disk in memory that crashes, tears and fails when it is asked to, and
//! the suite of tests that every channel passes.
//!
//! The files of [`contract`] and [`disk`] name each other by `super` only: the engine's unit tests include them.
#![allow(clippy::unwrap_used)]

pub mod contract;
pub mod disk;
