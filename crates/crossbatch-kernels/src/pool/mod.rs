//! Maximum and average pooling.

mod average;
mod backward;
mod flex;
mod reference;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

pub use average::{AveragePoolOps, AverageWindows};

/// Windows of a pooling: PyTorch's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolOptions {
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
    /// Rows and columns around the image, at most half of the kernel; maxima never come from there.
    pub padding: usize,
    /// Whether a last window may reach beyond the padding, as long as it begins before it.
    pub ceil_mode: bool,
}

impl PoolOptions {
    /// Windows without padding, only whole ones.
    #[must_use]
    pub const fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: 0, ceil_mode: false }
    }

    fn check(&self, input: &Tensor<4>) {
        let Self { kernel, stride, padding, .. } = *self;
        let [_, _, height, width] = input.dims();
        let side = height.min(width) + 2 * padding;
        assert!(stride > 0, "stride {stride} must not be zero");
        assert!(
            (1..=side).contains(&kernel),
            "kernel of {kernel} must be in 1..={side}, the input {height} x {width} with padding {padding}"
        );
        assert!(padding <= kernel / 2, "padding {padding} is more than half of kernel {kernel}");
    }
}

/// The maximum of each window.
///
/// Where a window has equal maxima, the first one (row by row) gets the gradient. NaN wins.
///
/// # Shapes
///
/// - input: `[batch, channels, height, width]`
/// - output: `[batch, channels, (height + 2 padding − kernel) / stride + 1, …]`, divided downwards, or in
///   ceil mode upwards and then without windows that begin in the padding behind the image
///
/// # Panics
///
/// If `stride` is zero, `kernel` is zero or larger than the padded input, or `padding` more than half of it.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::{PoolOptions, max_pool2d};
///
/// let input = Tensor::<4>::from_data([[[[1.0, 4.0], [3.0, 2.0]]]], &Device::flex());
/// assert_eq!(max_pool2d(input, PoolOptions::new(2, 2)).into_scalar::<f32>(), 4.0);
/// ```
#[must_use]
pub fn max_pool2d(input: Tensor<4>, options: PoolOptions) -> Tensor<4> {
    options.check(&input);
    let (output, _) = <Dispatch as PoolOps>::max_pool2d_forward(input.into_dispatch(), options);
    Tensor::from_dispatch(output)
}

/// The mean of each window.
///
/// `count_include_pad` (PyTorch's default is true) counts the zeros of the padding; what a window of ceil
/// mode reaches beyond the padding never counts.
///
/// # Shapes and panics
///
/// As [`max_pool2d`].
#[must_use]
pub fn average_pool2d(
    input: Tensor<4>,
    options: PoolOptions,
    count_include_pad: bool,
) -> Tensor<4> {
    options.check(&input);
    average::pool(input, AverageWindows::Fixed { options, count_include_pad })
}

/// The mean of each channel, `[batch, channels, height, width]` to `[batch, channels]`.
///
/// # Panics
///
/// If the image is empty.
#[must_use]
pub fn global_average_pool(input: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = input.dims();
    assert!(height * width > 0, "input {:?} has no pixels to take a mean of", input.dims());
    average::pool(input, AverageWindows::Adaptive([1, 1])).reshape([batch, channels])
}

/// The maximum of each channel, `[batch, channels, height, width]` to `[batch, channels]`; the first of equal
/// ones gets the gradient.
///
/// # Panics
///
/// If the image is empty.
#[must_use]
pub fn global_max_pool(input: Tensor<4>) -> Tensor<2> {
    let [batch, channels, height, width] = input.dims();
    assert!(height * width > 0, "input {:?} has no pixels to take a maximum of", input.dims());
    input.reshape([batch, channels, height * width]).max_dim(2).reshape([batch, channels])
}

/// Means of `size` rows and columns of windows that cover the image, as PyTorch cuts them.
///
/// # Panics
///
/// If the image or `size` is empty.
#[must_use]
pub fn adaptive_average_pool2d(input: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    let [_, _, height, width] = input.dims();
    assert!(
        height * width > 0 && size.iter().all(|side| *side > 0),
        "cannot pool {height} x {width} to {size:?}"
    );
    average::pool(input, AverageWindows::Adaptive(size))
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
