//! Batch normalisation in ordinary operations.

use super::BatchNormOptions;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, get_or_init_device_settings};
use burn::tensor::Shape;

/// `[channels]` as `[1, channels, 1, 1]`.
fn spread<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let channels = tensor.shape()[0];
    B::float_reshape(tensor, Shape::new([1, channels, 1, 1]))
}

/// `[1, channels, 1, 1]` as `[channels]`.
fn flat<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let channels = tensor.shape()[1];
    B::float_reshape(tensor, Shape::new([channels]))
}

/// The sum of each channel, `[1, channels, 1, 1]`.
fn sum<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    B::float_sum_dims(tensor, &[3, 2, 0])
}

fn mean<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let shape = tensor.shape();
    let count = (shape[0] * shape[2] * shape[3]) as f64;
    B::float_div_scalar(sum::<B>(tensor), count.into())
}

/// `1 / sqrt(variance + epsilon)`.
fn inverse<B: Backend>(variance: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    B::float_recip(B::float_sqrt(B::float_add_scalar(variance, epsilon.into())))
}

pub(super) fn forward<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    residual: Option<FloatTensor<B>>,
    options: BatchNormOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let average = mean::<B>(input.clone());
    let distance = B::float_sub(input.clone(), average.clone());
    let variance = mean::<B>(B::float_mul(distance.clone(), distance));
    let (average, variance) = (flat::<B>(average), flat::<B>(variance));
    let output =
        apply::<B>(input, weight, bias, average.clone(), variance.clone(), residual, options);
    (output, average, variance)
}

pub(super) fn apply<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    residual: Option<FloatTensor<B>>,
    options: BatchNormOptions,
) -> FloatTensor<B> {
    let scale = B::float_mul(weight, inverse::<B>(variance, options.epsilon));
    let distance = B::float_sub(input, spread::<B>(mean));
    let output = B::float_add(B::float_mul(distance, spread::<B>(scale)), spread::<B>(bias));
    let output = match residual {
        Some(residual) => B::float_add(output, residual),
        None => output,
    };
    if options.relu { B::relu(output) } else { output }
}

pub(super) fn gradients<B: Backend>(
    gradient: FloatTensor<B>,
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    mean_of_input: FloatTensor<B>,
    variance: FloatTensor<B>,
    options: BatchNormOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let gradient = if options.relu {
        let output = apply::<B>(
            input.clone(),
            weight.clone(),
            bias,
            mean_of_input.clone(),
            variance.clone(),
            None,
            options,
        );
        cut::<B>(gradient, output)
    } else {
        gradient
    };
    through_statistics::<B>(gradient, input, weight, mean_of_input, variance, options)
}

/// The gradients of input, weight, bias and residual.
pub(super) fn residual_gradients<B: Backend>(
    gradient: FloatTensor<B>,
    input: FloatTensor<B>,
    output: FloatTensor<B>,
    weight: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    options: BatchNormOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let gradient = if options.relu { cut::<B>(gradient, output) } else { gradient };
    let (to_input, to_weight, to_bias) =
        through_statistics::<B>(gradient.clone(), input, weight, mean, variance, options);
    (to_input, to_weight, to_bias, gradient)
}

/// The gradient before the ReLU: that behind it where its output is above zero.
fn cut<B: Backend>(gradient: FloatTensor<B>, output: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = get_or_init_device_settings::<B>(&output.device()).bool_dtype;
    let cut = B::float_lower_equal_elem(output, 0.0.into(), dtype);
    B::float_mask_fill(gradient, cut, 0.0.into())
}

/// The gradients of input, weight and bias of a layer without ReLU.
fn through_statistics<B: Backend>(
    gradient: FloatTensor<B>,
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    mean_of_input: FloatTensor<B>,
    variance: FloatTensor<B>,
    options: BatchNormOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let inverse = spread::<B>(inverse::<B>(variance, options.epsilon));
    let distance = B::float_sub(input, spread::<B>(mean_of_input));
    let normal = B::float_mul(distance, inverse.clone());
    let product = B::float_mul(gradient.clone(), normal.clone());
    let to_weight = flat::<B>(sum::<B>(product.clone()));
    let to_bias = flat::<B>(sum::<B>(gradient.clone()));
    let along = B::float_mul(normal, mean::<B>(product));
    let rest = B::float_sub(B::float_sub(gradient.clone(), mean::<B>(gradient)), along);
    let to_input = B::float_mul(rest, B::float_mul(spread::<B>(weight), inverse));
    (to_input, to_weight, to_bias)
}
