//! Rows of length one in ordinary operations.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata, get_or_init_device_settings};

const LEAST: f64 = 1e-12;

pub(super) fn forward<B: Backend>(rows: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let squares = B::float_sum_dim(B::float_mul(rows.clone(), rows.clone()), 1);
    let lengths = B::float_clamp_min(B::float_sqrt(squares), LEAST.into());
    (B::float_div(rows, lengths.clone()), lengths)
}

/// `(g − y (y · g)) / length`, and `g / length` for rows at the least length.
pub(super) fn gradient<B: Backend>(
    gradient: FloatTensor<B>,
    output: FloatTensor<B>,
    lengths: FloatTensor<B>,
) -> FloatTensor<B> {
    let along = B::float_sum_dim(B::float_mul(output.clone(), gradient.clone()), 1);
    let dtype = get_or_init_device_settings::<B>(&lengths.device()).bool_dtype;
    let cut = B::float_lower_equal_elem(lengths.clone(), LEAST.into(), dtype);
    let along = B::float_mask_fill(along, cut, 0.0.into());
    B::float_div(B::float_sub(gradient, B::float_mul(output, along)), lengths)
}
