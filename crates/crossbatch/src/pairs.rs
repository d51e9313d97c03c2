//! Which rows are compared with which.

use std::sync::Arc;

use burn::tensor::{DType, Tensor, TensorData};
use crossbatch_kernels::{Anchors, References};

use crate::{
    loss::PairLoss,
    memory::{Memory, int_tensor},
    miner::Miner,
    relation::{Rows, SameImage},
};

/// Anchors and what they are compared with.
///
/// A pair is positive where the labels agree, negative where they differ, and left out where it is an anchor with
/// itself. A self-pair is known by *identity* (the batch's diagonal; the slot that this very row was enqueued to), not
/// by a similarity near 1, which would drop true duplicates and fails in half precision.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    anchors: Anchors,
    references: References,
    source: Source,
    births: Option<&'a [u64]>,
    step: u64,
}

/// Where references come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// They are the anchors.
    Batch,
    /// They come with the anchors and are prepared like them.
    Fresh,
    /// They were stored, and are taken as they are.
    Stored,
}

impl<'a> Pairs<'a> {
    /// All pairs of a batch, the diagonal left out. The gradient reaches both sides.
    ///
    /// # Shapes
    ///
    /// - `embeddings`: `[B, D]`; `rows`: `B` labels and ids
    ///
    /// # Panics
    ///
    /// If `rows` are not `B`.
    pub fn within_batch(embeddings: Tensor<2>, rows: Rows<'_>) -> Self {
        let [batch, _] = embeddings.dims();
        let diagonal: Vec<i32> = (0..batch as i32).collect();
        let anchors = anchors(embeddings, rows, &diagonal);
        let references = References {
            embeddings: anchors.embeddings.clone(),
            labels: anchors.labels.clone(),
            ids: anchors.ids.clone(),
            weights: None,
            filled: batch,
            drop_same_image: false,
            screen: None,
        };
        Self { anchors, references, source: Source::Batch, births: None, step: 0 }
    }

    /// All pairs of a batch with the memory. `own_slots` are the slots that [`Memory::enqueue`] wrote these rows to
    /// in this step. The gradient reaches the anchors alone.
    ///
    /// # Panics
    ///
    /// If `rows` or `own_slots` are not one for each anchor.
    pub fn with_memory(
        embeddings: Tensor<2>,
        rows: Rows<'_>,
        memory: &'a Memory,
        own_slots: &[i32],
        same_image: SameImage,
    ) -> Self {
        let references = memory.references(same_image);
        Self {
            anchors: anchors(embeddings, rows, own_slots),
            references,
            source: Source::Stored,
            births: Some(&memory.columns().births),
            step: 0,
        }
    }

    /// Any anchors with any references, such as one batch with another. Both are prepared alike, and the gradient
    /// reaches both where they track one.
    pub fn between(anchors: Anchors, references: References) -> Self {
        Self { anchors, references, source: Source::Fresh, births: None, step: 0 }
    }

    /// The same pairs in training step `step`, which some miners want to know. Without it the step is 0.
    #[must_use]
    pub fn at_step(mut self, step: u64) -> Self {
        self.step = step;
        self
    }

    /// The training step.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The step at which each reference was written, where they are a memory's.
    pub fn births(&self) -> Option<&'a [u64]> {
        self.births
    }

    /// Number of anchors.
    pub fn anchors(&self) -> usize {
        self.anchors.embeddings.dims()[0]
    }

    /// Both sides as `loss` compares them and `miners` weigh them.
    pub(crate) fn prepared(
        &self,
        loss: &dyn PairLoss,
        miners: &[Arc<dyn Miner>],
    ) -> (Anchors, References) {
        let prepare = |rows: &Tensor<2>| loss.prepare(rows.clone());
        let anchors =
            Anchors { embeddings: prepare(&self.anchors.embeddings), ..self.anchors.clone() };
        let embeddings = match self.source {
            Source::Batch => anchors.embeddings.clone(),
            Source::Fresh => prepare(&self.references.embeddings),
            Source::Stored => self.references.embeddings.clone(),
        };
        let weights = self.weights(miners);
        // A screen is of embeddings as they are stored.
        let screen = self.references.screen.clone().filter(|_| self.source == Source::Stored);
        (anchors, References { embeddings, weights, screen, ..self.references.clone() })
    }

    /// The references' weights, times what miners make of their ages.
    fn weights(&self, miners: &[Arc<dyn Miner>]) -> Option<Tensor<1>> {
        let stored = self.references.weights.clone();
        let miners: Vec<_> = miners.iter().filter(|miner| miner.weighs()).collect();
        let Some(births) = self.births.filter(|_| !miners.is_empty()) else { return stored };
        let weigh = |&birth: &u64| {
            let age = self.step.saturating_sub(birth);
            miners.iter().map(|miner| miner.weigh(age)).product::<f32>()
        };
        let mut weights: Vec<f32> = births.iter().map(weigh).collect();
        let [capacity, _] = self.references.embeddings.dims();
        weights.resize(capacity, 0.0);
        let device = self.references.embeddings.device();
        let weights = Tensor::from_data(TensorData::new(weights, [capacity]), &device);
        Some(match stored {
            Some(stored) => stored * weights,
            None => weights,
        })
    }
}

fn anchors(embeddings: Tensor<2>, rows: Rows<'_>, own: &[i32]) -> Anchors {
    let [batch, _] = embeddings.dims();
    rows.assert_len(batch);
    assert_eq!(own.len(), batch, "{} own slots for {batch} embeddings", own.len());
    let device = embeddings.device();
    Anchors {
        embeddings,
        labels: int_tensor(rows.labels, &device),
        ids: int_tensor(rows.ids, &device),
        own: Tensor::from_data(TensorData::new(own.to_vec(), [batch]), (&device, DType::I32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ContrastiveLoss, Reduction, pair_loss};
    use burn::tensor::Device;

    /// Positive and negative pairs.
    fn counts(pairs: &Pairs<'_>) -> (f32, f32) {
        let loss = ContrastiveLoss::default();
        let statistics = pair_loss(&loss, pairs, Reduction::Sum).statistics;
        (statistics.positives().into_scalar(), statistics.negatives().into_scalar())
    }

    #[test]
    fn the_diagonal_is_neither_positive_nor_negative() {
        let embeddings = Tensor::<2>::ones([3, 1], &Device::flex());
        // Two different rows of the same image (ids 0, 0) are a true positive pair, equal as they are.
        let rows = Rows { labels: &[3, 3, 4], ids: &[0, 0, 1] };
        assert_eq!(counts(&Pairs::within_batch(embeddings, rows)), (2.0, 4.0));
    }

    #[test]
    fn only_the_slot_just_written_is_a_self_pair() {
        let device = Device::flex();
        let mut memory = Memory::new(4, 1, &device);
        let rows = Rows { labels: &[1, 2], ids: &[10, 20] };
        let embeddings = Tensor::<2>::ones([2, 1], &device);
        memory.enqueue(embeddings.clone(), rows, 0).unwrap();
        let own = memory.enqueue(embeddings.clone(), rows, 1).unwrap();
        assert_eq!(own, [2, 3]);
        let pairs = |same_image| {
            counts(&Pairs::with_memory(embeddings.clone(), rows, &memory, &own, same_image))
        };
        // Slots 0 and 1 are the same images from an older step: positives; slots 2 and 3 are the rows themselves.
        assert_eq!(pairs(SameImage::Keep), (2.0, 4.0));
        assert_eq!(pairs(SameImage::Drop), (0.0, 4.0));
    }

    #[test]
    #[should_panic(expected = "1 own slots for 2 embeddings")]
    fn every_anchor_needs_its_slot() {
        let device = Device::flex();
        let memory = Memory::new(4, 1, &device);
        let rows = Rows { labels: &[1, 2], ids: &[10, 20] };
        let embeddings = Tensor::<2>::ones([2, 1], &device);
        let _ = Pairs::with_memory(embeddings, rows, &memory, &[0], SameImage::Keep);
    }
}
