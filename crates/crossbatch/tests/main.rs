//! Integration tests of crossbatch, one binary.

mod common;
mod golden;
mod gradient;
mod kernel;
mod memory;
mod miners;
mod objective;
mod registry;
mod screen;
mod staleness;
