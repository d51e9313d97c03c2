//! `crossbatch bench memory`: how long the memory's part of a training step takes, beside plain matrix products.
//!
//! `network` times training steps and inference. Of the memory:
//! `generate` or `file` gives the inputs, `step` is the call that is timed, `measure` times it.

pub(crate) mod file;
pub(crate) mod generate;
pub(crate) mod measure;
pub(crate) mod network;
pub(crate) mod pages;
pub(crate) mod step;

use burn::tensor::TensorData;

/// Embeddings with the class of each.
pub(crate) struct Labelled {
    /// `[N, D]`, f32.
    pub(crate) embeddings: TensorData,
    /// `[N]`, dense over anchors and bank.
    pub(crate) labels: Vec<u32>,
}

/// What the memory step works on.
pub(crate) struct Inputs {
    /// `[B, D]`
    pub(crate) anchors: Labelled,
    /// `[M, D]`
    pub(crate) bank: Labelled,
}
