use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    OptionError, PairLoss, Similarity,
    arithmetic::constant_thresholds,
    options::{above_zero, finite},
};
use crate::reduction::Part;

#[doc = include_str!("binomial_deviance.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BinomialDevianceLoss {
    /// Sharpness α. Default 2.
    pub alpha: f32,
    /// Similarity β that parts positives from negatives. Default 0.5.
    pub base: f32,
    /// How much sharper negatives are, C. Default 25.
    pub negative_cost: f32,
    /// What embeddings are compared by. Default `"cosine"`.
    pub similarity: Similarity,
}

impl Default for BinomialDevianceLoss {
    fn default() -> Self {
        Self { alpha: 2.0, base: 0.5, negative_cost: 25.0, similarity: Similarity::Cosine }
    }
}

impl PairLoss for BinomialDevianceLoss {
    fn name(&self) -> &'static str {
        "binomial-deviance"
    }

    fn program(&self) -> PairProgram {
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Sides {
                positive: Term::Softplus { scale: self.alpha },
                positives: PositiveRule::ALL,
                negative: Term::Softplus { scale: self.alpha * self.negative_cost },
                negatives: NegativeRule::ALL,
            },
        }
    }

    fn thresholds(&self, anchors: &Anchors, _parameters: Option<&Tensor<1>>) -> Tensor<2> {
        let base = self.similarity.threshold(self.base);
        constant_thresholds(anchors, base, base)
    }

    fn prepare(&self, rows: Tensor<2>) -> Tensor<2> {
        self.similarity.prepare(rows)
    }

    fn parts(
        &self,
        rows: &PairRows,
        _anchors: &Anchors,
        _parameters: Option<&Tensor<1>>,
    ) -> Vec<Part> {
        vec![
            Part::of_pairs(rows.positive.clone(), rows.field(program::POSITIVES)),
            Part::of_pairs(rows.negative.clone(), rows.field(program::NEGATIVES)),
        ]
    }

    fn check(&self) -> Result<(), OptionError> {
        above_zero("alpha", self.alpha)?;
        finite("base", self.base)?;
        above_zero("negative-cost", self.negative_cost)
    }
}
