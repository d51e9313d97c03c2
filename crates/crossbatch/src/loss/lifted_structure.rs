use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{OptionError, PairLoss, Similarity, arithmetic::constant_thresholds, options::finite};
use crate::reduction::Part;

#[doc = include_str!("lifted_structure.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct LiftedStructureLoss {
    /// Distance that negatives are pushed beyond. Default 1.
    pub margin: f32,
    /// Distance that positives are pulled within. Default 0.
    pub positive_margin: f32,
    /// What embeddings are compared by. Default `"euclidean"`.
    pub similarity: Similarity,
}

impl Default for LiftedStructureLoss {
    fn default() -> Self {
        Self { margin: 1.0, positive_margin: 0.0, similarity: Similarity::Euclidean }
    }
}

impl PairLoss for LiftedStructureLoss {
    fn name(&self) -> &'static str {
        "lifted-structure"
    }

    fn program(&self) -> PairProgram {
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Sides {
                positive: Term::LogSumExp { scale: 1.0 },
                positives: PositiveRule::ALL,
                negative: Term::LogSumExp { scale: 1.0 },
                negatives: NegativeRule::ALL,
            },
        }
    }

    fn thresholds(&self, anchors: &Anchors, _parameters: Option<&Tensor<1>>) -> Tensor<2> {
        let closeness = |margin| self.similarity.threshold(margin);
        constant_thresholds(anchors, closeness(self.positive_margin), closeness(self.margin))
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
        // A side without a pair is so far below 0 that the row costs nothing.
        vec![Part::of_anchors((rows.positive.clone() + rows.negative.clone()).clamp_min(0.0))]
    }

    fn check(&self) -> Result<(), OptionError> {
        finite("margin", self.margin)?;
        finite("positive-margin", self.positive_margin)
    }
}
