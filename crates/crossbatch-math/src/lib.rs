//! Slices in, slices out: the arithmetic that the other crates of `crossbatch` share.
//!
//! Nothing here knows of tensors, images or labels. Functions take flat row-major slices, assert their
//! sizes, and say whether they share their work over rayon's current pool. Results do not depend on the
//! number of threads.
//!
//! | module | what it does |
//! |---|---|
//! | [`conv`] | 2-d convolution and both gradients, images in NCHW |
//! | [`batch_norm`] | batch normalisation with ReLU, training and inference |
//! | [`pool`] | max-pooling that remembers where the maxima were |
//! | [`optimizer`] | steps of Adam, AdamW and gradient descent, in place |
//! | [`quantised`] | rows of bytes that stand for rows of f32: fast products with a known error |
//! | [`product`] | products of row-major matrices, and the exact-order dot product that settles ties |
//! | [`fixed`] | products of rows in 32-bit fixed point, and counts of those above thresholds |
//! | [`gram`] | Gram matrices in f64 |
//! | [`counting`] | an allocator that says how much memory some work takes |

pub mod batch_norm;
pub mod conv;
pub mod counting;
pub mod fixed;
pub mod gram;
mod lanes;
pub mod optimizer;
pub mod pair_rows;
pub mod pool;
pub mod product;
pub mod quantised;
