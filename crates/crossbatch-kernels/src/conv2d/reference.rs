//! The convolution of Burn itself.

use super::ConvOptions;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{Shape, ops};

fn burn_options(options: ConvOptions) -> ops::ConvOptions<2> {
    ops::ConvOptions::new(options.stride, options.padding, options.dilation, options.groups)
}

pub(super) fn forward<B: Backend>(
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    options: ConvOptions,
) -> FloatTensor<B> {
    B::conv2d(input, weight, None, burn_options(options))
}

pub(super) fn input_gradient<B: Backend>(
    gradient: FloatTensor<B>,
    weight: FloatTensor<B>,
    size: [usize; 2],
    options: ConvOptions,
) -> FloatTensor<B> {
    let shape =
        Shape::new([gradient.shape()[0], weight.shape()[1] * options.groups, size[0], size[1]]);
    // Only the shape of the input matters here.
    let input = B::float_zeros(shape, &gradient.device(), gradient.dtype().into());
    B::conv2d_x_backward(input, weight, gradient, burn_options(options))
}

pub(super) fn weight_gradient<B: Backend>(
    input: FloatTensor<B>,
    gradient: FloatTensor<B>,
    kernel: [usize; 2],
    options: ConvOptions,
) -> FloatTensor<B> {
    let shape =
        Shape::new([gradient.shape()[1], input.shape()[1] / options.groups, kernel[0], kernel[1]]);
    // Only the shape of the weight matters here.
    let weight = B::float_zeros(shape, &gradient.device(), gradient.dtype().into());
    B::conv2d_weight_backward(input, weight, gradient, burn_options(options))
}
