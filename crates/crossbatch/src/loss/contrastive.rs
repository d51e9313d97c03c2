use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    Duplicates, OptionError, PairLoss, Similarity, arithmetic::constant_thresholds, options::rule,
};
use crate::reduction::Part;

#[doc = include_str!("contrastive.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ContrastiveLoss {
    /// Similarity above which a negative counts (distance below which it does). Default 0.5.
    pub margin: f32,
    /// Similarity below which a positive counts in the hinge form (distance above which it does). Default 1.
    pub positive_margin: f32,
    /// What an active pair costs. Default `"released"`.
    pub form: ContrastiveForm,
    /// What embeddings are compared by. Default `"cosine"`.
    pub similarity: Similarity,
    /// Positives at a similarity of 1 − 1e-5 or more. Default `"keep"`.
    pub duplicates: Duplicates,
}

/// What an active pair of the [`ContrastiveLoss`] costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContrastiveForm {
    /// A positive `1 − s`, a negative `s`, as in the released code.
    #[default]
    Released,
    /// How far the pair is beyond its margin.
    Hinge,
}

impl Default for ContrastiveLoss {
    fn default() -> Self {
        Self {
            margin: 0.5,
            positive_margin: 1.0,
            form: ContrastiveForm::Released,
            similarity: Similarity::Cosine,
            duplicates: Duplicates::Keep,
        }
    }
}

impl PairLoss for ContrastiveLoss {
    fn name(&self) -> &'static str {
        "contrastive"
    }

    fn program(&self) -> PairProgram {
        let hinge = self.form == ContrastiveForm::Hinge;
        PairProgram {
            closeness: self.similarity.closeness(),
            body: Body::Sides {
                positive: Term::Linear { offset: 0.0 },
                positives: PositiveRule {
                    violating: hinge,
                    below: self.duplicates.below(),
                    ..PositiveRule::ALL
                },
                negative: Term::Linear { offset: if hinge { 0.0 } else { self.margin } },
                negatives: NegativeRule { violating: true, ..NegativeRule::ALL },
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
        vec![
            Part::of_pairs(rows.positive.clone(), rows.field(program::POSITIVES)),
            Part::of_pairs(rows.negative.clone(), rows.field(program::NEGATIVES)),
        ]
    }

    fn check(&self) -> Result<(), OptionError> {
        self.similarity.check_margins(self.margin, self.positive_margin)?;
        let plain = !self.similarity.is_distance() && self.positive_margin == 1.0;
        rule(
            self.form == ContrastiveForm::Hinge || plain,
            "form",
            "released",
            "\"hinge\" with a distance or a `positive-margin` of its own",
        )?;
        self.duplicates.check(self.similarity)
    }
}
