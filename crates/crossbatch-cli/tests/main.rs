//! Integration tests of the program, one binary.

mod bad_input;
mod bench;
mod data;
mod embed;
mod eval;
mod losses;
mod search;
mod support;
mod train;
