//! Integration tests of crossbatch, one binary.

mod gradient;
mod memory;
mod staleness;
