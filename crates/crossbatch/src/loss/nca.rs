use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    OptionError, PairLoss, Similarity,
    arithmetic::{any, constant_thresholds, softplus},
    options::above_zero,
};
use crate::reduction::Part;

#[doc = include_str!("nca.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NcaLoss {
    /// Factor of the similarities in the softmax. Default 1.
    pub scale: f32,
    /// What embeddings are compared by. Default `"squared-euclidean"`.
    pub similarity: Similarity,
}

impl Default for NcaLoss {
    fn default() -> Self {
        Self { scale: 1.0, similarity: Similarity::SquaredEuclidean }
    }
}

impl PairLoss for NcaLoss {
    fn name(&self) -> &'static str {
        "nca"
    }

    fn program(&self) -> PairProgram {
        // A positive's violation is minus its closeness, as thresholds are 0.
        let term = Term::LogSumExp { scale: -self.scale };
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Sides {
                positive: term,
                positives: PositiveRule::ALL,
                negative: Term::LogSumExp { scale: self.scale },
                negatives: NegativeRule::ALL,
            },
        }
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
        let exists = any(rows.field(program::POSITIVES));
        // −ln [e^P / (e^P + e^N)]
        let values = softplus(rows.negative.clone() - rows.positive.clone());
        let values = values.mask_fill(exists.clone().equal_scalar(0.0), 0.0);
        vec![Part::of_some_anchors(values, exists)]
    }

    fn check(&self) -> Result<(), OptionError> {
        above_zero("scale", self.scale)
    }
}
