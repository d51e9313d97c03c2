//! Every operation against its reference body, PyTorch and finite differences.

mod common;
mod finite_differences;
mod golden;
mod pair_rows;
mod reference;
mod robustness;
