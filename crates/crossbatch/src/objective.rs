//! Batch loss + weight x memory loss.

use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};

use crate::{
    memory::Memory,
    pair_loss::{PairLossOutput, PairTerm},
    pairs::Pairs,
    relation::{Rows, SameImage},
};

/// Options of an [`Objective`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectiveConfig {
    /// Weight of the memory's part. Default 1 (the released code).
    pub memory_weight: f32,
    /// Older entries of the anchor's own image. Default `keep` (the released code).
    pub same_image: SameImage,
}

impl Default for ObjectiveConfig {
    fn default() -> Self {
        Self { memory_weight: 1.0, same_image: SameImage::Keep }
    }
}

/// What is minimised: `L = L_batch + memory_weight * L_memory`, each a weighted sum of terms.
///
/// With one term this is the released code's objective; the paper's Algorithm 1 prints the memory's part alone. As the
/// batch is enqueued before the loss, pairs within it count in both, with a gradient to both sides in the first and to
/// the anchor in the second.
#[derive(Debug, Clone)]
pub struct Objective {
    terms: Vec<PairTerm>,
    config: ObjectiveConfig,
    parameters: LossParameters,
}

/// What is learnt with the losses, such as the margin loss's β: a module for the optimiser and the checkpoint.
#[derive(Module, Debug)]
pub struct LossParameters {
    /// For each term that learns anything, in the terms' order.
    values: Vec<Param<Tensor<1>>>,
}

impl LossParameters {
    /// The values, `[n]` for each term that learns anything, in the terms' order.
    pub fn values(&self) -> Vec<Tensor<1>> {
        self.values.iter().map(Param::val).collect()
    }

    /// Parameters of these values, such as a checkpoint's.
    pub fn from_values(values: Vec<Tensor<1>>) -> Self {
        Self { values: values.into_iter().map(Param::from_tensor).collect() }
    }

    /// Whether nothing is learnt.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// The objective and what it consists of.
#[derive(Debug, Clone)]
pub struct ObjectiveOutput {
    /// What to call `backward` on, `[1]`.
    pub total: Tensor<1>,
    /// The batch's part, `[1]`.
    pub batch: Tensor<1>,
    /// The memory's part before its weight, `[1]`, where there is a memory.
    pub memory: Option<Tensor<1>>,
    /// Each term, before its weight.
    pub terms: Vec<TermOutput>,
}

/// One term of the objective.
#[derive(Debug, Clone)]
pub struct TermOutput {
    /// The loss's name.
    pub loss: &'static str,
    /// Over the pairs within the batch.
    pub batch: PairLossOutput,
    /// Over the pairs with the memory, where there is one.
    pub memory: Option<PairLossOutput>,
}

impl Objective {
    /// An objective of one or more terms. Where [`learns`](Self::learns), it needs
    /// [`init_parameters`](Self::init_parameters) next.
    ///
    /// # Panics
    ///
    /// If there is no term.
    pub fn new(terms: impl IntoIterator<Item = PairTerm>, config: ObjectiveConfig) -> Self {
        let terms: Vec<_> = terms.into_iter().collect();
        assert!(!terms.is_empty(), "an objective needs at least one term");
        Self { terms, config, parameters: LossParameters { values: Vec::new() } }
    }

    /// Whether any loss has parameters of its own.
    pub fn learns(&self) -> bool {
        self.terms.iter().any(PairTerm::learns)
    }

    /// Gives losses that learn parameters their first values, for `classes` training classes.
    pub fn init_parameters(&mut self, classes: usize, device: &Device) {
        let values = self
            .terms
            .iter()
            .filter(|term| term.learns())
            .map(|term| Tensor::from_data(&term.loss.initial_parameters(classes)[..], device));
        self.parameters = LossParameters::from_values(values.collect());
    }

    /// What is learnt with the losses.
    pub fn parameters(&self) -> &LossParameters {
        &self.parameters
    }

    /// Puts parameters back that an optimiser has changed or a checkpoint has kept.
    pub fn set_parameters(&mut self, parameters: LossParameters) {
        self.parameters = parameters;
    }

    /// Changes the weight of the memory's part, such as for a ramp.
    pub fn set_memory_weight(&mut self, weight: f32) {
        self.config.memory_weight = weight;
    }

    /// The objective for a batch in training step `step`, and for the memory with the slots that this batch was just
    /// enqueued to.
    ///
    /// # Shapes
    ///
    /// - `anchors`: `[B, D]`; `rows`: `B` labels and ids
    ///
    /// # Panics
    ///
    /// If `rows` or the slots are not `B`, the memory has another width, or parameters were not initialised.
    pub fn forward(
        &self,
        anchors: Tensor<2>,
        rows: Rows<'_>,
        memory: Option<(&Memory, &[i32])>,
        step: u64,
    ) -> ObjectiveOutput {
        let batch = Pairs::within_batch(anchors.clone(), rows).at_step(step);
        let memory = memory.map(|(memory, own_slots)| {
            Pairs::with_memory(anchors, rows, memory, own_slots, self.config.same_image)
                .at_step(step)
        });

        let mut values = self.parameters.values.iter().map(Param::val);
        let terms: Vec<_> = self
            .terms
            .iter()
            .map(|term| {
                let parameters = if term.learns() { values.next() } else { None };
                let evaluate = |pairs: &Pairs<'_>| term.evaluate(pairs, parameters.as_ref());
                TermOutput {
                    loss: term.loss.name(),
                    batch: evaluate(&batch),
                    memory: memory.as_ref().map(evaluate),
                }
            })
            .collect();

        let sum = |value: fn(&TermOutput) -> Option<&PairLossOutput>| {
            let weighted = self.terms.iter().zip(&terms).filter_map(|(term, output)| {
                value(output).map(|output| output.value.clone() * term.weight)
            });
            weighted.reduce(|sum, value| sum + value)
        };
        let batch = sum(|term| Some(&term.batch)).expect("an objective has at least one term");
        let memory = sum(|term| term.memory.as_ref());
        let total = match &memory {
            Some(memory) => batch.clone() + memory.clone() * self.config.memory_weight,
            None => batch.clone(),
        };
        ObjectiveOutput { total, batch, memory, terms }
    }
}
