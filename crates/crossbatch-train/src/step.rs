//! One training step: the paper's Algorithm 1.

use burn::{
    optim::{GradientsParams, ModuleOptimizer},
    tensor::Tensor,
};
use crossbatch::{ContrastiveLoss, Memory, Objective, ObjectiveOutput, Rows};
use crossbatch_models::{Embedder, Mode};

use crate::error::Error;

/// What a step works on.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Images `[B, C, S, S]`.
    pub images: Tensor<4>,
    /// Their labels and ids.
    pub rows: Rows<'a>,
}

/// What a step changes.
#[derive(Clone)]
pub struct Step {
    /// The network.
    pub embedder: Embedder,
    /// Its optimiser.
    pub optimizer: ModuleOptimizer,
    /// What is minimised.
    pub objective: Objective<ContrastiveLoss>,
    /// The memory, where there is one.
    pub memory: Option<Memory>,
}

impl Step {
    /// Forward, enqueue, batch loss + weight x memory loss, backward, optimiser.
    ///
    /// `remember` says whether the warm-up without memory is over. `accept` sees the losses before
    /// any weight changes; where it refuses them, none does.
    ///
    /// # Errors
    ///
    /// If the batch is larger than the memory, or `accept` refuses.
    pub fn run(
        &mut self,
        batch: Batch<'_>,
        step: u64,
        lr: f64,
        remember: bool,
        accept: impl FnOnce(&ObjectiveOutput) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let anchors = self.embedder.forward(batch.images, Mode::Train);

        let memory = match &mut self.memory {
            Some(memory) if remember => {
                let own_slots = memory.enqueue(anchors.clone(), batch.rows, step)?;
                Some((&*memory, own_slots))
            }
            _ => None,
        };
        let memory = memory.as_ref().map(|(memory, own_slots)| (*memory, &own_slots[..]));
        let output = self.objective.forward(anchors, batch.rows, memory);
        accept(&output)?;

        let gradients = GradientsParams::from_grads(output.total.backward(), &self.embedder);
        self.embedder = self.optimizer.step(lr, self.embedder.clone(), gradients);
        Ok(())
    }
}
