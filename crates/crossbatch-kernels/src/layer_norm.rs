//! Layer normalisation.

use burn::tensor::Tensor;

/// Normalises each row of `[.., D]` by its own mean and biased variance, then scales and shifts by `[D]`.
///
/// `y = (x − mean) / sqrt(variance + epsilon) · weight + bias`.
///
/// # Panics
///
/// If `weight` or `bias` does not have the last size of the input.
#[must_use]
pub fn layer_norm<const R: usize>(
    input: Tensor<R>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<R> {
    let shape = input.dims();
    let columns = shape[R - 1];
    for (name, length) in [("weight", weight.dims()[0]), ("bias", bias.dims()[0])] {
        assert_eq!(length, columns, "{name} has {length} elements for rows of {columns}");
    }
    let rows = shape[..R - 1].iter().product();
    let input: Tensor<2> = input.reshape([rows, columns]);
    let mean = input.clone().mean_dim(1);
    let distance = input - mean;
    let variance = distance.clone().square().mean_dim(1);
    let normal = distance / (variance + epsilon).sqrt();
    (normal * weight.reshape([1, columns]) + bias.reshape([1, columns])).reshape(shape)
}

/// [`layer_norm`] over the channels of `[batch, channels, height, width]`, as ConvNeXt's downsampling layers take it.
///
/// # Panics
///
/// If `weight` or `bias` does not have a value for each channel.
#[must_use]
pub fn layer_norm_channels(
    input: Tensor<4>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    epsilon: f64,
) -> Tensor<4> {
    layer_norm(input.permute([0, 2, 3, 1]), weight, bias, epsilon).permute([0, 3, 1, 2])
}
