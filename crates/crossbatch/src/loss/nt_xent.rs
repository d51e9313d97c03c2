use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    OptionError, PairLoss, Similarity, arithmetic::constant_thresholds, options::above_zero,
};
use crate::reduction::Part;

#[doc = include_str!("nt_xent.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NtXentLoss {
    /// Temperature τ. Default 0.07.
    pub temperature: f32,
    /// What embeddings are compared by. Default `"cosine"`.
    pub similarity: Similarity,
}

impl Default for NtXentLoss {
    fn default() -> Self {
        Self { temperature: 0.07, similarity: Similarity::Cosine }
    }
}

impl PairLoss for NtXentLoss {
    fn name(&self) -> &'static str {
        "nt-xent"
    }

    fn program(&self) -> PairProgram {
        one_positive_at_a_time(self.similarity, self.temperature.recip())
    }

    fn thresholds(&self, anchors: &Anchors, _parameters: Option<&Tensor<1>>) -> Tensor<2> {
        constant_thresholds(anchors, 0.0, 0.0)
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
        vec![Part::of_pairs(rows.positive.clone(), rows.field(program::POSITIVES))]
    }

    fn check(&self) -> Result<(), OptionError> {
        above_zero("temperature", self.temperature)
    }
}

/// Each positive by itself against all negatives of its anchor.
pub(super) fn one_positive_at_a_time(similarity: Similarity, scale: f32) -> PairProgram {
    PairProgram {
        closeness: similarity.closeness(),
        body: Body::Sides {
            positive: Term::AgainstNegatives { scale },
            positives: PositiveRule::ALL,
            negative: Term::LogSumExp { scale },
            negatives: NegativeRule::ALL,
        },
    }
}
