//! The agent around [`millpond`]'s channels: sources, sinks, configurations and the command line.
//!
//! DESIGN.md is the map.

pub mod agent;
pub mod cli;
