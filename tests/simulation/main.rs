//! The whole engine on a simulated disk: crashes at any operation, faults, rot, and an oracle
//! that knows what a user was promised.
//!
//! `MILLPOND_SIM_RUNS` sets how many seeds are drawn, `MILLPOND_SIM_FIRST` the first of them,
//! `MILLPOND_SIM_SEED` runs one, `MILLPOND_SIM_VERBOSE` shows its steps. A seed that ever failed
//! stays in `seeds.txt`.

// What a campaign did, and the steps of a run that is looked at, are meant for who runs it.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod away;
mod driver;
mod exhaustive;
mod late;
mod mutants;
mod oracle;
mod parting;
mod random;
mod reads;
mod rot;
mod tally;
mod words;
mod workload;
