//! Layer normalisation.

mod backward;
mod flex;
mod reference;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Normalises each row by its own mean and biased variance, then scales and shifts.
///
/// # Equation
///
/// `y = (x − mean) / sqrt(variance + epsilon) · weight + bias`
///
/// # Shapes
///
/// - input, output: `[.., columns]`
/// - weight, bias: `[columns]`
///
/// # Defaults
///
/// Vision transformers and ConvNeXt take an epsilon of 1e-6, PyTorch's layer 1e-5.
///
/// # Panics
///
/// If `weight` or `bias` does not have the last size of the input, or that is zero.
///
/// # References
///
/// Ba, Kiros and Hinton, "Layer Normalization" (2016), <https://arxiv.org/abs/1607.06450>.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::layer_norm;
///
/// let device = Device::flex();
/// let input = Tensor::<2>::from_data([[1.0, 3.0]], &device);
/// let (weight, bias) = (Tensor::ones([2], &device), Tensor::zeros([2], &device));
/// let output = layer_norm(input, weight, bias, 0.0);
/// assert_eq!(output.to_data().try_to_vec::<f32>().unwrap(), [-1.0, 1.0]);
/// ```
#[must_use]
pub fn layer_norm<const R: usize>(
    input: Tensor<R>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<R> {
    let shape = input.dims();
    let columns = shape[R - 1];
    assert!(columns > 0, "input {shape:?} has no columns to take a mean of");
    for (name, length) in [("weight", weight.dims()[0]), ("bias", bias.dims()[0])] {
        assert_eq!(length, columns, "{name} has {length} elements for rows of {columns}");
    }
    let rows: usize = shape[..R - 1].iter().product();
    let input: Tensor<2> = input.reshape([rows, columns]);
    let (output, ..) = <Dispatch as LayerNormOps>::layer_norm_forward(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        epsilon,
    );
    Tensor::<2>::from_dispatch(output).reshape(shape)
}

/// [`layer_norm`] over the channels of `[batch, channels, height, width]`, as ConvNeXt's downsampling layers take it.
///
/// # Panics
///
/// If `weight` or `bias` does not have a value for each channel, or there is none.
#[must_use]
pub fn layer_norm_channels(
    input: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<4> {
    layer_norm(input.permute([0, 2, 3, 1]), weight, bias, epsilon).permute([0, 3, 1, 2])
}

/// The backend side of [`layer_norm`], on rows `[rows, columns]`. Sizes are checked by the function.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait LayerNormOps: Backend {
    /// The output, and each row's mean and `1 / sqrt(variance + epsilon)`, `[rows, 1]`.
    #[fusion(default)]
    fn layer_norm_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::forward::<Self>(input, weight, bias, epsilon)
    }

    /// The gradients of input, weight and bias.
    #[fusion(default)]
    fn layer_norm_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        inverse: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::gradients::<Self>(gradient, input, weight, mean, inverse)
    }
}
