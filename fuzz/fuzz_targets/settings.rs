#![no_main]

use millpond::agent::build::Types;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::config::fuzz::settings(
    bytes,
    &Types::built_in().catalogue()
));
