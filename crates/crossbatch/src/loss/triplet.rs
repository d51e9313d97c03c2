use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, PairProgram, TripletRule},
};

use super::{
    OptionError, PairLoss, Similarity, arithmetic::constant_thresholds, options::from_zero,
};
use crate::reduction::Part;

#[doc = include_str!("triplet.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TripletLoss {
    /// How much closer the positive should be than the negative. Default 0.1.
    pub margin: f32,
    /// Which triplets count. Default `"all"`.
    pub triplets: Triplets,
    /// `ln(1 + exp(·))` instead of the hinge. Default false.
    pub soft: bool,
    /// What embeddings are compared by. Default `"cosine"`.
    pub similarity: Similarity,
}

/// Which triplets of the [`TripletLoss`] count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Triplets {
    /// Every one.
    #[default]
    All,
    /// The negative is farther than the positive, but by less than the margin.
    SemiHard,
    /// The negative is closer than the positive.
    Hard,
}

impl Default for TripletLoss {
    fn default() -> Self {
        Self { margin: 0.1, triplets: Triplets::All, soft: false, similarity: Similarity::Cosine }
    }
}

impl PairLoss for TripletLoss {
    fn name(&self) -> &'static str {
        "triplet"
    }

    fn program(&self) -> PairProgram {
        let rule = match self.triplets {
            Triplets::All => TripletRule::All,
            Triplets::SemiHard => TripletRule::SemiHard,
            Triplets::Hard => TripletRule::Hard,
        };
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Triplets { margin: self.margin, rule, soft: self.soft },
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
        vec![Part::of_pairs(rows.negative.clone(), rows.field(program::NEGATIVES))]
    }

    fn check(&self) -> Result<(), OptionError> {
        from_zero("margin", self.margin)
    }
}
