//! Arithmetic on rows that several losses share.

use burn::tensor::{Tensor, s};
use crossbatch_kernels::Anchors;

/// `ln(1 + exp(x))`, without overflow.
pub(crate) fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.clone().clamp_min(0.0) + (x.abs().neg()).exp().log1p()
}

/// The same two thresholds for every anchor, `[B, 2]`.
pub(crate) fn constant_thresholds(anchors: &Anchors, positive: f32, negative: f32) -> Tensor<2> {
    let [batch, _] = anchors.embeddings.dims();
    Tensor::<2>::from_data([[positive, negative]], &anchors.embeddings.device()).expand([batch, 2])
}

/// 1 where a count is above 0, else 0.
pub(crate) fn any(counts: Tensor<1>) -> Tensor<1> {
    counts.greater_scalar(0.0).float()
}

/// Two `[B]` columns side by side, `[B, 2]`.
pub(crate) fn columns(positive: Tensor<1>, negative: Tensor<1>) -> Tensor<2> {
    Tensor::stack(vec![positive, negative], 1)
}

/// The sum of the squares of each row, `[B]`.
pub(crate) fn squared_norms(rows: Tensor<2>) -> Tensor<1> {
    let [batch, _] = rows.dims();
    rows.square().sum_dim(1).reshape([batch])
}

/// One column of a `[B, n]` tensor, `[B]`.
pub(crate) fn column(tensor: &Tensor<2>, index: usize) -> Tensor<1> {
    let [batch, _] = tensor.dims();
    tensor.clone().slice(s![.., index..index + 1]).reshape([batch])
}
