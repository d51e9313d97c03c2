//! The Gaussian error linear unit.

mod backward;
mod flex;
mod reference;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// `x · Φ(x)`, `Φ` being the normal distribution function: exact, with the error function, as PyTorch's default.
///
/// On the CPU right to 6 ulp, the tail included, where `1 + erf` would cancel. The gradient is exact too; Burn's own
/// belongs to the approximation by tanh.
///
/// # References
///
/// Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), <https://arxiv.org/abs/1606.08415>.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::gelu;
///
/// let output = gelu(Tensor::<1>::from_data([1.0], &Device::flex())).into_scalar::<f32>();
/// assert!((output - 0.841_345).abs() < 1e-6);
/// ```
#[must_use]
pub fn gelu<const R: usize>(input: Tensor<R>) -> Tensor<R> {
    Tensor::from_dispatch(<Dispatch as GeluOps>::gelu_forward(input.into_dispatch()))
}

/// The backend side of [`gelu`].
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait GeluOps: Backend {
    /// The output.
    #[fusion(default)]
    fn gelu_forward(input: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::forward::<Self>(input)
    }

    /// The gradient of the input.
    #[fusion(default)]
    fn gelu_gradient(gradient: FloatTensor<Self>, input: FloatTensor<Self>) -> FloatTensor<Self> {
        reference::gradient::<Self>(gradient, input)
    }
}
