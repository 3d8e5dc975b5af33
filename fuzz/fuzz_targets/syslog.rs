#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| millpond::wire::syslog_relayed::fuzz(bytes));
