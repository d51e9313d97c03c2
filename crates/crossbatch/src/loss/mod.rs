//! One file a loss.

mod contrastive;

pub use contrastive::ContrastiveLoss;

use burn::tensor::{Bool, Tensor};

/// What a pair of embeddings costs, as a function of their cosine similarity.
///
/// A loss says what one positive and one negative pair cost and which negatives count at all; which
/// pairs there are ([`Relation`](crate::Relation)), how terms are averaged
/// ([`Reduction`](crate::Reduction)) and where the references come from (the batch, the memory) is
/// decided elsewhere, so that every loss works everywhere.
///
/// This is the general pair weighting view (Wang et al., "Multi-Similarity Loss", CVPR 2019,
/// section 3): for the gradient a pair loss is a weighted sum of similarities.
pub trait PairLoss {
    /// Term of a positive pair, for each similarity in `[B, M]`.
    fn positive(&self, similarity: Tensor<2>) -> Tensor<2>;

    /// Term of an active negative pair, for each similarity in `[B, M]`.
    fn negative(&self, similarity: Tensor<2>) -> Tensor<2>;

    /// Which negatives are active, given the similarities (without gradient) `[B, M]`. Inactive
    /// ones cost nothing, pull nothing and are not counted.
    fn active_negative(&self, similarity: Tensor<2>) -> Tensor<2, Bool>;
}
