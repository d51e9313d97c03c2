//! Maximum pooling.

mod backward;
mod flex;
mod reference;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// The maximum of each window of `kernel` x `kernel`, `stride` apart, without padding.
///
/// Where a window has equal maxima, the first one (row by row) gets the gradient.
///
/// # Shapes
///
/// - input: `[batch, channels, height, width]`
/// - output: `[batch, channels, (height − kernel) / stride + 1, (width − kernel) / stride + 1]`
///
/// # Panics
///
/// If `stride` is zero, or `kernel` is zero or larger than the input.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::max_pool2d;
///
/// let input = Tensor::<4>::from_data([[[[1.0, 4.0], [3.0, 2.0]]]], &Device::flex());
/// assert_eq!(max_pool2d(input, 2, 2).into_scalar::<f32>(), 4.0);
/// ```
#[must_use]
pub fn max_pool2d(input: Tensor<4>, kernel: usize, stride: usize) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    let side = height.min(width);
    assert!(stride > 0, "stride {stride} must not be zero");
    assert!(
        (1..=side).contains(&kernel),
        "kernel of {kernel} must be in 1..={side}, the input {height} x {width}"
    );
    let (output, _) = <Dispatch as PoolOps>::max_pool2d_forward(
        input.into_dispatch(),
        PoolOptions { kernel, stride },
    );
    Tensor::from_dispatch(output)
}

/// Options of the backend side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
}

/// The backend side of [`max_pool2d`]. Sizes are checked by the function.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait PoolOps: Backend {
    /// The maxima, and their places in whatever form the gradient of the same backend takes them.
    #[fusion(default)]
    fn max_pool2d_forward(
        input: FloatTensor<Self>,
        options: PoolOptions,
    ) -> (FloatTensor<Self>, IntTensor<Self>) {
        reference::forward::<Self>(input, options)
    }

    /// The gradient of an input of `size` rows and columns.
    #[fusion(default)]
    fn max_pool2d_gradient(
        gradient: FloatTensor<Self>,
        places: IntTensor<Self>,
        size: [usize; 2],
        options: PoolOptions,
    ) -> FloatTensor<Self> {
        reference::gradient::<Self>(gradient, places, size, options)
    }
}
