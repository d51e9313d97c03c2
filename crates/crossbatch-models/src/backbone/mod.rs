//! One file a backbone.

mod conv4;
mod convnext;
mod inception;
mod mobilenet;
mod resnet;
mod vit;

pub use conv4::Conv4;
pub use convnext::ConvNeXt;
pub use inception::{BnInception, GoogLeNet};
pub use mobilenet::MobileNetV3;
pub use resnet::ResNet;
pub(crate) use resnet::ResNetPlan;
pub use vit::VisionTransformer;
use vit::VitPlan;

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
    /// GoogLeNet with batch normalisation.
    #[serde(rename = "googlenet")]
    GoogLeNet,
    /// BN-Inception.
    BnInception,
    /// Vision transformer, small, patches of 16 pixels.
    #[serde(rename = "vit-s16")]
    VitS16,
    /// Vision transformer, base, patches of 16 pixels.
    #[serde(rename = "vit-b16")]
    VitB16,
    /// DINOv2, small, patches of 14 pixels.
    #[serde(rename = "dinov2-s14")]
    Dinov2S14,
    /// DINOv2, small, with registers.
    #[serde(rename = "dinov2-s14-reg")]
    Dinov2S14Registers,
    /// DINOv2, base, patches of 14 pixels.
    #[serde(rename = "dinov2-b14")]
    Dinov2B14,
    /// DINOv2, base, with registers.
    #[serde(rename = "dinov2-b14-reg")]
    Dinov2B14Registers,
    /// ConvNeXt-T.
    #[serde(rename = "convnext-t")]
    ConvNextT,
    /// MobileNetV3, small.
    #[serde(rename = "mobilenetv3-small")]
    MobileNetV3Small,
    /// MobileNetV3, large.
    #[serde(rename = "mobilenetv3-large")]
    MobileNetV3Large,
}

impl BackboneKind {
    /// Every backbone.
    pub const ALL: [Self; 16] = [
        Self::Conv4,
        Self::ResNet18,
        Self::ResNet34,
        Self::ResNet50,
        Self::ResNet101,
        Self::GoogLeNet,
        Self::BnInception,
        Self::VitS16,
        Self::VitB16,
        Self::Dinov2S14,
        Self::Dinov2S14Registers,
        Self::Dinov2B14,
        Self::Dinov2B14Registers,
        Self::ConvNextT,
        Self::MobileNetV3Small,
        Self::MobileNetV3Large,
    ];

    /// As in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Conv4 => "conv4",
            Self::ResNet18 => "resnet18",
            Self::ResNet34 => "resnet34",
            Self::ResNet50 => "resnet50",
            Self::ResNet101 => "resnet101",
            Self::GoogLeNet => "googlenet",
            Self::BnInception => "bn-inception",
            Self::VitS16 => "vit-s16",
            Self::VitB16 => "vit-b16",
            Self::Dinov2S14 => "dinov2-s14",
            Self::Dinov2S14Registers => "dinov2-s14-reg",
            Self::Dinov2B14 => "dinov2-b14",
            Self::Dinov2B14Registers => "dinov2-b14-reg",
            Self::ConvNextT => "convnext-t",
            Self::MobileNetV3Small => "mobilenetv3-small",
            Self::MobileNetV3Large => "mobilenetv3-large",
        }
    }

    /// Smallest image side that it takes.
    pub fn smallest_image(self) -> usize {
        match self {
            Self::GoogLeNet | Self::BnInception => 16,
            Self::ConvNextT => 32,
            _ => self.vit().map_or(8, |plan| plan.patch),
        }
    }

    /// What an image's side must be a multiple of.
    pub fn patch(self) -> usize {
        self.vit().map_or(1, |plan| plan.patch)
    }

    fn vit(self) -> Option<VitPlan> {
        let plan = |width, patch, registers| VitPlan {
            width,
            heads: width / 64,
            patch,
            scaled: patch == 14,
            registers,
        };
        match self {
            Self::VitS16 => Some(plan(384, 16, 0)),
            Self::VitB16 => Some(plan(768, 16, 0)),
            Self::Dinov2S14 => Some(plan(384, 14, 0)),
            Self::Dinov2S14Registers => Some(plan(384, 14, 4)),
            Self::Dinov2B14 => Some(plan(768, 14, 0)),
            Self::Dinov2B14Registers => Some(plan(768, 14, 4)),
            _ => None,
        }
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
            _ if self.vit().is_some() => Pooling::ClassToken,
            _ => Pooling::Average,
        }
    }

    /// Parts that can be frozen one after the other, from the input on.
    pub fn stages(self) -> usize {
        match self {
            Self::Conv4 => conv4::BLOCKS,
            Self::GoogLeNet | Self::BnInception => inception::STAGES,
            Self::ConvNextT => convnext::STAGES,
            Self::MobileNetV3Small => mobilenet::stages(false),
            Self::MobileNetV3Large => mobilenet::stages(true),
            _ if self.vit().is_some() => vit::STAGES,
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
            Self::ResNet18 => Some(plan([2, 2, 2, 2], false)),
            Self::ResNet34 => Some(plan([3, 4, 6, 3], false)),
            Self::ResNet50 => Some(plan([3, 4, 6, 3], true)),
            Self::ResNet101 => Some(plan([3, 4, 23, 3], true)),
            _ => None,
        }
    }

    /// The parameter that sees the image, in PyTorch's names.
    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::Conv4 => "blocks.0.conv.weight",
            Self::GoogLeNet | Self::BnInception => "conv1.conv.weight",
            Self::ConvNextT | Self::MobileNetV3Small | Self::MobileNetV3Large => {
                "features.0.0.weight"
            }
            _ if self.vit().is_some() => "patch_embed.proj.weight",
            _ => "conv1.weight",
        }
    }

    /// How the names begin that published weights have besides, for their classifier.
    pub(crate) fn classifier(self) -> &'static [&'static str] {
        match self {
            Self::Conv4 => &[],
            Self::GoogLeNet => &["fc.", "aux1.", "aux2."],
            Self::ConvNextT | Self::MobileNetV3Small | Self::MobileNetV3Large => &["classifier."],
            // DINOv2's own files have a token for masked patches, which training alone needs.
            _ if self.vit().is_some() => &["head.", "mask_token"],
            _ => &["fc."],
        }
    }

    /// Channels of its features.
    pub fn channels(self) -> usize {
        match self {
            Self::Conv4 => conv4::WIDTH,
            Self::GoogLeNet | Self::BnInception => inception::WIDTH,
            Self::ConvNextT => convnext::WIDTH,
            Self::MobileNetV3Small => mobilenet::width(false),
            Self::MobileNetV3Large => mobilenet::width(true),
            _ => {
                let of_vit = self.vit().map(|plan| plan.width);
                of_vit.or(self.resnet(2).map(|plan| plan.features())).unwrap_or_default()
            }
        }
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
#[expect(
    clippy::large_enum_variant,
    reason = "there is one of it, and all of it is small beside the weights"
)]
pub enum Backbone {
    /// See [`Conv4`].
    Conv4(Conv4),
    /// See [`ResNet`].
    ResNet(ResNet),
    /// See [`GoogLeNet`].
    GoogLeNet(GoogLeNet),
    /// See [`BnInception`].
    BnInception(BnInception),
    /// See [`VisionTransformer`].
    Vit(VisionTransformer),
    /// See [`ConvNeXt`].
    ConvNeXt(ConvNeXt),
    /// See [`MobileNetV3`].
    MobileNetV3(MobileNetV3),
}

impl Backbone {
    pub(crate) fn new(config: &EmbedderConfig, init: &mut Initializer<'_>) -> Self {
        let EmbedderConfig { backbone, channels, frozen_stages, .. } = *config;
        init.freeze_norm(config.frozen_norm);
        let network = match backbone {
            BackboneKind::Conv4 => Self::Conv4(Conv4::new(init, channels, frozen_stages)),
            BackboneKind::GoogLeNet => {
                Self::GoogLeNet(GoogLeNet::new(init, channels, frozen_stages))
            }
            BackboneKind::BnInception => {
                Self::BnInception(BnInception::new(init, channels, frozen_stages))
            }
            BackboneKind::ConvNextT => Self::ConvNeXt(ConvNeXt::new(init, channels, frozen_stages)),
            BackboneKind::MobileNetV3Small | BackboneKind::MobileNetV3Large => {
                let large = backbone == BackboneKind::MobileNetV3Large;
                Self::MobileNetV3(MobileNetV3::new(init, channels, large, frozen_stages))
            }
            _ => match (backbone.vit(), backbone.resnet(config.last_stride)) {
                (Some(plan), _) => {
                    let class_token = config.pooling == Pooling::ClassToken;
                    let image = [channels, config.size];
                    Self::Vit(VisionTransformer::new(
                        init,
                        image,
                        &plan,
                        class_token,
                        frozen_stages,
                    ))
                }
                (None, Some(plan)) => {
                    Self::ResNet(ResNet::new(init, channels, &plan, frozen_stages))
                }
                (None, None) => unreachable!("{backbone} has a plan"),
            },
        };
        init.freeze(false);
        network
    }

    /// Images `[B, C, S, S]` to features `[B, F, h, w]`.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<4> {
        match self {
            Self::Conv4(network) => network.forward(images, mode),
            Self::ResNet(network) => network.forward(images, mode),
            Self::GoogLeNet(network) => network.forward(images, mode),
            Self::BnInception(network) => network.forward(images, mode),
            Self::Vit(network) => network.forward(images),
            Self::ConvNeXt(network) => network.forward(images),
            Self::MobileNetV3(network) => network.forward(images, mode),
        }
    }

    /// Its layers, in the order of `forward`.
    pub(crate) fn tally(&self, tally: &mut Tally) {
        match self {
            Self::Conv4(network) => network.tally(tally),
            Self::ResNet(network) => network.tally(tally),
            Self::GoogLeNet(network) => network.tally(tally),
            Self::BnInception(network) => network.tally(tally),
            Self::Vit(network) => network.tally(tally),
            Self::ConvNeXt(network) => network.tally(tally),
            Self::MobileNetV3(network) => network.tally(tally),
        }
    }
}
