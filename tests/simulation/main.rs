//! The whole engine on a simulated disk: crashes at any operation, faults, rot, and an oracle that knows what a user
//! was promised.
//!
//! `MILLPOND_SIM_RUNS` sets how many seeds are drawn, `MILLPOND_SIM_FIRST` the first of them, `MILLPOND_SIM_SEED` runs
//! one, `MILLPOND_SIM_VERBOSE` shows its steps. A seed that ever failed stays in `seeds.txt`.

// The results of a campaign, and the steps of a run under examination, are printed for its user.
#![allow(clippy::print_stdout, clippy::print_stderr)]

// The fuzz target `life` has this file as a module, and names these at its top.
pub(crate) mod campaign;
pub(crate) mod counts;
pub(crate) mod coverage;
pub(crate) mod driver;
pub(crate) mod edges;
pub(crate) mod exhaustive;
pub(crate) mod expected_loss;
pub(crate) mod late_writes;
pub(crate) mod life;
pub(crate) mod missing_dirs;
pub(crate) mod mutants;
pub(crate) mod oracle;
pub(crate) mod random;
pub(crate) mod reads;
pub(crate) mod rot;
pub(crate) mod split_members;
pub(crate) mod workload;
