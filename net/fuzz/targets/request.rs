//! Request bodies behind API key and version.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    net::fuzz::request(bytes);
});
