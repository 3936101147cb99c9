//! See `evergate_fuzz::core_inputs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::core_inputs(data));
