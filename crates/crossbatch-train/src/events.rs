//! What a run tells while it goes on.

use serde::{Deserialize, Serialize};

use crate::{drift::DriftEvent, summary::Metrics};

/// Which of a run's networks is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The comparison: the same recipe with the memory off.
    WithoutMemory,
    /// The recipe itself.
    Main,
}

/// One training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// The step, from 1.
    pub step: u64,
    /// The epoch of its batch, from 0.
    pub epoch: u64,
    /// Learning rate.
    pub lr: f64,
    /// The whole objective.
    pub loss: f32,
    /// The batch's term.
    pub batch_loss: f32,
    /// The memory's term before its weight; absent while there is none.
    pub memory_loss: Option<f32>,
    /// Positive pairs within the batch.
    pub batch_positives: f32,
    /// Active negative pairs within the batch.
    pub batch_active_negatives: f32,
    /// Positive pairs with the memory.
    pub memory_positives: Option<f32>,
    /// Active negative pairs with the memory.
    pub memory_active_negatives: Option<f32>,
    /// Similarity of an anchor's closest negative in the memory, averaged over anchors (of a distance, with a minus).
    pub memory_hardest_negative: Option<f32>,
    /// Mean similarity of the positive pairs with the memory.
    pub memory_mean_positive: Option<f32>,
    /// Mean similarity of the negative pairs with the memory.
    pub memory_mean_negative: Option<f32>,
    /// Filled slots of the memory.
    pub memory_filled: usize,
    /// Images in the batch.
    pub images: usize,
    /// Seconds since training began, over every part of a run that was continued.
    pub seconds: f64,
}

/// A measurement during training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// After this step.
    pub step: u64,
    /// `"validation"` or `"test"`.
    pub split: String,
    /// The metrics.
    pub metrics: Metrics,
    /// Whether this is the best on the validation classes so far.
    pub best: bool,
}

/// Who listens to a run. Every method has an empty body, so that a listener takes what it wants.
pub trait Observer: Sync {
    /// Something worth knowing.
    fn note(&self, _text: &str) {}
    /// Something the user should look at; the run goes on.
    fn warn(&self, _text: &str) {}
    /// A stage of counted work (`"reading training images"`) is at `done` of `total`.
    fn progress(&self, _stage: &str, _done: usize, _total: usize) {}
    /// Training of a network begins; `slots` of memory, `done` steps of `total` behind it.
    fn training(&self, _phase: Phase, _slots: usize, _done: u64, _total: u64) {}
    /// A training step is done.
    fn step(&self, _phase: Phase, _event: &StepEvent) {}
    /// A measurement during training is done.
    fn evaluated(&self, _phase: Phase, _evaluation: &Evaluation) {}
    /// The drift was measured.
    fn drifted(&self, _phase: Phase, _event: &DriftEvent) {}
    /// Whether the run should stop after this step, saving its state.
    fn stop(&self) -> bool {
        false
    }
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Observer for Silent {}
