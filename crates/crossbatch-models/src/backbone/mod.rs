//! One file a backbone.

mod conv4;

pub use conv4::Conv4;

use std::{fmt, str::FromStr};

use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use crate::{cost::Tally, init::Initializer, layer::Mode};

/// Name of a backbone, as in a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackboneKind {
    /// Four 3x3 convolutions of 64 channels, for small images.
    Conv4,
}

impl BackboneKind {
    /// Every backbone.
    pub const ALL: [Self; 1] = [Self::Conv4];

    /// Smallest image side that leaves at least one output pixel.
    pub fn smallest_image(self) -> usize {
        match self {
            Self::Conv4 => 8,
        }
    }
}

impl fmt::Display for BackboneKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Conv4 => "conv4",
        })
    }
}

impl FromStr for BackboneKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.to_string() == name)
            .ok_or_else(|| format!("no backbone is called `{name}`; there is `conv4`"))
    }
}

/// A network from images `[B, C, S, S]` to features `[B, F]`.
#[derive(Module, Debug)]
pub enum Backbone {
    /// See [`Conv4`].
    Conv4(Conv4),
}

impl Backbone {
    pub(crate) fn new(kind: BackboneKind, init: &mut Initializer<'_>, channels: usize) -> Self {
        match kind {
            BackboneKind::Conv4 => Self::Conv4(Conv4::new(init, channels)),
        }
    }

    /// Features `F` that images of side `size` give.
    pub fn features(kind: BackboneKind, size: usize) -> usize {
        match kind {
            BackboneKind::Conv4 => Conv4::features(size),
        }
    }

    /// Images `[B, C, S, S]` to features `[B, F]`.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        match self {
            Self::Conv4(network) => network.forward(images, mode),
        }
    }

    /// Its layers, in the order of `forward`.
    pub(crate) fn tally(&self, tally: &mut Tally) {
        match self {
            Self::Conv4(network) => network.tally(tally),
        }
    }
}
