use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    OptionError, PairLoss, Similarity,
    arithmetic::columns,
    options::{finite, from_zero},
};
use crate::reduction::Part;

#[doc = include_str!("margin.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct MarginLoss {
    /// Half the width α of the band that both sides should stay out of. Default 0.2.
    pub margin: f32,
    /// Boundary β between positives and negatives, or its first value. Default 1.2.
    pub beta: f32,
    /// Whether β is learnt. Default `"global"`.
    pub learn_beta: LearnBeta,
    /// Weight ν of β itself in the loss. Default 0.
    pub nu: f32,
    /// What embeddings are compared by. Default `"euclidean"`.
    pub similarity: Similarity,
}

/// Whether the [`MarginLoss`]'s boundary β is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LearnBeta {
    /// It stays as it is.
    Fixed,
    /// One number is learnt.
    #[default]
    Global,
    /// A number for each class is learnt: that of the anchor's class counts.
    PerClass,
}

impl Default for MarginLoss {
    fn default() -> Self {
        Self {
            margin: 0.2,
            beta: 1.2,
            learn_beta: LearnBeta::Global,
            nu: 0.0,
            similarity: Similarity::Euclidean,
        }
    }
}

impl MarginLoss {
    /// β of each anchor, `[B]`.
    fn betas(&self, anchors: &Anchors, parameters: Option<&Tensor<1>>) -> Tensor<1> {
        let [batch, _] = anchors.embeddings.dims();
        let learnt = || parameters.expect("the margin loss learns beta: give its parameters");
        match self.learn_beta {
            LearnBeta::Fixed => Tensor::full([batch], self.beta, &anchors.embeddings.device()),
            LearnBeta::Global => learnt().clone().expand([batch]),
            LearnBeta::PerClass => learnt().clone().select(0, anchors.labels.clone()),
        }
    }
}

impl PairLoss for MarginLoss {
    fn name(&self) -> &'static str {
        "margin"
    }

    fn program(&self) -> PairProgram {
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Sides {
                positive: Term::Linear { offset: 0.0 },
                positives: PositiveRule { violating: true, ..PositiveRule::ALL },
                negative: Term::Linear { offset: 0.0 },
                negatives: NegativeRule { violating: true, ..NegativeRule::ALL },
            },
        }
    }

    fn thresholds(&self, anchors: &Anchors, parameters: Option<&Tensor<1>>) -> Tensor<2> {
        let betas = self.betas(anchors, parameters);
        let betas = if self.similarity.is_distance() { betas.neg() } else { betas };
        columns(betas.clone() + self.margin, betas - self.margin)
    }

    fn prepare(&self, rows: Tensor<2>) -> Tensor<2> {
        self.similarity.prepare(rows)
    }

    fn parts(
        &self,
        rows: &PairRows,
        anchors: &Anchors,
        parameters: Option<&Tensor<1>>,
    ) -> Vec<Part> {
        let mut parts = vec![
            Part::of_pairs(rows.positive.clone(), rows.field(program::POSITIVES)),
            Part::of_pairs(rows.negative.clone(), rows.field(program::NEGATIVES)),
        ];
        if self.nu > 0.0 && self.learn_beta != LearnBeta::Fixed {
            parts.push(Part::of_anchors(self.betas(anchors, parameters) * self.nu));
        }
        parts
    }

    fn initial_parameters(&self, classes: usize) -> Vec<f32> {
        let count = match self.learn_beta {
            LearnBeta::Fixed => 0,
            LearnBeta::Global => 1,
            LearnBeta::PerClass => classes,
        };
        vec![self.beta; count]
    }

    fn check(&self) -> Result<(), OptionError> {
        from_zero("margin", self.margin)?;
        finite("beta", self.beta)?;
        from_zero("nu", self.nu)
    }
}
