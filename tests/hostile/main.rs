//! Hostile input: the bodies of the fuzz targets, over the checked-in seeds and mutants of them,
//! with every allocation counted.
//!
//! `MILLPOND_FUZZ_SEED` repeats a run, `MILLPOND_FUZZ_MUTANTS` sets how many mutants each target
//! gets, `MILLPOND_FUZZ_ONLY` names one target, `MILLPOND_FUZZ_SEEDS=write` makes the seeds anew.

// What a run did is meant for who runs it.
#![allow(clippy::print_stdout)]

mod campaign;
mod files;

mod mutate;
mod seeds;
mod targets;
