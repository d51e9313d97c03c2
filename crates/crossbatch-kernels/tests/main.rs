//! Every operation against its reference body, PyTorch and finite differences.

mod common;
mod finite_differences;
mod golden;
mod reference;
mod robustness;
