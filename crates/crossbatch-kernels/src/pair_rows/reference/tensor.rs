//! Masks and rows.

use super::program::NONE;
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::backend::{Backend, TensorMetadata, get_or_init_device_settings};
use burn::tensor::{BoolDType, Slice};

/// The type that this device has for truth values.
pub(super) fn bools<B: Backend>(tensor: &impl TensorMetadata<Device = B::Device>) -> BoolDType {
    get_or_init_device_settings::<B>(&tensor.device()).bool_dtype
}

/// Column `index` of `[B, n]`, as `[B, 1]`.
pub(in crate::pair_rows) fn column<B: Backend>(
    tensor: &FloatTensor<B>,
    index: usize,
) -> FloatTensor<B> {
    let rows = tensor.shape()[0];
    B::float_slice(tensor.clone(), &[Slice::from(0..rows), Slice::from(index..index + 1)])
}

/// Where `left > right`.
pub(super) fn above<B: Backend>(left: FloatTensor<B>, right: FloatTensor<B>) -> BoolTensor<B> {
    let kind = bools::<B>(&left);
    B::float_greater(left, right, kind)
}

/// Where `left > right`, one number for all.
pub(in crate::pair_rows) fn above_number<B: Backend>(
    left: FloatTensor<B>,
    right: f64,
) -> BoolTensor<B> {
    let kind = bools::<B>(&left);
    B::float_greater_elem(left, right.into(), kind)
}

/// Where `left < right`, one number for all.
pub(in crate::pair_rows) fn below_number<B: Backend>(
    left: FloatTensor<B>,
    right: f64,
) -> BoolTensor<B> {
    let kind = bools::<B>(&left);
    B::float_lower_elem(left, right.into(), kind)
}

/// The values where `mask` is true, elsewhere `other`.
pub(in crate::pair_rows) fn with<B: Backend>(
    values: FloatTensor<B>,
    mask: BoolTensor<B>,
    other: f64,
) -> FloatTensor<B> {
    B::float_mask_fill(values, B::bool_not(mask), other.into())
}

/// `[B, M]` to `[B, 1]`.
pub(super) fn row_sum<B: Backend>(values: FloatTensor<B>) -> FloatTensor<B> {
    B::float_sum_dim(values, 1)
}

/// How many a row, in the type of `like`.
pub(super) fn count<B: Backend>(mask: BoolTensor<B>, like: &FloatTensor<B>) -> FloatTensor<B> {
    row_sum::<B>(B::bool_into_float(mask, like.dtype().into()))
}

/// The largest of the values in the mask, a row; `-NONE` if there is none.
pub(super) fn largest<B: Backend>(values: &FloatTensor<B>, mask: &BoolTensor<B>) -> FloatTensor<B> {
    B::float_max_dim(with::<B>(values.clone(), mask.clone(), -f64::from(NONE)), 1)
}

/// The smallest of the values in the mask, a row; `NONE` if there is none.
pub(super) fn smallest<B: Backend>(
    values: &FloatTensor<B>,
    mask: &BoolTensor<B>,
) -> FloatTensor<B> {
    B::float_min_dim(with::<B>(values.clone(), mask.clone(), f64::from(NONE)), 1)
}

/// 0 everywhere, in the shape of `values`.
pub(super) fn zeros<B: Backend>(values: &FloatTensor<B>) -> FloatTensor<B> {
    B::float_zeros(values.shape(), &values.device(), values.dtype().into())
}
