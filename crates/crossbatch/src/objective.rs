//! Batch loss + weight x memory loss.

use burn::tensor::Tensor;

use crate::{
    loss::PairLoss,
    memory::Memory,
    pair_loss::{PairLossOutput, Reduction, pair_loss},
    relation::{Relation, Rows, SameImage},
};

/// Options of an [`Objective`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectiveConfig {
    /// How pair terms are reduced, in the batch and in the memory apart. Default `sum` (the paper).
    pub reduction: Reduction,
    /// Weight of the memory's term. Default 1 (the released code).
    pub memory_weight: f32,
    /// Older entries of the anchor's own image. Default `keep` (the released code).
    pub same_image: SameImage,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self { reduction: Reduction::Sum, memory_weight: 1.0, same_image: SameImage::Keep }
    }
}

/// What is minimised: `L = L_batch + memory_weight * L_memory`.
///
/// This is the released code's objective; the paper's Algorithm 1 prints the memory term alone. As
/// the batch is enqueued before the loss, pairs within it count in both terms, with a gradient to
/// both sides in the first and to the anchor in the second.
#[derive(Debug, Clone)]
pub struct Objective<L> {
    loss: L,
    config: ObjectiveConfig,
}

/// The objective and its terms.
#[derive(Debug, Clone)]
pub struct ObjectiveOutput {
    /// What to call `backward` on, `[1]`.
    pub total: Tensor<1>,
    /// The batch's term.
    pub batch: PairLossOutput,
    /// The memory's term before its weight, where there is a memory.
    pub memory: Option<PairLossOutput>,
}

impl<L: PairLoss> Objective<L> {
    /// An objective over `loss`.
    pub fn new(loss: L, config: ObjectiveConfig) -> Self {
        Self { loss, config }
    }

    /// The objective for a batch, and for the memory with the slots that this batch was just
    /// enqueued to.
    ///
    /// # Shapes
    ///
    /// - `anchors`: `[B, D]`, of unit length; `rows`: `B` labels and ids
    ///
    /// # Panics
    ///
    /// If `rows` or the slots are not `B`, or the memory has another width.
    pub fn forward(
        &self,
        anchors: Tensor<2>,
        rows: Rows<'_>,
        memory: Option<(&Memory, &[i32])>,
    ) -> ObjectiveOutput {
        let reduction = self.config.reduction;
        let relation = Relation::within_batch(rows, &anchors.device());
        let batch = pair_loss(&self.loss, anchors.clone(), anchors.clone(), relation, reduction);
        let memory = memory.map(|(memory, own_slots)| {
            let relation = Relation::with_memory(rows, memory, own_slots, self.config.same_image);
            pair_loss(&self.loss, anchors, memory.embeddings(), relation, reduction)
        });
        let total = match &memory {
            Some(memory) => batch.value.clone() + memory.value.clone() * self.config.memory_weight,
            None => batch.value.clone(),
        };
        ObjectiveOutput { total, batch, memory }
    }
}
