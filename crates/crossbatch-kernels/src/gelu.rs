//! The Gaussian error linear unit.

use burn::tensor::{Tensor, activation};

/// `x · Φ(x)`, `Φ` being the normal distribution function: exact, with the error function, as PyTorch's default.
#[must_use]
pub fn gelu<const R: usize>(input: Tensor<R>) -> Tensor<R> {
    activation::gelu(input)
}
