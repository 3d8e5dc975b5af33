//! Throughput of a channel on the user's own disks, beside what the disks themselves can do.
//!
//! # Limits
//!
//! Linux for processor time and bytes written; elsewhere these are left out. What it takes on the
//! disks is bounded by [`BenchOptions::space_bytes`], all directories together; memory by
//! [`HOT_BYTES_MAX`] beside the channel's own.
//!
//! # The story
//!
//! [`plan`] makes a grid of workloads. Each round measures the devices ([`device`]: synced writes
//! through the door to storage) and then every workload once ([`drive`]: producers and takers on a
//! fresh channel whose segments were made beforehand), the fastest puts of several directories also in the
//! first alone ([`alone`]), so whatever else the machine does meets all
//! alike. A report keeps the medians of the rounds ([`report`]), says in plain words what follows
//! from them ([`advice`]) and can be drawn ([`plot`]). What a plain file reaches
//! without a channel ([`baseline`]) is measured on request.
//!
//! # Invariants
//!
//! - Everything lies in directories of its own with names that nobody has ([`ground`]); nothing else
//!   is ever changed or removed, and these go at the end however it comes.
//! - No segment is made while puts are measured: a measurement ends when half of those that were
//!   made beforehand are used up.

mod advice;
mod alone;
mod baseline;
mod device;
pub mod draw;
mod drive;
mod ground;
mod latency;
mod patience;
mod plan;
mod plot;
mod process;
mod report;
mod run;

pub use ground::GroundError;
pub use plan::{BenchOptions, HOT_BYTES_MAX, PlanError, Workload};
pub use plot::Format;
pub use report::Report;
pub use run::{BenchError, Stage, left_behind, run};
