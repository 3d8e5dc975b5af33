#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond_adapters::wire::avro::fuzz::avro(bytes));
