//! Image tensor to unit vector: backbones, embedding head, weights.
//!
//! An [`Embedder`] is a backbone, a pooling, a linear head and L2 normalisation. Its parameters carry PyTorch's
//! names and layouts and start from PyTorch's default initialisation, so that weights move between
//! the two and runs can be compared.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use crossbatch_models::{BackboneKind, Embedder, EmbedderConfig, Mode};
//!
//! let config = EmbedderConfig::new(BackboneKind::Conv4, 1, 28, 128);
//! let embedder = Embedder::new(&config, 0, &Device::flex());
//! let images = Tensor::<4>::zeros([2, 1, 28, 28], &Device::flex());
//! let embeddings = embedder.forward(images, Mode::Inference);
//! assert_eq!(embeddings.dims(), [2, 128]);
//! ```

mod backbone;
mod cost;
mod embedder;
mod import;
mod init;
mod layer;
mod pooling;
mod weights;

pub use backbone::{
    Backbone, BackboneKind, BnInception, Conv4, ConvNeXt, GoogLeNet, MobileNetV3, ResNet,
    VisionTransformer,
};
pub use cost::NetworkCost;
pub use embedder::{Embedder, EmbedderConfig};
pub use import::{ImportReport, Misfit, read_weights};
pub use layer::{BatchNorm2d, Conv2d, LayerNorm, Linear, Mode, l2_normalize};
pub use pooling::Pooling;
pub use weights::{
    Dtype, NamedTensor, RawTensor, StateDict, WeightsError, from_safetensors, serialize,
    to_safetensors,
};
