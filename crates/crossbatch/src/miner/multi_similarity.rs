use crossbatch_kernels::program::{Body, PairProgram};

use super::{Miner, misfit, stricter};
use crate::loss::{OptionError, from_zero};

#[doc = include_str!("multi_similarity.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MultiSimilarityMiner {
    /// Mining margin ε. Default 0.1.
    pub margin: f32,
}

impl Default for MultiSimilarityMiner {
    fn default() -> Self {
        Self { margin: 0.1 }
    }
}

impl Miner for MultiSimilarityMiner {
    fn name(&self) -> &'static str {
        "multi-similarity"
    }

    fn restrict(&self, program: &mut PairProgram) -> Result<(), OptionError> {
        let Body::Sides { positives, negatives, .. } = &mut program.body else {
            return Err(misfit(self, "a loss over pairs; for triplets there is `triplets`"));
        };
        let hardest = &mut positives.hardest_negative;
        *hardest = stricter(*hardest, self.margin, f32::min);
        let hardest = &mut negatives.hardest_positive;
        *hardest = stricter(*hardest, self.margin, f32::min);
        Ok(())
    }

    fn check(&self) -> Result<(), OptionError> {
        from_zero("margin", self.margin)
    }
}
