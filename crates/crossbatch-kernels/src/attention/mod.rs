//! Softmax attention.

mod backward;
mod flex;
mod reference;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

/// Scaled dot-product attention.
///
/// On the CPU a tile of 64 queries meets all keys at a time, and no matrix of queries x keys is kept, for the backward
/// pass neither: it computes the tile's scores anew.
///
/// # Equation
///
/// `softmax(q · kᵀ / sqrt(D)) · v`
///
/// # Shapes
///
/// - q, output: `[batch, heads, T, D]`
/// - k, v: `[batch, heads, S, D]`
///
/// # Panics
///
/// If the shapes do not fit, or there is no key or no column.
///
/// # References
///
/// Vaswani et al., "Attention Is All You Need" (NIPS 2017), section 3.2.1, <https://arxiv.org/abs/1706.03762>.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::attention;
///
/// let device = Device::flex();
/// let q = Tensor::<4>::from_data([[[[0.0]]]], &device);
/// let k = Tensor::<4>::from_data([[[[1.0], [2.0]]]], &device);
/// let v = Tensor::<4>::from_data([[[[3.0], [5.0]]]], &device);
/// // A query of zeros likes every key as much as any other.
/// assert_eq!(attention(q, k, v).into_scalar::<f32>(), 4.0);
/// ```
#[must_use]
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>) -> Tensor<4> {
    let (queries, keys, of_values) = (q.dims(), k.dims(), v.dims());
    let [batch, heads, _, dim] = queries;
    assert_eq!([batch, heads, keys[2], dim], keys, "queries {queries:?}, keys {keys:?}");
    assert_eq!(of_values, keys, "values {of_values:?}, keys {keys:?}");
    assert!(keys[2] > 0 && dim > 0, "keys {keys:?} have nothing to attend to");
    let (output, _) = <Dispatch as AttentionOps>::attention_forward(
        q.into_dispatch(),
        k.into_dispatch(),
        v.into_dispatch(),
    );
    Tensor::from_dispatch(output)
}

/// The backend side of [`attention`]. Sizes are checked by the function.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait AttentionOps: Backend {
    /// The output, and of each query the logarithm of the sum that its weights are divided by, `[batch, heads, T, 1]`.
    #[fusion(default)]
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        reference::forward::<Self>(q, k, v)
    }

    /// The gradients of q, k and v, from what the forward pass took and gave.
    #[fusion(default)]
    fn attention_gradients(
        gradient: FloatTensor<Self>,
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        output: FloatTensor<Self>,
        logs: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::gradients::<Self>(gradient, q, k, v, output, logs)
    }
}
