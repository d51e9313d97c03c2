//! Integration tests of crossbatch-train, one binary.

mod failures;
mod runs;
mod support;
