//! Integration tests of crossbatch-models, one binary.

mod golden;
mod golden_backbones;
mod state;
