//! A pair loss over anchors and references, from ordinary tensor operations.
//!
//! This is the body that defines the result on every device. It builds the `[B, M]` similarity
//! matrix and masks of its size; a kernel that streams over the references takes this function's
//! place and is judged by it.

use burn::tensor::{Bool, Tensor};

use crate::{loss::PairLoss, relation::Relation};

/// How the terms of active pairs become one number. Positives and negatives are never averaged
/// together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reduction {
    /// Sum over active pairs divided by the number of anchors: the paper's. Grows with the memory.
    #[default]
    Sum,
    /// Per anchor the mean over its positives plus the mean over its active negatives (an empty side
    /// is 0), averaged over all anchors.
    AnchorMean,
    /// Mean over all positive pairs plus mean over all active negative pairs; an empty side is 0.
    PairMean,
}

/// Value and pair counts of one term of the objective.
#[derive(Debug, Clone)]
pub struct PairLossOutput {
    /// The reduced loss, `[1]`.
    pub value: Tensor<1>,
    /// Number of positive pairs, `[1]`.
    pub positives: Tensor<1>,
    /// Number of active negative pairs, `[1]`.
    pub active_negatives: Tensor<1>,
}

/// `loss` over all pairs of `anchors` and `references`.
///
/// The gradient reaches both sides; pass references without gradient (a memory's) where it must
/// not.
///
/// # Shapes
///
/// - `anchors`: `[B, D]` and `references`: `[M, D]`, of unit length
/// - `relation`: masks `[B, M]`
///
/// # Panics
///
/// If the widths differ or the masks are not `[B, M]`.
pub fn pair_loss(
    loss: &impl PairLoss,
    anchors: Tensor<2>,
    references: Tensor<2>,
    relation: Relation,
    reduction: Reduction,
) -> PairLossOutput {
    let [batch, dim] = anchors.dims();
    let [filled, reference_dim] = references.dims();
    assert_eq!(dim, reference_dim, "anchors have {dim} numbers, references {reference_dim}");
    assert_eq!(
        relation.positive.dims(),
        [batch, filled],
        "the relation is {:?}, the pairs are {:?}",
        relation.positive.dims(),
        [batch, filled]
    );

    let similarity = anchors.matmul(references.transpose());
    let active = loss.active_negative(similarity.clone().detach());
    let positive = Side::new(loss.positive(similarity.clone()), relation.positive);
    let negative = Side::new(loss.negative(similarity), relation.negative.bool_and(active));

    PairLossOutput {
        value: positive.reduce(reduction) + negative.reduce(reduction),
        positives: positive.count(),
        active_negatives: negative.count(),
    }
}

/// The positive or the negative pairs: their terms, and 1 where there is a pair.
struct Side {
    terms: Tensor<2>,
    pairs: Tensor<2>,
}

impl Side {
    fn new(terms: Tensor<2>, mask: Tensor<2, Bool>) -> Self {
        let pairs = mask.float();
        Self { terms: terms * pairs.clone(), pairs }
    }

    fn count(&self) -> Tensor<1> {
        total(self.pairs.clone())
    }

    fn reduce(&self, reduction: Reduction) -> Tensor<1> {
        let [batch, _] = self.terms.dims();
        let terms = self.terms.clone();
        match reduction {
            Reduction::Sum => total(terms) / batch as f32,
            // Counts are whole numbers, so clamping at 1 only guards the empty side.
            Reduction::PairMean => total(terms) / self.count().clamp_min(1.0),
            Reduction::AnchorMean => {
                let counts = self.pairs.clone().sum_dim(1).clamp_min(1.0);
                (terms.sum_dim(1) / counts).sum() / batch as f32
            }
        }
    }
}

/// The sum of all values, row by row: over millions of values Burn's whole-tensor sum groups them by
/// thread, and a count in f32 stays exact up to 2^24 a row instead of 2^24 in all.
fn total(values: Tensor<2>) -> Tensor<1> {
    values.sum_dim(1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContrastiveLoss, Rows};
    use burn::tensor::Device;

    /// Three anchors; by hand: s01 = 0.8 (positive), s02 = 0.6, s12 = 0.96 (negatives).
    fn value(reduction: Reduction, margin: f32) -> (f32, f32, f32) {
        let device = Device::flex();
        let rows = Tensor::<2>::from_data([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]], &device);
        let relation =
            Relation::within_batch(Rows { labels: &[0, 0, 1], ids: &[0, 1, 2] }, &device);
        let output =
            pair_loss(&ContrastiveLoss { margin }, rows.clone(), rows, relation, reduction);
        (
            output.value.into_scalar(),
            output.positives.into_scalar(),
            output.active_negatives.into_scalar(),
        )
    }

    #[track_caller]
    fn close(found: f32, expected: f32) {
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    #[test]
    fn sum_divides_by_anchors() {
        let (value, positives, negatives) = value(Reduction::Sum, 0.5);
        close(value, (2.0 * 0.2 + 2.0 * 0.6 + 2.0 * 0.96) / 3.0);
        assert_eq!((positives, negatives), (2.0, 4.0));
    }

    #[test]
    fn pair_mean_averages_each_side_over_its_own_pairs() {
        close(value(Reduction::PairMean, 0.5).0, 0.2 + (2.0 * 0.6 + 2.0 * 0.96) / 4.0);
        // Only the pair at 0.96 is active: inactive negatives don't dilute the mean.
        close(value(Reduction::PairMean, 0.7).0, 0.2 + 0.96);
    }

    #[test]
    fn anchor_mean_averages_over_all_anchors() {
        // Anchor 0: 0.2 + 0.6; anchor 1: 0.2 + 0.96; anchor 2: no positive, (0.6 + 0.96) / 2.
        close(value(Reduction::AnchorMean, 0.5).0, (0.8 + 1.16 + 0.78) / 3.0);
    }

    #[test]
    fn an_empty_side_is_zero_and_the_loss_stays_finite() {
        for reduction in [Reduction::Sum, Reduction::PairMean, Reduction::AnchorMean] {
            let (value, _, negatives) = value(reduction, 0.99);
            assert!(value.is_finite() && value > 0.0, "{reduction:?}: {value}");
            assert_eq!(negatives, 0.0);
        }
    }
}
