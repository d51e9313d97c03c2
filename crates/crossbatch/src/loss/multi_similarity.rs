use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    Duplicates, OptionError, PairLoss, Similarity,
    arithmetic::{any, constant_thresholds, softplus},
    options::{above_zero, finite, from_zero},
};
use crate::reduction::Part;

#[doc = include_str!("multi_similarity.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MultiSimilarityLoss {
    /// Sharpness α of the positives. Default 2.
    pub alpha: f32,
    /// Sharpness β of the negatives. Default 40.
    pub beta: f32,
    /// Similarity λ around which pairs are weighed. Default 0.5.
    pub base: f32,
    /// Whether pairs are mined. Default true.
    pub mining: bool,
    /// Mining margin μ. Default 0.1.
    pub mining_margin: f32,
    /// What embeddings are compared by. Default `"cosine"`.
    pub similarity: Similarity,
    /// Positives at a similarity of 1 − 1e-5 or more. Default `"keep"`.
    pub duplicates: Duplicates,
}

impl Default for MultiSimilarityLoss {
    fn default() -> Self {
        Self {
            alpha: 2.0,
            beta: 40.0,
            base: 0.5,
            mining: true,
            mining_margin: 0.1,
            similarity: Similarity::Cosine,
            duplicates: Duplicates::Keep,
        }
    }
}

impl PairLoss for MultiSimilarityLoss {
    fn name(&self) -> &'static str {
        "multi-similarity"
    }

    fn program(&self) -> PairProgram {
        let mining = self.mining.then_some(self.mining_margin);
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Sides {
                positive: Term::LogSumExp { scale: self.alpha },
                positives: PositiveRule {
                    hardest_negative: mining,
                    below: self.duplicates.below(),
                    ..PositiveRule::ALL
                },
                negative: Term::LogSumExp { scale: self.beta },
                negatives: NegativeRule { hardest_positive: mining, ..NegativeRule::ALL },
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
        let mut values = softplus(rows.positive.clone()) / self.alpha
            + softplus(rows.negative.clone()) / self.beta;
        if self.mining {
            // As released: an anchor with nothing mined on one side costs nothing on the other either.
            values =
                values * any(rows.field(program::POSITIVES)) * any(rows.field(program::NEGATIVES));
        }
        vec![Part::of_anchors(values)]
    }

    fn check(&self) -> Result<(), OptionError> {
        above_zero("alpha", self.alpha)?;
        above_zero("beta", self.beta)?;
        finite("base", self.base)?;
        from_zero("mining-margin", self.mining_margin)?;
        self.duplicates.check(self.similarity)
    }
}
