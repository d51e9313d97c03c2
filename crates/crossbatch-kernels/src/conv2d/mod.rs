//! Convolution.

mod backward;
mod flex;
mod reference;

pub(crate) use flex::shape_of;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// How a kernel moves over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvOptions {
    /// Rows and columns from one output to the next.
    pub stride: [usize; 2],
    /// Zero rows above and below, zero columns left and right.
    pub padding: [usize; 2],
    /// Rows and columns of the input from one tap of the kernel to the next.
    pub dilation: [usize; 2],
    /// Equal parts of the channels and of the filters, in order: a filter sees its own part of the channels only.
    pub groups: usize,
}

impl ConvOptions {
    /// The shape of the output for an input and a weight that fit.
    pub(crate) fn output(&self, input: [usize; 4], weight: [usize; 4]) -> [usize; 4] {
        let size = |axis: usize| {
            let extent = (weight[2 + axis] - 1) * self.dilation[axis] + 1;
            (input[2 + axis] + 2 * self.padding[axis] - extent) / self.stride[axis] + 1
        };
        [input[0], weight[0], size(0), size(1)]
    }
}

impl Default for ConvOptions {
    fn default() -> Self {
        Self { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// Two-dimensional convolution (cross-correlation, as everywhere in deep learning).
///
/// Gradients are computed for the tracked ones of `input` and `weight` only.
///
/// # Shapes
///
/// - input: `[batch, channels, height, width]`
/// - weight: `[filters, channels / groups, kernel_height, kernel_width]`
/// - bias: `[filters]`
/// - output: `[batch, filters, (height + 2 · padding − extent) / stride + 1, …]`, where a kernel's extent is
///   `(kernel_height − 1) · dilation + 1`
///
/// # Panics
///
/// If the batch is empty, `groups` does not divide channels and filters, the channels of `input` are not `groups`
/// times those of `weight`, the length of `bias` differs from the filters, a stride or dilation is zero, or the
/// kernel is empty or its extent larger than the padded input.
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
/// let options = ConvOptions { padding: [1, 1], ..ConvOptions::default() };
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
    check(input.dims(), weight.dims(), bias.as_ref().map(|bias| bias.dims()[0]), options);
    let output = Tensor::from_dispatch(<Dispatch as Conv2dOps>::conv2d_forward(
        input.into_dispatch(),
        weight.into_dispatch(),
        options,
    ));
    match bias {
        Some(bias) => {
            let [filters] = bias.dims();
            output + bias.reshape([1, filters, 1, 1])
        }
        None => output,
    }
}

/// Panics, saying why, unless the sizes fit.
pub(crate) fn check(
    input: [usize; 4],
    weight: [usize; 4],
    bias: Option<usize>,
    options: ConvOptions,
) {
    let [batch, channels, height, width] = input;
    let [filters, of_weight, kernel_height, kernel_width] = weight;
    let ConvOptions { stride, padding, dilation, groups } = options;
    assert!(batch > 0, "convolution of an empty batch: input is {input:?}");
    assert!(
        groups > 0 && channels % groups == 0 && filters % groups == 0,
        "{groups} groups must divide {channels} channels and {filters} filters"
    );
    assert_eq!(
        channels,
        of_weight * groups,
        "input has {channels} channels, weight {of_weight} in each of {groups} groups"
    );
    assert!(stride[0] > 0 && stride[1] > 0, "stride {stride:?} must not be zero");
    assert!(dilation[0] > 0 && dilation[1] > 0, "dilation {dilation:?} must not be zero");
    for (size, kernel, axis) in [(height, kernel_height, 0), (width, kernel_width, 1)] {
        let padded = size + 2 * padding[axis];
        let extent = if kernel == 0 { 0 } else { (kernel - 1) * dilation[axis] + 1 };
        assert!(
            (1..=padded).contains(&extent),
            "kernel of {extent} must be in 1..={padded}, the padded input"
        );
    }
    if let Some(length) = bias {
        assert_eq!(length, filters, "bias has {length} elements for {filters} filters");
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
    /// The convolution where nothing is tracked.
    #[fusion(default)]
    fn conv2d_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        reference::forward::<Self>(input, weight, options)
    }

    /// The convolution whose gradient will be asked for: what it loses is carried through the network and back, so on
    /// the CPU it is computed by plain sums where others would lose more.
    #[fusion(default)]
    fn conv2d_tracked_forward(
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
