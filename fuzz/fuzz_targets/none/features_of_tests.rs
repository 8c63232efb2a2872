//! Reads nothing. It is an example because cargo counts examples among the tests when it settles features.
#![no_main]

libfuzzer_sys::fuzz_target!(|_bytes: &[u8]| {});
