//! Throughput of a channel on the user's own disks, compared with the speed of the disks
//! themselves.
//!
//! # Limits
//!
//! Linux for processor time and bytes written; elsewhere these are left out. Its space on the disks
//! is bounded by [`BenchOptions::space_bytes`], all directories together; memory by
//! [`HOT_BYTES_MAX`] in addition to the channel's own.
//!
//! # Overview
//!
//! [`plan`] makes a grid of workloads. Each round measures the devices ([`device`]: synced writes
//! through the disk traits) and then every workload once ([`measurement`]: producers and takers on
//! a fresh channel with preallocated segments), the fastest puts of several directories also in the
//! first alone ([`single_dir`]), so other load on the machine affects all alike. A report keeps the
//! medians of the rounds ([`report`]), states what follows from them ([`advice`]) and can be drawn
//! ([`plot`]). What a plain file reaches without a channel ([`baseline`]) is measured on request.
//!
//! # Invariants
//!
//! - Everything is in directories of its own with unique names ([`bench_dirs`]); nothing else is
//!   ever changed or removed, and these are removed at the end of any run.
//! - No segment is created while puts are measured: a measurement ends when half of the
//!   preallocated ones are used up.

mod advice;
mod baseline;
mod bench_dirs;
mod device;
mod device_speed;
mod error;
mod join_timeout;
mod latency;
mod measurement;
mod plan;
mod plot;
mod process;
mod report;
mod report_row;
mod run;
mod single_dir;

pub use bench_dirs::BenchDirError;
pub use error::BenchError;
pub use plan::{BenchOptions, HOT_BYTES_MAX, PlanError, Workload};
pub use plot::PlotFormat;
pub use report::BenchReport;
pub use run::{BenchStage, left_behind, run};
