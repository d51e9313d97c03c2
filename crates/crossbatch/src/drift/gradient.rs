//! What a memory's staleness does to the gradient.

use burn::tensor::Tensor;
use crossbatch_kernels::References;

/// A gradient over stale entries against the one over fresh entries.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct GradientError {
    /// `‖g_stale − g_fresh‖ / ‖g_fresh‖`; 0 where both are 0, infinite where only the fresh one is.
    pub relative: f64,
    /// Cosine of the two; 1 where both are 0, 0 where one is.
    pub cosine: f64,
}

impl GradientError {
    /// The error of `stale`, both of any shape, flat and in the same order.
    ///
    /// # Panics
    ///
    /// If their lengths differ.
    pub fn between(stale: &[f32], fresh: &[f32]) -> Self {
        let (given, expected) = (stale.len(), fresh.len());
        assert_eq!(
            given, expected,
            "{given} numbers of a stale gradient for {expected} fresh ones"
        );
        let sum = |term: fn(f64, f64) -> f64| -> f64 {
            let pairs = stale.iter().zip(fresh);
            pairs.map(|(&stale, &fresh)| term(f64::from(stale), f64::from(fresh))).sum()
        };
        let difference = sum(|stale, fresh| (stale - fresh).powi(2)).sqrt();
        let product = sum(|stale, fresh| stale * fresh);
        let stale_norm = sum(|stale, _| stale * stale).sqrt();
        let fresh_norm = sum(|_, fresh| fresh * fresh).sqrt();
        Self {
            relative: if difference == 0.0 { 0.0 } else { difference / fresh_norm },
            cosine: match (stale_norm == 0.0, fresh_norm == 0.0) {
                (true, true) => 1.0,
                (false, false) => product / (stale_norm * fresh_norm),
                _ => 0.0,
            },
        }
    }
}

/// The error that stale entries make in the gradient of a loss by the anchors.
///
/// `fresh` are the embeddings that the current network gives to the images of `stale`, slot by slot;
/// labels, ids, weights and the number of slots are those of `stale`. For a sample of slots pass
/// references of these alone. `gradient` computes what is compared, usually the gradient of the
/// memory's loss by the anchors.
///
/// # Shapes
///
/// - `fresh`: `[C, D]`, as `stale.embeddings`
///
/// # Panics
///
/// If the shapes differ, or `gradient` gives results of two shapes.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch::{Memory, Rows, SameImage, memory_gradient_error};
///
/// let device = Device::flex().autodiff();
/// let mut memory = Memory::new(2, 2, &device);
/// let old = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0]], &device);
/// memory.enqueue(old, Rows { labels: &[0, 1], ids: &[0, 1] }, 0).unwrap();
/// // The network would now put the second image elsewhere.
/// let fresh = Tensor::<2>::from_data([[1.0, 0.0], [0.6, 0.8]], &device);
/// let error = memory_gradient_error(memory.references(SameImage::Keep), fresh, |references| {
///     let anchor = Tensor::<2>::from_data([[1.0, 0.0]], &device).require_grad();
///     let loss = anchor.clone().matmul(references.embeddings.transpose()).sum();
///     anchor.grad(&loss.backward()).unwrap()
/// });
/// // Gradients (1, 1) and (1.6, 0.8).
/// assert!((error.relative - 0.4f64.sqrt() / 3.2f64.sqrt()).abs() < 1e-6);
/// ```
///
/// # References
///
/// "Cross-Batch Memory for Embedding Learning" (CVPR 2020), section 3.1 bounds this error by the drift
/// of the features (recalled); here it is measured.
pub fn memory_gradient_error<const D: usize>(
    stale: References,
    fresh: Tensor<2>,
    gradient: impl Fn(References) -> Tensor<D>,
) -> GradientError {
    let (found, expected) = (fresh.dims(), stale.embeddings.dims());
    assert_eq!(found, expected, "fresh embeddings {found:?} for stale ones {expected:?}");
    let renewed = References { embeddings: fresh, screen: None, ..stale.clone() };
    let values = |references| -> Vec<f32> {
        gradient(references).inner().into_data().iter::<f32>().collect()
    };
    GradientError::between(&values(stale), &values(renewed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let error = GradientError::between(&[3.0, 4.0], &[3.0, 0.0]);
        assert_eq!(error, GradientError { relative: 4.0 / 3.0, cosine: 0.6 });
        let none = GradientError::between(&[0.0], &[0.0]);
        assert_eq!(none, GradientError { relative: 0.0, cosine: 1.0 });
        let only_stale = GradientError::between(&[1.0], &[0.0]);
        assert_eq!(only_stale, GradientError { relative: f64::INFINITY, cosine: 0.0 });
        // Twice the gradient points the same way.
        let twice = GradientError::between(&[2.0, 2.0], &[1.0, 1.0]);
        assert!((twice.relative - 1.0).abs() < 1e-12 && (twice.cosine - 1.0).abs() < 1e-12);
    }
}
