//! The operations of `crossbatch` that are worth fusing, as extensions of Burn.
//!
//! | function | what it does |
//! |---|---|
//! | [`conv2d`] | convolution, with gradients that skip what needs none |
//! | [`batch_norm_train`], [`batch_norm_inference`] | batch normalisation and ReLU in one |
//! | [`conv2d_norm_inference`] | convolution and normalisation in one, for inference |
//! | [`max_pool2d`], [`average_pool2d`], [`global_average_pool`], [`adaptive_average_pool2d`] | pooling; a maximum remembers a byte an output |
//! | [`layer_norm`], [`gelu`], [`linear`], [`attention`] | what a vision transformer is made of |
//! | [`l2_normalize`] | rows of length one |
//! | [`pair_rows`] | what each anchor's pairs come to in a pair loss, without a matrix of all pairs |
//!
//! Each function takes and gives ordinary tensors, with or without autodiff. Each operation has a
//! folder: `reference` says it in ordinary Burn operations, and is what runs for types or devices
//! without a kernel; `flex` is the CPU kernel, glue to `crossbatch-math`; `backward` is the autodiff
//! step. Behind a function stands a trait ([`Conv2dOps`], …) that a further backend may implement.
//!
//! # On a GPU
//!
//! Features `wgpu`, `vulkan`, `metal`, `cuda` and `rocm` bring devices; [`gpu`] finds one. There [`pair_rows`] has kernels of
//! its own (`cube`), and the other operations are their reference bodies, whose convolutions and sums are Burn's GPU
//! kernels. What of [`pair_rows`] has no GPU kernel runs as its reference body and is told once in the log (crate `log`).
//! All of it is tested on Mesa's software Vulkan through feature `wgpu`; no card has been measured yet.
//!
//! CPU results are the same to the bit for any number of threads.

mod attention;
mod batch_norm;
mod conv2d;
mod conv_norm;
#[cfg(feature = "gpu")]
mod cube;
mod device;
mod fallback;
mod flex;
mod gelu;
mod layer_norm;
mod linear;
mod normalize;
mod optimizer;
mod pair_rows;
mod pool;

pub use attention::{AttentionOps, attention};
pub use batch_norm::{
    BatchNormOps, BatchNormOptions, BatchNormOutput, batch_norm_inference, batch_norm_train,
};
pub use conv_norm::{ConvNormOps, ConvNormOptions, Normalisation, conv2d_norm_inference};
pub use conv2d::{Conv2dOps, ConvOptions, conv2d};
pub use device::gpu;
pub use gelu::{GeluOps, gelu};
pub use layer_norm::{LayerNormOps, layer_norm, layer_norm_channels};
pub use linear::linear;
pub use normalize::{NormalizeOps, l2_normalize};
pub use optimizer::{AdamStep, OptimizerOps, SgdStep, adam_step, sgd_momentum_step, sgd_step};
pub use pair_rows::{
    Anchors, PairRows, PairRowsOps, PairRowsOptions, References, Screen, pair_rows,
    pair_rows_reference, program,
};
pub use pool::{
    AveragePoolOps, AverageWindows, PoolOps, PoolOptions, adaptive_average_pool2d, average_pool2d,
    global_average_pool, global_max_pool, max_pool2d,
};
