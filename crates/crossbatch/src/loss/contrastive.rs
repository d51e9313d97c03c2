use burn::tensor::{Bool, Tensor};

use super::PairLoss;

/// Contrastive loss: pulls every positive towards similarity 1, pushes negatives below a margin.
///
/// # Equation
///
/// With `s_ij` the cosine similarity of anchor `i` and reference `j`:
///
/// ```text
/// positive pair              1 - s_ij
/// negative pair, s_ij > m    s_ij
/// any other negative pair    0
/// ```
///
/// # Shapes
///
/// Anchors `[B, D]`, references `[M, D]`, both of unit length; a scalar comes out.
///
/// # Defaults
///
/// `margin` 0.5 (the paper's and the released code's).
///
/// # With a memory
///
/// This is the loss the paper gains most with. Every active pair pulls equally hard, so under
/// [`Reduction::Sum`](crate::Reduction::Sum) the memory's term grows with the memory; watch the
/// active pairs, or use `pair-mean`.
///
/// # Panics
///
/// Never; [`pair_loss`](crate::pair_loss) checks the shapes.
///
/// # References
///
/// "Cross-Batch Memory for Embedding Learning" (CVPR 2020), section 3; Hadsell et al.,
/// "Dimensionality Reduction by Learning an Invariant Mapping" (CVPR 2006). As released, the
/// negative's term is `s_ij`, not the hinge `s_ij - m`: the gradient is the same, the value jumps by
/// `m` where a pair becomes active.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch::{ContrastiveLoss, Reduction, Relation, Rows, pair_loss};
///
/// let device = Device::flex();
/// let rows = Tensor::<2>::from_data([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]], &device);
/// let relation = Relation::within_batch(Rows { labels: &[0, 0, 1], ids: &[0, 1, 2] }, &device);
/// let loss = ContrastiveLoss { margin: 0.5 };
/// let output = pair_loss(&loss, rows.clone(), rows, relation, Reduction::Sum);
/// // Positives: 2 x (1 - 0.8). Negatives: 2 x 0.6 (rows 0 and 2), 2 x 0.96 (rows 1 and 2).
/// let value = output.value.into_scalar::<f32>();
/// assert!((value - (0.4 + 1.2 + 1.92) / 3.0).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ContrastiveLoss {
    /// Similarity above which a negative pair is active.
    pub margin: f32,
}

impl Default for ContrastiveLoss {
    fn default() -> Self {
        Self { margin: 0.5 }
    }
}

impl PairLoss for ContrastiveLoss {
    fn positive(&self, similarity: Tensor<2>) -> Tensor<2> {
        1.0 - similarity
    }

    fn negative(&self, similarity: Tensor<2>) -> Tensor<2> {
        similarity
    }

    fn active_negative(&self, similarity: Tensor<2>) -> Tensor<2, Bool> {
        similarity.greater_scalar(self.margin)
    }
}
