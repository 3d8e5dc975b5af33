//! Hostile input: the bodies of the fuzz targets run over the checked-in seeds and mutants of them, with every
//! allocation counted.
//!
//! `MILLPOND_FUZZ_SEED` repeats a run, `MILLPOND_FUZZ_MUTANTS` sets the number of mutants per target,
//! `MILLPOND_FUZZ_ONLY` names one target, `MILLPOND_FUZZ_SEEDS=write` rewrites the seeds.

// The summary of a run is printed for its reader.
#![allow(clippy::print_stdout)]

mod campaign;
mod files;

mod mutation;
mod seeds;
mod targets;
