//! A map of features to one row.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use crossbatch_kernels::{global_average_pool, global_max_pool};
use serde::{Deserialize, Serialize};

use crate::{cost::Tally, init::Initializer};

/// How the features `[B, F, h, w]` of a backbone become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Every feature of every place, `[B, F h w]`; for `conv4` only.
    Flatten,
    /// The class token, of vision transformers only.
    ClassToken,
    /// The mean of each channel.
    Average,
    /// The maximum of each channel.
    Max,
    /// The generalised mean `(mean xᵖ)^(1/p)` of each channel, with one `p` that is trained, 3 at first (Radenović, Tolias,
    /// Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018). Features below 1e-6 count as 1e-6.
    Gem,
    /// The sum of mean and maximum.
    AverageMax,
}

impl Pooling {
    /// As in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flatten => "flatten",
            Self::ClassToken => "class-token",
            Self::Average => "average",
            Self::Max => "max",
            Self::Gem => "gem",
            Self::AverageMax => "average-max",
        }
    }
}

/// A pooling with what it trains.
#[derive(Module, Debug)]
pub(crate) struct Pool {
    /// Exponent `[1]` of the generalised mean.
    p: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: Pooling,
}

impl Pool {
    pub(crate) fn new(init: &mut Initializer<'_>, kind: Pooling) -> Self {
        Self { p: (kind == Pooling::Gem).then(|| init.constant(1, 3.0)), kind }
    }

    /// `[B, F, h, w]` to `[B, F]`, or `[B, F h w]`.
    pub(crate) fn forward(&self, features: Tensor<4>) -> Tensor<2> {
        // A class token comes as a map of one place.
        match (self.kind, &self.p) {
            (Pooling::Flatten, _) => features.flatten(1, 3),
            (Pooling::Max, _) => global_max_pool(features),
            (Pooling::AverageMax, _) => {
                global_average_pool(features.clone()) + global_max_pool(features)
            }
            (Pooling::Gem, Some(p)) => {
                let p = p.val();
                let powers = features.clamp_min(1e-6).log() * p.clone().reshape([1, 1, 1, 1]);
                (global_average_pool(powers.exp()).log() / p.reshape([1, 1])).exp()
            }
            (Pooling::Average | Pooling::ClassToken | Pooling::Gem, _) => {
                global_average_pool(features)
            }
        }
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        match self.kind {
            Pooling::Flatten => tally.flatten(),
            _ => tally.global_pool(),
        }
    }
}
