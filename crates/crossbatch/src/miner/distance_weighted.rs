use crossbatch_kernels::program::Closeness;

use super::{Candidates, Miner, Selection, top_k::Smallest};
use crate::loss::{OptionError, above_zero, rule};

#[doc = include_str!("distance_weighted.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DistanceWeightedMiner {
    /// Negatives of each anchor. Default 4.
    pub negatives: usize,
    /// Nearer negatives are weighed as if they were this far. Default 0.5.
    pub cutoff: f32,
    /// Negatives from this distance on are not sampled. Default 1.4.
    pub nonzero_loss_cutoff: f32,
    /// Seed of the samples. Default 0.
    pub seed: u64,
}

impl Default for DistanceWeightedMiner {
    fn default() -> Self {
        Self { negatives: 4, cutoff: 0.5, nonzero_loss_cutoff: 1.4, seed: 0 }
    }
}

impl Miner for DistanceWeightedMiner {
    fn name(&self) -> &'static str {
        "distance-weighted"
    }

    fn select(&self, candidates: &Candidates<'_>) -> Option<Selection> {
        let dim = candidates.dim();
        let mut sampled = vec![Smallest::new(self.negatives); candidates.anchors()];
        let mut references = vec![Vec::new(); candidates.anchors()];
        candidates.for_each(Closeness::Distance, |pair| {
            if pair.is_positive {
                references[pair.anchor].push(pair.reference);
                return;
            }
            let Some(weight) = self.log_weight(f64::from(-pair.closeness), dim) else { return };
            // The first of independent exponential arrivals, each with its weight as rate, is a sample by the weights;
            // the first few are a sample without replacement.
            let draw = self.uniform(candidates.step(), pair.anchor, pair.reference);
            sampled[pair.anchor].push((-draw.ln()).ln() - weight, pair.reference);
        });
        for (references, sampled) in references.iter_mut().zip(sampled) {
            references.extend(sampled.into_references());
            references.sort_unstable();
        }
        Some(Selection { references })
    }

    fn check(&self) -> Result<(), OptionError> {
        rule(self.negatives > 0, "negatives", self.negatives, "at least 1")?;
        above_zero("cutoff", self.cutoff)?;
        let far = self.nonzero_loss_cutoff;
        rule(
            far > self.cutoff && far <= 2.0,
            "nonzero-loss-cutoff",
            far,
            "a distance above `cutoff`, at most 2",
        )
    }
}

impl DistanceWeightedMiner {
    /// Logarithm of how often a negative at this distance is sampled, up to a constant: the inverse of how many points of
    /// the sphere lie at that distance. None where it never is.
    fn log_weight(&self, distance: f64, dim: usize) -> Option<f64> {
        if distance >= f64::from(self.nonzero_loss_cutoff) {
            return None;
        }
        let distance = distance.max(self.cutoff.into());
        let dim = dim as f64;
        let flatness = (1.0 - 0.25 * distance * distance).ln();
        let weight = (2.0 - dim) * distance.ln() - (dim - 3.0) / 2.0 * flatness;
        weight.is_finite().then_some(weight)
    }

    /// A number above 0 and below 1 that hangs on nothing but its arguments and the seed.
    fn uniform(&self, step: u64, anchor: usize, reference: u32) -> f64 {
        let pair = (anchor as u64) << 32 | u64::from(reference);
        let bits = mix(mix(mix(self.seed) ^ step) ^ pair);
        ((bits >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }
}

/// SplitMix64's finaliser, one step on.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}
