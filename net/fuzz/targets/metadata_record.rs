//! Framed records of the metadata log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    net::fuzz::metadata_record(bytes);
});
