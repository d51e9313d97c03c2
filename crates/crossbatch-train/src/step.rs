//! One training step: the paper's Algorithm 1.

use burn::{
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Gradients, Tensor},
};
use crossbatch::{LossParameters, Memory, MomentumTwin, NO_SLOT, Objective, ObjectiveOutput, Rows};
use crossbatch_models::{Embedder, Mode};

use replace_with::replace_with_or_abort;

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
    pub objective: Objective,
    /// Learning rate of what each loss learns itself.
    pub parameter_lrs: Vec<f64>,
    /// The memory, where there is one.
    pub memory: Option<Memory>,
    /// The network's slow twin, where it is its embeddings that are remembered.
    pub twin: Option<MomentumTwin<Embedder>>,
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
        let anchors = self.embedder.forward(batch.images.clone(), Mode::Train);

        let own_slots =
            if remember { self.enqueue(&anchors, batch.images, batch.rows, step)? } else { None };
        let memory = self.memory.as_ref().zip(own_slots.as_deref());
        let output = self.objective.forward(anchors, batch.rows, memory, step);
        accept(&output)?;

        let gradients = output.total.backward();
        self.learn_loss_parameters(&gradients);
        let gradients = GradientsParams::from_grads(gradients, &self.embedder);
        // Moved, not cloned: weights that nobody else holds change in place.
        replace_with_or_abort(&mut self.embedder, |embedder| {
            self.optimizer.step(lr, embedder, gradients)
        });
        if let Some(twin) = &mut self.twin {
            twin.update(&self.embedder);
        }
        Ok(())
    }

    /// Remembers the batch: the anchors, or the twin's keys of the same images. Gives each anchor's own slot; a key is
    /// no anchor's own.
    fn enqueue(
        &mut self,
        anchors: &Tensor<2>,
        images: Tensor<4>,
        rows: Rows<'_>,
        step: u64,
    ) -> Result<Option<Vec<i32>>, Error> {
        let Some(memory) = &mut self.memory else { return Ok(None) };
        let Some(twin) = &self.twin else {
            return Ok(Some(memory.enqueue(anchors.clone(), rows, step)?));
        };
        let keys = twin.network().forward(images.inner(), Mode::TrainFrozenStatistics);
        memory.enqueue(Tensor::from_inner(keys), rows, step)?;
        Ok(Some(vec![NO_SLOT; rows.labels.len()]))
    }

    /// Plain gradient descent on what the losses learn themselves.
    fn learn_loss_parameters(&mut self, gradients: &Gradients) {
        let parameters = self.objective.parameters();
        if parameters.is_empty() {
            return;
        }
        let values = parameters.values().into_iter().zip(&self.parameter_lrs).map(|(value, lr)| {
            let gradient = value.grad(gradients);
            let value = value.inner();
            Tensor::from_inner(match gradient {
                Some(gradient) => value - gradient * *lr,
                None => value,
            })
        });
        self.objective.set_parameters(LossParameters::from_values(values.collect()));
    }
}
