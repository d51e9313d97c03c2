use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    OptionError, PairLoss, Similarity,
    arithmetic::{constant_thresholds, softplus},
    options::{above_zero, rule},
};
use crate::reduction::Part;

#[doc = include_str!("circle.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct CircleLoss {
    /// Scale γ. Default 80.
    pub gamma: f32,
    /// Relaxation m. Default 0.4.
    pub relaxation: f32,
}

impl Default for CircleLoss {
    fn default() -> Self {
        Self { gamma: 80.0, relaxation: 0.4 }
    }
}

impl PairLoss for CircleLoss {
    fn name(&self) -> &'static str {
        "circle"
    }

    fn program(&self) -> PairProgram {
        let term = Term::Circle { scale: self.gamma, relaxation: self.relaxation };
        PairProgram {
            closeness: Similarity::Cosine.closeness(),
            body: Body::Sides {
                positive: term,
                positives: PositiveRule::ALL,
                negative: term,
                negatives: NegativeRule::ALL,
            },
        }
    }

    fn thresholds(&self, anchors: &Anchors, _parameters: Option<&Tensor<1>>) -> Tensor<2> {
        constant_thresholds(anchors, 1.0 - self.relaxation, self.relaxation)
    }

    fn prepare(&self, rows: Tensor<2>) -> Tensor<2> {
        Similarity::Cosine.prepare(rows)
    }

    fn parts(
        &self,
        rows: &PairRows,
        _anchors: &Anchors,
        _parameters: Option<&Tensor<1>>,
    ) -> Vec<Part> {
        // A side without a pair is so far below 0 that the row costs nothing.
        vec![Part::of_anchors(softplus(rows.positive.clone() + rows.negative.clone()))]
    }

    fn check(&self) -> Result<(), OptionError> {
        above_zero("gamma", self.gamma)?;
        rule(
            (0.0..1.0).contains(&self.relaxation),
            "relaxation",
            self.relaxation,
            "from 0 to below 1",
        )
    }
}
