use burn::tensor::Tensor;
use crossbatch_kernels::program::Closeness;

use super::options::{OptionError, finite, rule};

/// What a loss compares embeddings by.
///
/// Losses are written for similarities, where larger is closer. With a distance every margin is a distance and the
/// signs turn: a negative counts when it is *nearer* than its margin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Similarity {
    /// The dot product of rows scaled to unit length. Rows of a memory are taken as they were stored, which should
    /// then have been of unit length.
    #[default]
    Cosine,
    /// The dot product of the rows as they are.
    Dot,
    /// The Euclidean distance of the rows as they are.
    Euclidean,
    /// The squared Euclidean distance of the rows as they are.
    SquaredEuclidean,
}

impl Similarity {
    /// The program's word for it.
    pub fn closeness(self) -> Closeness {
        match self {
            Self::Cosine | Self::Dot => Closeness::Dot,
            Self::Euclidean => Closeness::Distance,
            Self::SquaredEuclidean => Closeness::SquaredDistance,
        }
    }

    /// Whether small is close.
    pub fn is_distance(self) -> bool {
        matches!(self, Self::Euclidean | Self::SquaredEuclidean)
    }

    /// A margin of this similarity as closeness, where larger is closer.
    pub fn threshold(self, margin: f32) -> f32 {
        if self.is_distance() { -margin } else { margin }
    }

    /// Rows as they are compared: of unit length for the cosine, else untouched.
    pub fn prepare(self, rows: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Cosine => {
                let norms = rows.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
                rows / norms
            }
            _ => rows,
        }
    }

    /// Checks that positives are asked to be closer than negatives.
    pub(crate) fn check_margins(self, margin: f32, positive: f32) -> Result<(), OptionError> {
        finite("margin", margin)?;
        finite("positive-margin", positive)?;
        let expected = if self.is_distance() {
            "a distance from 0 to below `margin`"
        } else {
            "a similarity above `margin`"
        };
        let closer = self.threshold(positive) > self.threshold(margin);
        let possible = !self.is_distance() || positive >= 0.0;
        rule(closer && possible, "positive-margin", positive, expected)
    }
}
