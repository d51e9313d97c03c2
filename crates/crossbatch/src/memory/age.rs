//! What an entry's pairs count by its age.

use serde::{Deserialize, Serialize};

/// Weight of an entry's pairs by its age in steps: `2^(−age / half_life)`, and 0 beyond `window`.
///
/// The rows of the current step have age 0 and weight 1. By default every entry weighs 1.
///
/// Stale entries bias a loss most where it weighs hard pairs most (multi-similarity, softmax): a
/// drift of 0.05 in cosine at a scale of 40 is a factor `e^2`. Ageing them out costs negatives
/// instead. Not from a paper; measure the drift ([`DriftMeter`](crate::DriftMeter)) to choose.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AgeWeighting {
    /// Steps after which an entry counts half. Default: it never counts less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_life: Option<f64>,
    /// Largest age that counts at all. Default: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<u64>,
}

impl AgeWeighting {
    /// Whether every age weighs 1.
    pub fn is_flat(&self) -> bool {
        self.half_life.is_none() && self.window.is_none()
    }

    /// Weight of an entry of `age` steps, in `[0, 1]`.
    pub fn weight(&self, age: u64) -> f32 {
        if self.window.is_some_and(|window| age > window) {
            return 0.0;
        }
        self.half_life.map_or(1.0, |half_life| (-(age as f64) / half_life).exp2() as f32)
    }

    pub(super) fn check(&self) {
        if let Some(half_life) = self.half_life {
            assert!(half_life > 0.0, "a half-life is above 0 steps, got {half_life}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_and_ends() {
        let weighting = AgeWeighting { half_life: Some(10.0), window: Some(20) };
        let weights = [0, 10, 20, 21].map(|age| weighting.weight(age));
        assert_eq!(weights, [1.0, 0.5, 0.25, 0.0]);
        assert_eq!(AgeWeighting::default().weight(u64::MAX), 1.0);
    }
}
