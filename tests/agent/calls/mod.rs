//! The channel's system calls fail, one after the other, in the real process on real files: with an
//! error, in part, or by being the last one. `shim.c` stands between the process and the kernel.
//!
//! A normal run takes a part, from an offset that is new each time; `MILLPOND_CALLS=whole` takes
//! all, a number about that many of each command.

mod agent;
mod bad_sector;
mod each;
mod killed;
mod shim;
mod store;
