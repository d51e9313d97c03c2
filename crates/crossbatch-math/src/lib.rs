//! Slices in, slices out: the arithmetic that the other crates of `crossbatch` share.
//!
//! Nothing here knows of tensors, images or labels. Functions take flat row-major slices, assert their
//! sizes, and say whether they share their work over rayon's current pool. Results do not depend on the
//! number of threads.
//!
//! | module | what it does |
//! |---|---|
//! | [`conv`] | 2-d convolution and both gradients, images in NCHW |
//! | [`batch_norm`] | batch normalisation with residual and ReLU, training and inference |
//! | [`attention`] | softmax attention, tile by tile |
//! | [`layer_norm`], [`gelu`], [`normalize`] | what works on rows or elements alone |
//! | [`pool`] | maxima that remember where they were, and means, of windows |
//! | [`optimizer`] | steps of Adam, AdamW and gradient descent, in place |
//! | [`quantised`] | rows of bytes that stand for rows of f32: fast products with a known error |
//! | [`product`] | products of row-major matrices, and the exact-order dot product that settles ties |
//! | [`fixed`] | products of rows in 32-bit fixed point, and counts of those above thresholds |
//! | [`gram`] | Gram matrices in f64 |
//! | [`counting`] | an allocator that says how much memory some work takes |

pub mod attention;
pub mod batch_norm;
pub mod conv;
pub mod counting;
pub mod fixed;
pub mod gelu;
pub mod gram;
mod lanes;
pub mod layer_norm;
pub mod normalize;
pub mod optimizer;
pub mod pair_rows;
pub mod pool;
pub mod product;
pub mod quantised;
