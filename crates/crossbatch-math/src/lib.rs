//! Slices in, slices out: the arithmetic that the other crates of `crossbatch` share.
//!
//! Nothing here knows of tensors, images or labels. Functions take flat row-major slices, assert their
//! sizes, and run on the calling thread unless their name says otherwise.
//!
//! | module | what it does |
//! |---|---|
//! | [`product`] | products of row-major matrices, and the exact-order dot product that settles ties |

pub mod batch_norm;
pub mod conv;
pub mod pool;
pub mod product;
