//! Lists of every kind: the first byte chooses the kind, the others are the list.

#![no_main]
#![allow(dead_code, reason = "the bodies of the other targets")]

mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::lists(data));
