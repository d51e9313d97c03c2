//! Rows of length one.

mod backward;
mod flex;
mod reference;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Rows divided by their Euclidean length, or by 1e-12 if that is more, as `torch.nn.functional.normalize`.
///
/// # Shapes
///
/// - rows, output: `[rows, columns]`
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::l2_normalize;
///
/// let rows = Tensor::<2>::from_data([[0.0, 2.0]], &Device::flex());
/// assert_eq!(l2_normalize(rows).to_data().try_to_vec::<f32>().unwrap(), [0.0, 1.0]);
/// ```
#[must_use]
pub fn l2_normalize(rows: Tensor<2>) -> Tensor<2> {
    let (output, _) = <Dispatch as NormalizeOps>::l2_normalize_forward(rows.into_dispatch());
    Tensor::from_dispatch(output)
}

/// The backend side of [`l2_normalize`].
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait NormalizeOps: Backend {
    /// The rows, and what each was divided by, `[rows, 1]`.
    #[fusion(default)]
    fn l2_normalize_forward(rows: FloatTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        reference::forward::<Self>(rows)
    }

    /// The gradient of the rows, from what the forward pass gave.
    #[fusion(default)]
    fn l2_normalize_gradient(
        gradient: FloatTensor<Self>,
        output: FloatTensor<Self>,
        lengths: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        reference::gradient::<Self>(gradient, output, lengths)
    }
}
