//! One file a backbone.

mod conv4;
mod resnet;

pub use conv4::Conv4;
pub use resnet::ResNet;
pub(crate) use resnet::ResNetPlan;

use std::{fmt, str::FromStr};

use burn::{module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use crate::{
    cost::Tally, embedder::EmbedderConfig, init::Initializer, layer::Mode, pooling::Pooling,
};

/// Name of a backbone, as in a recipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackboneKind {
    /// Four 3x3 convolutions of 64 channels, for small images.
    Conv4,
    /// Residual network of 18 layers.
    #[serde(rename = "resnet18")]
    ResNet18,
    /// Residual network of 34 layers.
    #[serde(rename = "resnet34")]
    ResNet34,
    /// Residual network of 50 layers, bottlenecks.
    #[serde(rename = "resnet50")]
    ResNet50,
    /// Residual network of 101 layers, bottlenecks.
    #[serde(rename = "resnet101")]
    ResNet101,
}

impl BackboneKind {
    /// Every backbone.
    pub const ALL: [Self; 5] =
        [Self::Conv4, Self::ResNet18, Self::ResNet34, Self::ResNet50, Self::ResNet101];

    /// As in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv4 => "conv4",
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::ResNet101 => "resnet101",
        }
    }

    /// Smallest image side that it takes.
    pub fn smallest_image(self) -> usize {
        8
    }

    /// Image side that it is usually used with.
    pub fn usual_image(self) -> usize {
        match self {
            Self::Conv4 => 28,
            _ => 224,
        }
    }

    /// How its features become a row, where nothing else is said.
    pub fn usual_pooling(self) -> Pooling {
        match self {
            Self::Conv4 => Pooling::Flatten,
            _ => Pooling::Average,
        }
    }

    /// Parts that can be frozen one after the other, from the input on.
    pub fn stages(self) -> usize {
        match self {
            Self::Conv4 => conv4::BLOCKS,
            _ => resnet::STAGES,
        }
    }

    /// Whether the stride of its last stage can be 1.
    pub fn has_last_stride(self) -> bool {
        self.resnet(2).is_some()
    }

    fn resnet(self, last_stride: usize) -> Option<ResNetPlan> {
        let plan = |blocks, bottleneck| ResNetPlan { blocks, bottleneck, width: 64, last_stride };
        match self {
            Self::Conv4 => None,
            Self::ResNet18 => Some(plan([2, 2, 2, 2], false)),
            Self::ResNet34 => Some(plan([3, 4, 6, 3], false)),
            Self::ResNet50 => Some(plan([3, 4, 6, 3], true)),
            Self::ResNet101 => Some(plan([3, 4, 23, 3], true)),
        }
    }

    /// The parameter that sees the image, in PyTorch's names.
    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::Conv4 => "blocks.0.conv.weight",
            _ => "conv1.weight",
        }
    }

    /// How the names begin that published weights have besides, for their classifier.
    pub(crate) fn classifier(self) -> &'static [&'static str] {
        match self {
            Self::Conv4 => &[],
            _ => &["fc."],
        }
    }

    /// Channels of its features.
    pub fn channels(self) -> usize {
        self.resnet(2).map_or(conv4::WIDTH, |plan| plan.features())
    }
}

impl fmt::Display for BackboneKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl FromStr for BackboneKind {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join("`, `");
            format!("no backbone is called `{name}`; there are `{names}`")
        })
    }
}

/// A network from images `[B, C, S, S]` to features `[B, F, h, w]`.
#[derive(Module, Debug)]
pub enum Backbone {
    /// See [`Conv4`].
    Conv4(Conv4),
    /// See [`ResNet`].
    ResNet(ResNet),
}

impl Backbone {
    pub(crate) fn new(config: &EmbedderConfig, init: &mut Initializer<'_>) -> Self {
        let EmbedderConfig { backbone, channels, frozen_stages, .. } = *config;
        init.freeze_norm(config.frozen_norm);
        let network = match backbone.resnet(config.last_stride) {
            Some(plan) => Self::ResNet(ResNet::new(init, channels, &plan, frozen_stages)),
            None => Self::Conv4(Conv4::new(init, channels, frozen_stages)),
        };
        init.freeze(false);
        network
    }

    /// Images `[B, C, S, S]` to features `[B, F, h, w]`.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<4> {
        match self {
            Self::Conv4(network) => network.forward(images, mode),
            Self::ResNet(network) => network.forward(images, mode),
        }
    }

    /// Its layers, in the order of `forward`.
    pub(crate) fn tally(&self, tally: &mut Tally) {
        match self {
            Self::Conv4(network) => network.tally(tally),
            Self::ResNet(network) => network.tally(tally),
        }
    }
}
