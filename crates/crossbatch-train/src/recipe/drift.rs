//! `[drift]`: what is measured of stale features.

use serde::{Deserialize, Serialize};

/// `[drift]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DriftRecipe {
    /// Steps between measurements; 0 measures nothing. Default 0.
    pub every: u64,
    /// Training images that are embedded again each time, as many of each class as in a batch. Default 256.
    pub probes: usize,
    /// Distances in steps that are reported, multiples of `every`. Default [10, 100, 1000].
    pub spans: Vec<u64>,
}

impl Default for DriftRecipe {
    fn default() -> Self {
        Self { every: 0, probes: 256, spans: vec![10, 100, 1000] }
    }
}
