#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::wire::thrift::fuzz::thrift(bytes));
