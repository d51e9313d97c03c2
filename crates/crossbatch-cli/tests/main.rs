//! Integration tests of the program, one binary.

mod bad_input;
mod bench;
mod data;
mod embed;
mod eval;
mod eval_files;
mod losses;
mod models;
mod official;
mod plan;
mod search;
mod streaming;
mod support;
mod train;
mod verify;
