#![no_main]

// The simulation as tests/simulation has it: its files name each other from the top.
#[allow(dead_code, unused_imports)]
#[path = "../../tests/simulation/main.rs"]
mod simulation;
use simulation::*;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| simulation::life::fuzz(bytes));
