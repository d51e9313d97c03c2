use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    OptionError, PairLoss, Similarity,
    arithmetic::{any, constant_thresholds},
    options::above_zero,
};
use crate::reduction::Part;

#[doc = include_str!("supcon.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SupConLoss {
    /// Temperature τ. Default 0.1.
    pub temperature: f32,
    /// What embeddings are compared by. Default `"cosine"`.
    pub similarity: Similarity,
}

impl Default for SupConLoss {
    fn default() -> Self {
        Self { temperature: 0.1, similarity: Similarity::Cosine }
    }
}

impl PairLoss for SupConLoss {
    fn name(&self) -> &'static str {
        "supcon"
    }

    fn program(&self) -> PairProgram {
        let scale = self.temperature.recip();
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Sides {
                positive: Term::AgainstAll { scale },
                positives: PositiveRule::ALL,
                negative: Term::LogSumExp { scale },
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
        vec![Part::of_some_anchors(rows.positive.clone(), exists)]
    }

    fn check(&self) -> Result<(), OptionError> {
        above_zero("temperature", self.temperature)
    }
}
