//! See `evergate_fuzz::chat_command`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evergate_fuzz::chat_command(data));
