//! The engine's rules, one test each: names are sentences, DESIGN.md lists them.
//!
//! No test waits for time: the disk is simulated and the clock is advanced by hand, except where
//! threads themselves are tested.

mod bounds;
mod causes;
mod commits;
mod copies;
mod failures;
mod hangs;
mod lost_segments;
mod members;
mod missing;
mod rejoin;
mod rig;
mod source_offsets;
mod space;
mod takes;
mod tap;
mod threads;
