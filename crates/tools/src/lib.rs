//! Tools that test a disk for [`millpond`]: its throughput, and what is left after a crash.

pub mod bench;
pub mod torture;
