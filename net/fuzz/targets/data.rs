//! Coordinator records, control records and embedded structures.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    net::fuzz::any_data(bytes);
});
