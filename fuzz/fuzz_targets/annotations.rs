//! MAT-files in the place of Cars196's annotations.

#![no_main]
#![allow(dead_code, reason = "the bodies of the other targets")]

mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::annotations(data));
