use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, PairProgram},
};

use super::{
    OptionError, PairLoss, Similarity,
    arithmetic::{constant_thresholds, squared_norms},
    nt_xent::one_positive_at_a_time,
    options::from_zero,
};
use crate::reduction::Part;

#[doc = include_str!("n_pairs.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct NPairsLoss {
    /// Factor of the anchors' squared lengths, which keeps them small. Default 0.
    pub length_weight: f32,
    /// What embeddings are compared by. Default `"dot"`.
    pub similarity: Similarity,
}

impl Default for NPairsLoss {
    fn default() -> Self {
        Self { length_weight: 0.0, similarity: Similarity::Dot }
    }
}

impl PairLoss for NPairsLoss {
    fn name(&self) -> &'static str {
        "n-pairs"
    }

    fn program(&self) -> PairProgram {
        one_positive_at_a_time(self.similarity, 1.0)
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
        anchors: &Anchors,
        _parameters: Option<&Tensor<1>>,
    ) -> Vec<Part> {
        let pairs = Part::of_pairs(rows.positive.clone(), rows.field(program::POSITIVES));
        if self.length_weight == 0.0 {
            return vec![pairs];
        }
        let lengths = squared_norms(anchors.embeddings.clone()) * self.length_weight;
        vec![pairs, Part::of_anchors(lengths)]
    }

    fn check(&self) -> Result<(), OptionError> {
        from_zero("length-weight", self.length_weight)
    }
}
