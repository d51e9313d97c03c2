use crossbatch_kernels::program::{Body, PairProgram};

use super::{Miner, MiningError, stricter};
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

    fn restrict(&self, program: &mut PairProgram) -> Result<(), MiningError> {
        let Body::Sides { positives, negatives, .. } = &mut program.body else {
            return Err(MiningError {
                miner: self.name(),
                reason: "it selects pairs, and a triplet loss has triplets; try `triplets`",
            });
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
