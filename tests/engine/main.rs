//! The engine's rules, one test each: names are sentences, docs/testing.md lists rule by rule.
//!
//! Nothing here waits for time: the disk is simulated and the clock moves when told to, except
//! where threads themselves are the subject.

mod bounds;
mod commits;
mod copies;
mod failures;
mod hangs;
mod members;
mod missing;
mod positions;
mod rejoin;
mod rig;
mod space;
mod takes;
mod tap;
mod threads;
mod vanish;
