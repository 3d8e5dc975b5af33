//! What is shown of an agent of [`millpond`]: pages for monitoring, alarms, the live view, its graph.

pub mod admin;
pub mod graph;
pub mod monitor;
pub mod svg;
pub mod top;
