#![no_main]

use millpond_agent::agent::build::ComponentTypes;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_config::fuzz::settings(
    bytes,
    &ComponentTypes::built_in().catalogue()
));
