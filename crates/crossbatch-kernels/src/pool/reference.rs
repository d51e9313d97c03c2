//! The pooling of Burn itself.

use super::PoolOptions;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata, get_or_init_device_settings};
use burn::tensor::Shape;

pub(super) fn forward<B: Backend>(
    input: FloatTensor<B>,
    PoolOptions { kernel, stride, padding, ceil_mode }: PoolOptions,
) -> (FloatTensor<B>, IntTensor<B>) {
    let dtype = get_or_init_device_settings::<B>(&input.device()).int_dtype;
    let result = B::max_pool2d_with_indices(
        input,
        [kernel; 2],
        [stride; 2],
        [padding; 2],
        [1; 2],
        ceil_mode,
        dtype,
    );
    (result.output, result.indices)
}

pub(super) fn gradient<B: Backend>(
    gradient: FloatTensor<B>,
    places: IntTensor<B>,
    size: [usize; 2],
    PoolOptions { kernel, stride, padding, ceil_mode }: PoolOptions,
) -> FloatTensor<B> {
    let shape = gradient.shape();
    let shape = Shape::new([shape[0], shape[1], size[0], size[1]]);
    // Only the shape of the input matters here.
    let input = B::float_zeros(shape, &gradient.device(), gradient.dtype().into());
    B::max_pool2d_with_indices_backward(
        input,
        [kernel; 2],
        [stride; 2],
        [padding; 2],
        [1; 2],
        ceil_mode,
        gradient,
        places,
    )
    .x_grad
}
