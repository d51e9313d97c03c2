//! What is known of the pairs besides the loss.

use burn::tensor::Tensor;
use crossbatch_kernels::{PairRows, program};

use crate::loss::{any, column};

/// Counts and similarities of a term's pairs.
///
/// Every method gives a detached tensor `[1]`, computed when it is called, so that nothing waits for the device unless
/// it is read. Similarities are the loss's own closeness, larger is closer: a cosine is a cosine, a distance comes with
/// a minus.
#[derive(Debug, Clone)]
pub struct PairStatistics {
    fields: Tensor<2>,
}

impl PairStatistics {
    pub(crate) fn new(rows: &PairRows) -> Self {
        Self { fields: rows.fields.clone() }
    }

    fn field(&self, index: usize) -> Tensor<1> {
        column(&self.fields, index)
    }

    /// Number of anchors.
    pub fn anchors(&self) -> usize {
        self.fields.dims()[0]
    }

    /// Positive pairs that count. A triplet loss has 0 here: it counts triplets.
    pub fn active_positives(&self) -> Tensor<1> {
        self.field(program::POSITIVES).sum()
    }

    /// Negative pairs that count; of a triplet loss the triplets that cost anything.
    pub fn active_negatives(&self) -> Tensor<1> {
        self.field(program::NEGATIVES).sum()
    }

    /// Positive pairs in all.
    pub fn positives(&self) -> Tensor<1> {
        self.field(program::POSITIVE_PAIRS).sum()
    }

    /// Negative pairs in all.
    pub fn negatives(&self) -> Tensor<1> {
        self.field(program::NEGATIVE_PAIRS).sum()
    }

    /// Mean similarity of all positive pairs; 0 without any.
    pub fn mean_positive(&self) -> Tensor<1> {
        self.field(program::POSITIVE_SUM).sum() / self.positives().clamp_min(1.0)
    }

    /// Mean similarity of all negative pairs; 0 without any.
    pub fn mean_negative(&self) -> Tensor<1> {
        self.field(program::NEGATIVE_SUM).sum() / self.negatives().clamp_min(1.0)
    }

    /// Similarity of an anchor's closest negative, averaged over the anchors that have one; 0 without any.
    pub fn hardest_negative(&self) -> Tensor<1> {
        self.mean_extreme(program::HARDEST_NEGATIVE, program::NEGATIVE_PAIRS)
    }

    /// Similarity of an anchor's farthest positive, averaged over the anchors that have one; 0 without any.
    pub fn hardest_positive(&self) -> Tensor<1> {
        self.mean_extreme(program::HARDEST_POSITIVE, program::POSITIVE_PAIRS)
    }

    fn mean_extreme(&self, extreme: usize, pairs: usize) -> Tensor<1> {
        let pairs = self.field(pairs);
        // Where there is no pair the extreme is no similarity but the largest number there is.
        let values = self.field(extreme).mask_fill(pairs.clone().lower_equal_scalar(0.0), 0.0);
        values.sum() / any(pairs).sum().clamp_min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor};

    use crate::{ContrastiveLoss, Pairs, Reduction, Rows, pair_loss};

    #[test]
    fn counts_and_similarities_of_three_rows() {
        let rows = Tensor::from_data([[1.0, 0.0], [0.8, 0.6], [0.6, 0.8]], &Device::flex());
        let pairs = Pairs::within_batch(rows, Rows { labels: &[0, 0, 1], ids: &[0, 1, 2] });
        let loss = ContrastiveLoss { margin: 0.7, ..Default::default() };
        let statistics = pair_loss(&loss, &pairs, Reduction::Sum).statistics;
        let close = |found: Tensor<1>, expected: f32| {
            let found = found.into_scalar::<f32>();
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        };
        assert_eq!(statistics.anchors(), 3);
        close(statistics.positives(), 2.0);
        close(statistics.active_positives(), 2.0);
        // 0.6 and 0.96, each seen from both sides; only 0.96 is beyond the margin.
        close(statistics.negatives(), 4.0);
        close(statistics.active_negatives(), 2.0);
        close(statistics.mean_positive(), 0.8);
        close(statistics.mean_negative(), (0.6 + 0.96) / 2.0);
        // The third row has no positive.
        close(statistics.hardest_positive(), 0.8);
        close(statistics.hardest_negative(), (0.6 + 0.96 + 0.96) / 3.0);
    }

    #[test]
    fn no_pairs_are_zeros() {
        let rows = Tensor::from_data([[1.0, 0.0]], &Device::flex());
        let pairs = Pairs::within_batch(rows, Rows { labels: &[0], ids: &[0] });
        let loss = ContrastiveLoss::default();
        let statistics = pair_loss(&loss, &pairs, Reduction::Sum).statistics;
        for value in [
            statistics.positives(),
            statistics.mean_positive(),
            statistics.mean_negative(),
            statistics.hardest_positive(),
            statistics.hardest_negative(),
        ] {
            assert_eq!(value.into_scalar::<f32>(), 0.0);
        }
    }
}
