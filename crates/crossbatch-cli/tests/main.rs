//! Integration tests of the program, one binary.

mod bad_input;
mod data;
mod embed;
mod eval;
mod search;
mod support;
mod train;
