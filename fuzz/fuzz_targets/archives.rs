//! Archives beside a list: the first byte chooses the ending.

#![no_main]
#![allow(dead_code, reason = "the bodies of the other targets")]

mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::archives(data));
