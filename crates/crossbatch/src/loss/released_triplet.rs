use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    OptionError, PairLoss, Similarity,
    arithmetic::{any, constant_thresholds},
    options::{finite, from_zero, rule},
};
use crate::reduction::Part;

#[doc = include_str!("released_triplet.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ReleasedTripletLoss {
    /// By how much pairs may be in order and still count. Default 0.1.
    pub margin: f32,
    /// Least similarity that negatives are compared with. Default 0.6.
    pub floor: f32,
    /// What embeddings are compared by, `"cosine"` or `"dot"`. Default `"cosine"`.
    pub similarity: Similarity,
}

impl Default for ReleasedTripletLoss {
    fn default() -> Self {
        Self { margin: 0.1, floor: 0.6, similarity: Similarity::Cosine }
    }
}

impl PairLoss for ReleasedTripletLoss {
    fn name(&self) -> &'static str {
        "released-triplet"
    }

    fn program(&self) -> PairProgram {
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Sides {
                positive: Term::Linear { offset: 0.0 },
                positives: PositiveRule {
                    hardest_negative: Some(self.margin),
                    ..PositiveRule::ALL
                },
                negative: Term::Linear { offset: 0.0 },
                negatives: NegativeRule {
                    easiest_positive: Some((self.floor, self.margin)),
                    ..NegativeRule::ALL
                },
            },
        }
    }

    fn thresholds(&self, anchors: &Anchors, _parameters: Option<&Tensor<1>>) -> Tensor<2> {
        constant_thresholds(anchors, 1.0, 0.0)
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
        // As released: an anchor without a positive costs nothing.
        let exists = any(rows.field(program::POSITIVE_PAIRS));
        vec![
            Part::of_pairs(rows.positive.clone(), rows.field(program::POSITIVES)),
            Part::of_pairs(
                rows.negative.clone() * exists.clone(),
                rows.field(program::NEGATIVES) * exists,
            ),
        ]
    }

    fn check(&self) -> Result<(), OptionError> {
        from_zero("margin", self.margin)?;
        finite("floor", self.floor)?;
        rule(!self.similarity.is_distance(), "similarity", "a distance", "\"cosine\" or \"dot\"")
    }
}
