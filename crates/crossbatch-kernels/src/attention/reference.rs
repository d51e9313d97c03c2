//! Softmax attention in ordinary operations, over a matrix of queries x keys.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, TensorMetadata};

fn transposed<B: Backend>(tensor: FloatTensor<B>) -> FloatTensor<B> {
    B::float_swap_dims(tensor, 2, 3)
}

fn scale<B: Backend>(tensor: &FloatTensor<B>) -> f64 {
    1.0 / (tensor.shape()[3] as f64).sqrt()
}

/// `q · kᵀ / sqrt(D)`.
fn scores<B: Backend>(q: FloatTensor<B>, k: FloatTensor<B>) -> FloatTensor<B> {
    let scale = scale::<B>(&q);
    B::float_mul_scalar(B::float_matmul(q, transposed::<B>(k)), scale.into())
}

pub(super) fn forward<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let scores = scores::<B>(q, k);
    let most = B::float_max_dim(scores.clone(), 3);
    let weights = B::float_exp(B::float_sub(scores, most.clone()));
    let total = B::float_sum_dim(weights.clone(), 3);
    let output = B::float_matmul(B::float_div(weights, total.clone()), v);
    (output, B::float_add(most, B::float_log(total)))
}

/// Slopes by scores are `w · (slope − Σ w slope)`, and `Σ w slope` is `output · gradient`.
pub(super) fn gradients<B: Backend>(
    gradient: FloatTensor<B>,
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    output: FloatTensor<B>,
    logs: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let scale = scale::<B>(&q);
    let weights = B::float_exp(B::float_sub(scores::<B>(q.clone(), k.clone()), logs));
    let to_v = B::float_matmul(transposed::<B>(weights.clone()), gradient.clone());
    let slopes = B::float_matmul(gradient.clone(), transposed::<B>(v));
    let along = B::float_sum_dim(B::float_mul(output, gradient), 3);
    let slopes = B::float_mul(weights, B::float_sub(slopes, along));
    let slopes = B::float_mul_scalar(slopes, scale.into());
    let to_q = B::float_matmul(slopes.clone(), k);
    let to_k = B::float_matmul(transposed::<B>(slopes), q);
    (to_q, to_k, to_v)
}
