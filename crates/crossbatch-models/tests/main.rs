//! Integration tests of crossbatch-models, one binary.

mod golden;
mod state;
