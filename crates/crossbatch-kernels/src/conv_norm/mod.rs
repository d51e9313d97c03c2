//! Convolution and batch normalisation in one, for inference.

// Each tensor is an argument, as the macro of extensions wants them.
#![allow(clippy::too_many_arguments)]

mod flex;

use crate::batch_norm::{self, BatchNormOps, BatchNormOptions};
use crate::conv2d::{self, Conv2dOps, ConvOptions};
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// A batch normalisation by given statistics, for each channel `[channels]`.
#[derive(Clone, Debug)]
pub struct Normalisation {
    /// Scale.
    pub weight: Tensor<1>,
    /// Shift.
    pub bias: Tensor<1>,
    /// Mean that is taken off.
    pub mean: Tensor<1>,
    /// Variance that is divided by.
    pub variance: Tensor<1>,
    /// Epsilon and ReLU.
    pub options: BatchNormOptions,
}

/// [`conv2d`](crate::conv2d) without a bias, then [`batch_norm_inference`](crate::batch_norm_inference).
///
/// On the CPU, where no gradient is tracked, each result is normalised before it leaves the cache, which gives the same to
/// the bit as one after the other. Elsewhere it is one after the other.
///
/// # Shapes
///
/// - input: `[batch, channels, height, width]`
/// - weight: `[filters, channels / groups, kernel_height, kernel_width]`
/// - each tensor of `norm`: `[filters]`
/// - residual and output: `[batch, filters, out_height, out_width]`
///
/// # Panics
///
/// As [`conv2d`](crate::conv2d), or if a length differs from the filters, or `residual` has another shape than the output.
#[must_use]
pub fn conv2d_norm_inference(
    input: Tensor<4>,
    weight: Tensor<4>,
    options: ConvOptions,
    norm: Normalisation,
    residual: Option<Tensor<4>>,
) -> Tensor<4> {
    conv2d::check(input.dims(), weight.dims(), None, options);
    let output = options.output(input.dims(), weight.dims());
    let Normalisation { weight: scale, bias, mean, variance, options: norm } = norm;
    batch_norm::check(
        output,
        &[("weight", &scale), ("bias", &bias), ("mean", &mean), ("variance", &variance)],
        residual.as_ref(),
    );
    let (input, weight) = (input.into_dispatch(), weight.into_dispatch());
    let [scale, bias, mean, variance] = [scale, bias, mean, variance].map(Tensor::into_dispatch);
    let options = ConvNormOptions { conv: options, norm };
    Tensor::from_dispatch(match residual.map(Tensor::into_dispatch) {
        Some(residual) => <Dispatch as ConvNormOps>::conv_norm_residual(
            input, weight, scale, bias, mean, variance, residual, options,
        ),
        None => <Dispatch as ConvNormOps>::conv_norm(
            input, weight, scale, bias, mean, variance, options,
        ),
    })
}

/// What both parts do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvNormOptions {
    /// How the kernel moves.
    pub conv: ConvOptions,
    /// Epsilon and ReLU.
    pub norm: BatchNormOptions,
}

/// The backend side of [`conv2d_norm_inference`]. Sizes are checked by the function.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait ConvNormOps: Backend + Conv2dOps + BatchNormOps {
    /// The convolution of `input` with `weight`, normalised.
    #[fusion(default)]
    fn conv_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: ConvNormOptions,
    ) -> FloatTensor<Self> {
        let features = Self::conv2d_forward(input, weight, options.conv);
        Self::batch_norm_apply(features, scale, shift, mean, variance, options.norm)
    }

    /// As [`ConvNormOps::conv_norm`], with a residual.
    #[fusion(default)]
    fn conv_norm_residual(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: ConvNormOptions,
    ) -> FloatTensor<Self> {
        let features = Self::conv2d_forward(input, weight, options.conv);
        Self::batch_norm_residual_apply(
            features,
            scale,
            shift,
            mean,
            variance,
            residual,
            options.norm,
        )
    }
}

/// Both parts, each with its own gradient.
impl<B: ConvNormOps, C: CheckpointStrategy> ConvNormOps for Autodiff<B, C> {}
