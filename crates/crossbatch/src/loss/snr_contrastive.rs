use burn::tensor::Tensor;
use crossbatch_kernels::{
    Anchors, PairRows,
    program::{self, Body, Closeness, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{
    OptionError, PairLoss, Similarity,
    arithmetic::{columns, squared_norms},
};
use crate::reduction::Part;

#[doc = include_str!("snr_contrastive.md")]
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SnrContrastiveLoss {
    /// Distance that negatives are pushed beyond. Default 1.
    pub margin: f32,
    /// Distance that positives are pulled within. Default 0.
    pub positive_margin: f32,
}

impl Default for SnrContrastiveLoss {
    fn default() -> Self {
        Self { margin: 1.0, positive_margin: 0.0 }
    }
}

/// The signal of each anchor, `[B]`: its squared length, as anchors are centred. Not 0, as it divides.
fn signals(anchors: &Anchors) -> Tensor<1> {
    squared_norms(anchors.embeddings.clone()).clamp_min(1e-12)
}

impl PairLoss for SnrContrastiveLoss {
    fn name(&self) -> &'static str {
        "snr-contrastive"
    }

    fn program(&self) -> PairProgram {
        PairProgram {
            closeness: Closeness::CentredSquaredDistance,
            body: Body::Sides {
                positive: Term::Linear { offset: 0.0 },
                positives: PositiveRule { violating: true, ..PositiveRule::ALL },
                negative: Term::Linear { offset: 0.0 },
                negatives: NegativeRule { violating: true, ..NegativeRule::ALL },
            },
        }
    }

    /// Margins times the anchor's signal: the program compares noise, not noise to signal.
    fn thresholds(&self, anchors: &Anchors, _parameters: Option<&Tensor<1>>) -> Tensor<2> {
        let signals = signals(anchors);
        columns(signals.clone() * -self.positive_margin, signals * -self.margin)
    }

    fn prepare(&self, rows: Tensor<2>) -> Tensor<2> {
        let mean = rows.clone().mean_dim(1);
        rows - mean
    }

    fn parts(
        &self,
        rows: &PairRows,
        anchors: &Anchors,
        _parameters: Option<&Tensor<1>>,
    ) -> Vec<Part> {
        let signals = signals(anchors);
        vec![
            Part::of_pairs(rows.positive.clone() / signals.clone(), rows.field(program::POSITIVES)),
            Part::of_pairs(rows.negative.clone() / signals, rows.field(program::NEGATIVES)),
        ]
    }

    fn check(&self) -> Result<(), OptionError> {
        Similarity::SquaredEuclidean.check_margins(self.margin, self.positive_margin)
    }
}
