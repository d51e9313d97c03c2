//! Every operation against its reference body, PyTorch and finite differences.

mod common;
mod finite_differences;
mod golden;
mod operations;
#[expect(clippy::print_stderr, reason = "a skip is told aloud")]
mod pair_rows;
mod reference;
mod robustness;
