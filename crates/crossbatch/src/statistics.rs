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
