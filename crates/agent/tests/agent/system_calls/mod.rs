//! The channel's system calls fail, one after the other, in the real process on real files: with an
//! error, in part, or by being the last one. `shim.c` is between the process and the kernel.
//!
//! A normal run tests a part, from an offset that is new each time; `MILLPOND_CALLS=whole` tests
//! all, a number about that many of each command.

mod agent;
mod bad_sector;
mod channel_fixture;
mod kill_points;
mod shim;
mod single_failures;
