//! Batch normalisation, with or without a ReLU behind it.

mod backward;
mod flex;
mod reference;

pub(crate) use flex::{parameters, statistics};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// What [`batch_norm_train`] gives.
#[derive(Clone, Debug)]
pub struct BatchNormOutput {
    /// The normalised input, `[batch, channels, height, width]`.
    pub output: Tensor<4>,
    /// Mean of each channel over the batch, `[channels]`, without gradient.
    pub mean: Tensor<1>,
    /// Biased variance of each channel over the batch, `[channels]`, without gradient. PyTorch's
    /// running variance is the unbiased one: times `n / (n − 1)`, `n = batch · height · width`.
    pub variance: Tensor<1>,
}

/// What follows the batch's normalisation, and what protects it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormOptions {
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether a ReLU follows.
    pub relu: bool,
}

/// Normalises each channel by the batch's own mean and biased variance, then scales, shifts, adds `residual`
/// if there is one, and with [`BatchNormOptions::relu`] cuts off negative values.
///
/// # Equation
///
/// `y = (x − mean) / sqrt(variance + epsilon) · weight + bias + residual`, with ReLU `max(y, 0)`, whose
/// gradient at 0 is 0.
///
/// # Shapes
///
/// - input, residual, output: `[batch, channels, height, width]`
/// - weight, bias, mean, variance: `[channels]`
///
/// # Panics
///
/// If the length of `weight` or `bias` differs from the channels, `residual` has another shape, or the
/// input has no elements.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::{BatchNormOptions, batch_norm_train};
///
/// let device = Device::flex();
/// let input = Tensor::<4>::from_data([[[[1.0], [3.0]]]], &device);
/// let (weight, bias) = (Tensor::ones([1], &device), Tensor::zeros([1], &device));
/// let result = batch_norm_train(input, weight, bias, None, BatchNormOptions { epsilon: 1e-5, relu: true });
/// assert_eq!(result.mean.into_scalar::<f32>(), 2.0);
/// assert_eq!(result.variance.into_scalar::<f32>(), 1.0);
/// ```
#[must_use]
pub fn batch_norm_train(
    input: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    residual: Option<Tensor<4>>,
    options: BatchNormOptions,
) -> BatchNormOutput {
    check(input.dims(), &[("weight", &weight), ("bias", &bias)], residual.as_ref());
    assert!(
        input.shape().num_elements() > 0,
        "input {:?} has no elements to take a mean of",
        input.dims()
    );
    let [weight, bias] = [weight, bias].map(Tensor::into_dispatch);
    let input = input.into_dispatch();
    let (output, mean, variance) = match residual.map(Tensor::into_dispatch) {
        Some(residual) => <Dispatch as BatchNormOps>::batch_norm_residual_forward(
            input, weight, bias, residual, options,
        ),
        None => <Dispatch as BatchNormOps>::batch_norm_forward(input, weight, bias, options),
    };
    BatchNormOutput {
        output: Tensor::from_dispatch(output),
        mean: Tensor::from_dispatch(mean),
        variance: Tensor::from_dispatch(variance),
    }
}

/// Normalises each channel by a given mean and variance, then scales, shifts, adds `residual` if there is
/// one, and with [`BatchNormOptions::relu`] cuts off negative values.
///
/// Where a gradient is tracked, ordinary tensor operations do it; they also give gradients to `mean`
/// and `variance`.
///
/// # Shapes
///
/// As [`batch_norm_train`].
///
/// # Panics
///
/// If the length of `weight`, `bias`, `mean` or `variance` differs from the channels, or `residual` has another shape.
#[must_use]
pub fn batch_norm_inference(
    input: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    mean: Tensor<1>,
    variance: Tensor<1>,
    residual: Option<Tensor<4>>,
    options: BatchNormOptions,
) -> Tensor<4> {
    check(
        input.dims(),
        &[("weight", &weight), ("bias", &bias), ("mean", &mean), ("variance", &variance)],
        residual.as_ref(),
    );
    let [weight, bias, mean, variance] = [weight, bias, mean, variance].map(Tensor::into_dispatch);
    let input = input.into_dispatch();
    Tensor::from_dispatch(match residual.map(Tensor::into_dispatch) {
        Some(residual) => <Dispatch as BatchNormOps>::batch_norm_residual_apply(
            input, weight, bias, mean, variance, residual, options,
        ),
        None => <Dispatch as BatchNormOps>::batch_norm_apply(
            input, weight, bias, mean, variance, options,
        ),
    })
}

/// Panics, saying why, unless the sizes fit.
pub(crate) fn check(
    input: [usize; 4],
    parameters: &[(&str, &Tensor<1>)],
    residual: Option<&Tensor<4>>,
) {
    if let Some(residual) = residual {
        let found = residual.dims();
        assert_eq!(found, input, "residual of {found:?} for an input of {input:?}");
    }
    let channels = input[1];
    for (name, tensor) in parameters {
        let [length] = tensor.dims();
        assert_eq!(length, channels, "{name} has {length} elements for {channels} channels");
    }
}

/// The backend side of [`batch_norm_train`] and [`batch_norm_inference`]. Sizes are checked by the
/// functions.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait BatchNormOps: Backend {
    /// The output, and each channel's mean and biased variance.
    #[fusion(default)]
    fn batch_norm_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::forward::<Self>(input, weight, bias, None, options)
    }

    /// As [`BatchNormOps::batch_norm_forward`], with a residual.
    #[fusion(default)]
    fn batch_norm_residual_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::forward::<Self>(input, weight, bias, Some(residual), options)
    }

    /// The gradients of input, weight and bias, of a layer without a residual.
    #[fusion(default)]
    fn batch_norm_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::gradients::<Self>(gradient, input, weight, bias, mean, variance, options)
    }

    /// The gradients of input, weight, bias and residual, of a layer with one, whose output was `output`.
    #[fusion(default)]
    fn batch_norm_residual_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        output: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::residual_gradients::<Self>(
            gradient, input, output, weight, mean, variance, options,
        )
    }

    /// The output by given statistics.
    #[fusion(default)]
    fn batch_norm_apply(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> FloatTensor<Self> {
        reference::apply::<Self>(input, weight, bias, mean, variance, None, options)
    }

    /// As [`BatchNormOps::batch_norm_apply`], with a residual.
    #[fusion(default)]
    fn batch_norm_residual_apply(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> FloatTensor<Self> {
        reference::apply::<Self>(input, weight, bias, mean, variance, Some(residual), options)
    }
}
