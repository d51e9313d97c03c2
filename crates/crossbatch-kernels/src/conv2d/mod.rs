//! Convolution.

mod backward;
mod flex;
mod reference;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// How a kernel moves over an image. Dilation and groups are 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Rows and columns from one output to the next.
    pub stride: [usize; 2],
    /// Zero rows above and below, zero columns left and right.
    pub padding: [usize; 2],
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0] }
    }
}

/// Two-dimensional convolution (cross-correlation, as everywhere in deep learning).
///
/// Gradients are computed for the tracked ones of `input` and `weight` only.
///
/// # Shapes
///
/// - input: `[batch, channels, height, width]`
/// - weight: `[filters, channels, kernel_height, kernel_width]`
/// - bias: `[filters]`
/// - output: `[batch, filters, (height + 2 · padding − kernel_height) / stride + 1, …]`
///
/// # Panics
///
/// If the channels of `input` and `weight` differ, the length of `bias` differs from the filters, a
/// stride is zero, or the kernel is empty or larger than the padded input.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::{ConvOptions, conv2d};
///
/// let device = Device::flex();
/// let image = Tensor::<4>::ones([1, 1, 3, 3], &device);
/// let weight = Tensor::<4>::ones([2, 1, 3, 3], &device);
/// let options = ConvOptions { stride: [1, 1], padding: [1, 1] };
/// let output = conv2d(image, weight, None, options);
/// assert_eq!(output.dims(), [1, 2, 3, 3]);
/// ```
#[must_use]
pub fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    options: ConvOptions,
) -> Tensor<4> {
    let [_, channels, height, width] = input.dims();
    let [filters, of_weight, kernel_height, kernel_width] = weight.dims();
    assert_eq!(channels, of_weight, "input has {channels} channels, weight {of_weight}");
    for (size, kernel, axis) in [(height, kernel_height, 0), (width, kernel_width, 1)] {
        let padded = size + 2 * options.padding[axis];
        assert!(options.stride[axis] > 0, "stride {:?} must not be zero", options.stride);
        assert!(
            (1..=padded).contains(&kernel),
            "kernel of {kernel} must be in 1..={padded}, the padded input"
        );
    }
    let output = Tensor::from_dispatch(<Dispatch as Conv2dOps>::conv2d_forward(
        input.into_dispatch(),
        weight.into_dispatch(),
        options,
    ));
    match bias {
        Some(bias) => {
            let [length] = bias.dims();
            assert_eq!(length, filters, "bias has {length} elements for {filters} filters");
            output + bias.reshape([1, filters, 1, 1])
        }
        None => output,
    }
}

/// The backend side of [`conv2d`]. Sizes are checked by the function.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait Conv2dOps: Backend {
    /// The convolution.
    #[fusion(default)]
    fn conv2d_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        reference::forward::<Self>(input, weight, options)
    }

    /// The gradient of an input of `size` rows and columns.
    #[fusion(default)]
    fn conv2d_input_gradient(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: [usize; 2],
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        reference::input_gradient::<Self>(gradient, weight, size, options)
    }

    /// The gradient of a weight of `kernel` rows and columns.
    #[fusion(default)]
    fn conv2d_weight_gradient(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        kernel: [usize; 2],
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        reference::weight_gradient::<Self>(input, gradient, kernel, options)
    }
}
