//! The lowest floor of the agent: its limits, files that are not a channel's, and text as it may be shown.

pub mod access_check;
pub mod escape;
pub mod files;
pub mod limits;
pub mod lost_lines;
pub mod rolling_file;
pub mod service;
pub mod small_file;
