//! Two-dimensional convolution and its gradients, images in `[N, C, H, W]`, weights in `[O, C / groups, kH, kW]`.
//!
//! Cost: `2 · N · O · C / groups · kH · kW · outH · outW` operations for the forward pass and as many for each
//! gradient. The path follows from the shape:
//!
//! | path | for |
//! |---|---|
//! | `depthwise` | one channel and one filter a group |
//! | `winograd` | 3x3 kernels, stride 1, 32 channels and filters or more, outputs that tiles of 2x2 fill well; forward in training up to 256 channels |
//! | `patches` | kernels that do not overlap (those of one pixel too), on more than 64 output pixels with AVX-512 or to the weights, and very short sums: products with a patch matrix, or with the image itself where that is the same |
//! | `direct` | all others. Every pass copies an image once with its padding, and the inner loops keep a tile of results in registers while they read that copy at one offset a tap |
//!
//! Every element is summed in an order that depends on the shapes only, so results are the same to the
//! bit for any number of threads. Work is shared over rayon's current pool.

mod after;
mod depthwise;
mod direct;
mod every;
mod patches;
mod planes;
mod scratch;
mod shape;
mod strip;
mod tile;
mod weights;
mod winograd;

use crate::batch_norm::{BatchNormShape, Normalisation};
use crate::lanes::Level;
use after::After;
use rayon::prelude::*;
pub use shape::ConvShape;

/// The convolution of `input` with `weight`, plus a `bias` for each filter.
///
/// # Panics
///
/// If a slice's length differs from the shape's, or as [`ConvShape::output`].
#[must_use]
pub fn forward(shape: &ConvShape, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    assert_forward(shape, input, weight, bias);
    forward_at(Level::detect(), shape, input, weight, After::bias(bias))
}

fn forward_at(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    after: After<'_>,
) -> Vec<f32> {
    if shape.depthwise() {
        return depthwise::forward(level, shape, input, weight, after);
    }
    if winograd::fit_training(shape) {
        return winograd::forward(level, shape, input, weight, after);
    }
    if patches::fit(level, shape) {
        return patches::forward(level, shape, input, weight, after);
    }
    direct::forward(level, shape, input, weight, after)
}

/// As [`forward`], by Winograd wherever that is faster: for inference.
///
/// Its transformed kernels are rounded once more, an error that a sum over many channels of pixels of one sign does not
/// average away. [`forward`], whose results training carries on in running statistics, takes it up to 256 channels only.
///
/// # Panics
///
/// As [`forward`].
#[must_use]
pub fn inference(
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    assert_forward(shape, input, weight, bias);
    inference_at(Level::detect(), shape, input, weight, After::bias(bias))
}

fn inference_at(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    after: After<'_>,
) -> Vec<f32> {
    if winograd::fit(shape) {
        return winograd::forward(level, shape, input, weight, after);
    }
    forward_at(level, shape, input, weight, after)
}

/// As [`inference`] without a bias, followed by batch normalisation with a residual and ReLU where it has them: the same
/// to the bit as one after the other, but each result is normalised while it is still in the cache.
///
/// # Panics
///
/// As [`forward`], or if the normalisation is of another shape than the output.
#[must_use]
pub fn normalised(
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    normalisation: &Normalisation<'_>,
) -> Vec<f32> {
    assert_forward(shape, input, weight, None);
    let [height, width] = shape.output();
    let output =
        BatchNormShape { batch: shape.batch, channels: shape.filters, area: height * width };
    assert_eq!(*normalisation.shape(), output, "the normalisation is of another shape");
    let after = After { bias: None, normalisation: Some(normalisation) };
    inference_at(Level::detect(), shape, input, weight, after)
}

fn assert_forward(shape: &ConvShape, input: &[f32], weight: &[f32], bias: Option<&[f32]>) {
    assert_len("input", input.len(), shape.input_len());
    assert_len("weight", weight.len(), shape.weight_len());
    if let Some(bias) = bias {
        assert_len("bias", bias.len(), shape.filters);
    }
}

/// The gradient of the input, from the output's `gradient`.
///
/// # Panics
///
/// If a slice's length differs from the shape's, or as [`ConvShape::output`].
#[must_use]
pub fn input_gradient(shape: &ConvShape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    input_gradient_at(Level::detect(), shape, gradient, weight)
}

fn input_gradient_at(
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    assert_len("gradient", gradient.len(), shape.output_len());
    assert_len("weight", weight.len(), shape.weight_len());
    if shape.depthwise() {
        return depthwise::input_gradient(level, shape, gradient, weight);
    }
    if winograd::fit(shape) {
        return winograd::input_gradient(level, shape, gradient, weight);
    }
    if patches::fit(level, shape) {
        return patches::input_gradient(level, shape, gradient, weight);
    }
    direct::input_gradient(level, shape, gradient, weight)
}

/// The gradient of the weights, from the input and the output's `gradient`.
///
/// # Panics
///
/// If a slice's length differs from the shape's, or as [`ConvShape::output`].
#[must_use]
pub fn weight_gradient(shape: &ConvShape, input: &[f32], gradient: &[f32]) -> Vec<f32> {
    weight_gradient_at(Level::detect(), shape, input, gradient)
}

fn weight_gradient_at(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    assert_len("input", input.len(), shape.input_len());
    assert_len("gradient", gradient.len(), shape.output_len());
    if shape.depthwise() {
        return depthwise::weight_gradient(level, shape, input, gradient);
    }
    if winograd::fit(shape) {
        return winograd::weight_gradient(level, shape, input, gradient);
    }
    if patches::fit_weights(shape) {
        return patches::weight_gradient(level, shape, input, gradient);
    }
    direct::weight_gradient(level, shape, input, gradient)
}

/// The gradient of the bias: each filter's sum of the output's `gradient`, in f64, rounded once.
///
/// # Panics
///
/// If the slice's length differs from the shape's, or as [`ConvShape::output`].
#[must_use]
pub fn bias_gradient(shape: &ConvShape, gradient: &[f32]) -> Vec<f32> {
    assert_len("gradient", gradient.len(), shape.output_len());
    let output = shape.output();
    let area = output[0] * output[1];
    (0..shape.filters)
        .into_par_iter()
        .with_min_len((16 * 1024 / (shape.batch * area).max(1)).max(1))
        .map(|filter| {
            let mut sums = [0.0f64; 8];
            for image in 0..shape.batch {
                let (chunks, rest) =
                    gradient[(image * shape.filters + filter) * area..][..area].as_chunks::<8>();
                for chunk in chunks {
                    for (sum, value) in sums.iter_mut().zip(chunk) {
                        *sum += f64::from(*value);
                    }
                }
                for (sum, value) in sums.iter_mut().zip(rest) {
                    *sum += f64::from(*value);
                }
            }
            sums.iter().sum::<f64>() as f32
        })
        .collect()
}

fn assert_len(what: &str, found: usize, expected: usize) {
    assert_eq!(found, expected, "{what} has {found} elements, its shape {expected}");
}

#[cfg(test)]
mod tests;
