//! Products of rows in 32-bit fixed point, and counts of those that pass thresholds: the inside of an exact evaluation.
//!
//! The rank of an item is one more than the number of items before it. To count these, most products need few bits: it
//! is enough to know that a product lies surely above or surely below a threshold. [`FixedRows`] keeps rows as 8-bit,
//! 16-bit or f32 values; the product of two rows comes out as a 32-bit integer `x` that lies within a bound of
//! `scale_a · scale_b · <a, b>` ([`FixedRows::error`]). [`Bands`] are pairs of thresholds with that bound between them,
//! and [`count`] counts the products above each band and names those inside, which the caller has to settle by
//! other means. Sums of integers have no order, so that the counts are the same for any tiles and threads.
//!
//! A word of 32 bits holds 4, 2 or 1 values of a row. Rows lie in panels of 16: the first word of each, then the second
//! of each, and so on. One panel format serves both sides of a product: as the right side a panel's words are a vector,
//! as the left side they are broadcast one by one. The microkernel keeps 8 x 48 sums in registers (AVX-512).
//!
//! Operations for each pair: `dim / 64` vector instructions of 16 lanes with 8 bits, `dim / 32` with 16 bits, `dim / 16`
//! with f32, divided by 16 lanes; thresholds add about three instructions per 16 pairs where nothing passes.

mod bands;
mod kernel;
mod lanes;
mod rows;

pub use bands::Bands;
pub use kernel::{Operand, Scratch, Side, Unsure, count, products, scratch_bytes};
pub use rows::{FixedRows, Width};

/// Rows of a panel, and 32-bit lanes of a vector.
pub const PANEL: usize = 16;
