//! Softmax attention.

use burn::tensor::{Tensor, activation};

/// Scaled dot-product attention: `softmax(q · kᵀ / sqrt(D)) · v`.
///
/// # Shapes
///
/// - q, output: `[batch, heads, T, D]`
/// - k, v: `[batch, heads, S, D]`
///
/// # Panics
///
/// If the shapes do not fit.
#[must_use]
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let [batch, heads, _, dim] = q.dims();
    let keys = k.dims();
    assert_eq!([batch, heads, keys[2], dim], keys, "queries {:?}, keys {keys:?}", q.dims());
    assert_eq!(v.dims(), keys, "values {:?}, keys {keys:?}", v.dims());
    let scale = 1.0 / (dim as f64).sqrt();
    activation::softmax((q * scale).matmul(k.transpose()), 3).matmul(v)
}
