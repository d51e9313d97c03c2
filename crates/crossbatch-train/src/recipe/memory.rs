//! `[memory]`: the cross-batch memory.

use crossbatch::{
    AgeWeighting, Correction, KalmanConfig, MemoryConfig, Policy, SameImage, Storage,
};
use serde::{Deserialize, Serialize};

use super::MemorySize;

/// `[memory]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MemoryRecipe {
    /// Slots: a number, or a share of the training images such as `"50%"`; 0 switches the memory off. Default 0.
    pub size: MemorySize,
    /// `"fifo"` (the last rows, the paper's) or `"keyed"` (one slot an image). Default `"fifo"`.
    pub policy: Policy,
    /// Type of the stored numbers: `"f32"`, `"f16"` or `"bf16"`. Default `"f32"`.
    pub storage: Storage,
    /// Whether codes of the embeddings are kept beside them on the CPU, where they save time: a quarter more memory (at
    /// `"f32"`), the same results. Default true.
    pub screen: bool,
    /// Steps without memory; the first batch is enqueued in step `start` + 1. Default 0.
    pub start: u64,
    /// What the memory holds when it starts: `"empty"`, or `"sampled"` training images embedded by the network as it
    /// is then. Default `"empty"`.
    pub fill: Fill,
    /// Weight of the memory's term. Default 1.
    pub weight: f32,
    /// Steps over which that weight rises from 0, from `start` on. Default 0.
    pub ramp: u64,
    /// Older entries of the anchor's own image: `"keep"` them as positives (as released) or `"drop"` them. Default
    /// `"keep"`.
    pub same_image: SameImage,
    /// What is done about stale entries: `"none"`, `"moments"` (cross-batch normalisation) or `"kalman"` (adaptive).
    /// Default `"none"`.
    pub correction: CorrectionKind,
    /// Steps after which an entry's pairs count half. Left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub half_life: Option<f64>,
    /// Largest age in steps of an entry whose pairs count. Left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
    /// Momentum of a twin of the network whose embeddings are remembered instead of the network's own, such as 0.999.
    /// Left out: no twin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub momentum: Option<f64>,
}

impl Default for MemoryRecipe {
    fn default() -> Self {
        Self {
            size: MemorySize::Count(0),
            policy: Policy::Fifo,
            storage: Storage::F32,
            screen: true,
            start: 0,
            fill: Fill::Empty,
            weight: 1.0,
            ramp: 0,
            same_image: SameImage::Keep,
            correction: CorrectionKind::None,
            half_life: None,
            window: None,
            momentum: None,
        }
    }
}

/// What a memory holds when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fill {
    /// Nothing; batches fill it.
    Empty,
    /// Sampled training images, as in the paper's text.
    Sampled,
}

/// What is done about stale entries; see [`Correction`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CorrectionKind {
    /// Nothing.
    None,
    /// Their moments are brought to those of the latest batch.
    Moments,
    /// Their moments are brought to filtered ones.
    Kalman,
}

impl MemoryRecipe {
    /// The memory's options, for so many slots and numbers in an embedding.
    pub fn config(&self, slots: usize, dim: usize) -> MemoryConfig {
        MemoryConfig {
            policy: self.policy,
            storage: self.storage,
            screen: self.screen,
            correction: match self.correction {
                CorrectionKind::None => Correction::None,
                CorrectionKind::Moments => Correction::Moments,
                CorrectionKind::Kalman => Correction::Kalman(KalmanConfig::default()),
            },
            weighting: AgeWeighting { half_life: self.half_life, window: self.window },
            ..MemoryConfig::new(slots, dim)
        }
    }

    /// Weight of the memory's term in a step, counted from 1.
    pub fn weight_at(&self, step: u64) -> f32 {
        let since = step.saturating_sub(self.start);
        if since >= self.ramp { self.weight } else { self.weight * since as f32 / self.ramp as f32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_weight_rises_in_a_line() {
        let recipe = MemoryRecipe { start: 10, ramp: 4, weight: 2.0, ..Default::default() };
        let weights: Vec<f32> = (10..16).map(|step| recipe.weight_at(step)).collect();
        assert_eq!(weights, [0.0, 0.5, 1.0, 1.5, 2.0, 2.0]);
        assert_eq!(MemoryRecipe::default().weight_at(1), 1.0);
    }
}
