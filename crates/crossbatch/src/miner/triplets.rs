use crossbatch_kernels::program::{Body, PairProgram, TripletRule};

use super::{Miner, misfit, stricter};
use crate::loss::{OptionError, from_zero};

#[doc = include_str!("triplets.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TripletMiner {
    /// Which triplets. Default `"violating"`.
    pub triplets: MinedTriplets,
    /// Their margin. Default 0.1.
    pub margin: f32,
}

/// Which triplets the [`TripletMiner`] lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MinedTriplets {
    /// The positive is not closer than the negative by the margin.
    #[default]
    Violating,
    /// The negative is closer than the positive.
    Hard,
    /// The positive is closer than the negative, but by less than the margin.
    SemiHard,
    /// The positive is closer than the negative by the margin.
    Easy,
}

impl Default for TripletMiner {
    fn default() -> Self {
        Self { triplets: MinedTriplets::Violating, margin: 0.1 }
    }
}

impl Miner for TripletMiner {
    fn name(&self) -> &'static str {
        "triplets"
    }

    fn restrict(&self, program: &mut PairProgram) -> Result<(), OptionError> {
        match &mut program.body {
            Body::Triplets { margin, rule, .. } => {
                *rule = self.restrict_triplets(*margin, *rule)?;
            }
            Body::Sides { positives, negatives, .. } => match self.triplets {
                MinedTriplets::Violating | MinedTriplets::Hard => {
                    let hard = self.triplets == MinedTriplets::Hard;
                    let margin = if hard { 0.0 } else { self.margin };
                    let hardest = &mut positives.hardest_negative;
                    *hardest = stricter(*hardest, margin, f32::min);
                    let hardest = &mut negatives.hardest_positive;
                    *hardest = stricter(*hardest, margin, f32::min);
                }
                MinedTriplets::SemiHard => {
                    let hardest = &mut positives.hardest_negative;
                    *hardest = stricter(*hardest, self.margin, f32::min);
                    let easiest = &mut positives.easiest_negative;
                    *easiest = stricter(*easiest, 0.0, f32::max);
                    let semi_hard = &mut negatives.semi_hard;
                    *semi_hard = stricter(*semi_hard, self.margin, f32::min);
                }
                MinedTriplets::Easy => {
                    let easiest = &mut positives.easiest_negative;
                    *easiest = stricter(*easiest, self.margin, f32::max);
                    let below = &mut negatives.below_easiest_positive;
                    *below = stricter(*below, self.margin, f32::max);
                }
            },
        }
        Ok(())
    }

    fn check(&self) -> Result<(), OptionError> {
        from_zero("margin", self.margin)
    }
}

impl TripletMiner {
    fn restrict_triplets(
        &self,
        margin: f32,
        rule: TripletRule,
    ) -> Result<TripletRule, OptionError> {
        let error = |expected| Err(misfit(self, expected));
        let wanted = match self.triplets {
            MinedTriplets::Hard => TripletRule::Hard,
            _ if self.margin != margin => {
                return error("the margin of the triplet loss itself");
            }
            MinedTriplets::Violating => return Ok(rule),
            MinedTriplets::SemiHard => TripletRule::SemiHard,
            MinedTriplets::Easy => return error("triplets that cost a triplet loss anything"),
        };
        if rule == TripletRule::All || rule == wanted {
            Ok(wanted)
        } else {
            error("the triplets that the loss itself has, or a loss with `triplets = \"all\"`")
        }
    }
}
