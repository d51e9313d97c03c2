//! Layer normalisation in ordinary operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;

/// `[columns]` as `[1, columns]`.
fn spread<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let columns = tensor.shape()[0];
    B::float_reshape(tensor, Shape::new([1, columns]))
}

/// The sum of each column, `[columns]`.
fn down<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let columns = tensor.shape()[1];
    B::float_reshape(B::float_sum_dim(tensor, 0), Shape::new([columns]))
}

/// The mean of each row, `[rows, 1]`.
fn mean<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    let columns = tensor.shape()[1] as f64;
    B::float_div_scalar(B::float_sum_dim(tensor, 1), columns.into())
}

pub(super) fn forward<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    epsilon: f64,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let center = mean::<B>(input.clone());
    let distance = B::float_sub(input, center.clone());
    let variance = mean::<B>(B::float_mul(distance.clone(), distance.clone()));
    let inverse = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, epsilon.into())));
    let normal = B::float_mul(distance, inverse.clone());
    let output = B::float_add(B::float_mul(normal, spread::<B>(weight)), spread::<B>(bias));
    (output, center, inverse)
}

/// `dx = inverse · (dz − mean(dz) − x̂ · mean(dz · x̂))`, `dz = gradient · weight`.
pub(super) fn gradients<B: Backend>(
    gradient: FloatTensor<B>,
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    center: FloatTensor<B>,
    inverse: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let normal = B::float_mul(B::float_sub(input, center), inverse.clone());
    let to_weight = down::<B>(B::float_mul(gradient.clone(), normal.clone()));
    let to_bias = down::<B>(gradient.clone());
    let scaled = B::float_mul(gradient, spread::<B>(weight));
    let along = mean::<B>(B::float_mul(scaled.clone(), normal.clone()));
    let rest = B::float_sub(scaled.clone(), mean::<B>(scaled));
    let to_input = B::float_mul(B::float_sub(rest, B::float_mul(normal, along)), inverse);
    (to_input, to_weight, to_bias)
}
