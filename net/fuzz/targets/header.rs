//! Request and response headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    net::fuzz::header(bytes);
});
