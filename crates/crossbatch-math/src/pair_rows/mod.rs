//! The rows of a pair loss, streamed over the references.

pub mod program;
