//! Rows of length one.

use burn::tensor::Tensor;

/// Rows divided by their length (at least 1e-12, as `torch.nn.functional.normalize`).
#[must_use]
pub fn l2_normalize(rows: Tensor<2>) -> Tensor<2> {
    let norm = rows.clone().square().sum_dim(1).clamp_min(1e-24).sqrt();
    rows / norm
}
