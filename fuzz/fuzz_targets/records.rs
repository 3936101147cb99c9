//! See `evergate_fuzz::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::records(data));
