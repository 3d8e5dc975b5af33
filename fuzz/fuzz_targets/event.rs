#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::internal::record::fuzz::event(bytes));
