use crossbatch_kernels::program::{Body, Closeness, PairProgram};

use super::{Miner, misfit};
use crate::loss::{OptionError, finite};

#[doc = include_str!("pair_margin.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct PairMarginMiner {
    /// Similarity below which a positive counts (distance above which it does). Default 0.98.
    pub positive_margin: f32,
    /// Similarity above which a negative counts (distance below which it does). Default 0.68.
    pub margin: f32,
}

impl Default for PairMarginMiner {
    fn default() -> Self {
        Self { positive_margin: 0.98, margin: 0.68 }
    }
}

impl Miner for PairMarginMiner {
    fn name(&self) -> &'static str {
        "pair-margin"
    }

    fn restrict(&self, program: &mut PairProgram) -> Result<(), OptionError> {
        let sign = match program.closeness {
            Closeness::Dot => 1.0,
            Closeness::Distance | Closeness::SquaredDistance => -1.0,
            Closeness::CentredSquaredDistance => {
                return Err(misfit(
                    self,
                    "a similarity or distance that is not relative to the anchor",
                ));
            }
        };
        let Body::Sides { positives, negatives, .. } = &mut program.body else {
            return Err(misfit(self, "a loss over pairs; for triplets there is `triplets`"));
        };
        positives.below = positives.below.min(sign * self.positive_margin);
        negatives.above = negatives.above.max(sign * self.margin);
        Ok(())
    }

    fn check(&self) -> Result<(), OptionError> {
        finite("positive-margin", self.positive_margin)?;
        finite("margin", self.margin)
    }
}
