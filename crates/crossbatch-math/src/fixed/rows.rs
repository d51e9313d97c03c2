//! Rows in fixed point, laid out for the microkernel.

use std::borrow::Cow;

use rayon::prelude::*;

use super::PANEL;
use super::lanes::Level;
use crate::lanes::for_level;

/// How many bits a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// Integers of 8 bits: the fastest where the CPU has VNNI, and the coarsest.
    I8,
    /// Integers of 16 bits.
    I16,
    /// f32 values as they are; only their products are rounded to fixed point.
    F32,
}

impl Width {
    /// Values in a word of 32 bits.
    pub fn values_a_word(self) -> usize {
        match self {
            Self::I8 => 4,
            Self::I16 => 2,
            Self::F32 => 1,
        }
    }

    /// Vector instructions for one product of rows of `dim` values on this machine, roughly.
    pub fn cost(self, dim: usize) -> f64 {
        let a_word = match (Level::detect(), self) {
            #[cfg(target_arch = "x86_64")]
            (Level::Avx512, _) => 1.0,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, Self::I8) => 6.0,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, Self::I16) => 1.5,
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2, Self::F32) => 1.0,
            (Level::Portable, Self::I8) => 20.0,
            (Level::Portable, Self::I16 | Self::F32) => 3.0,
        };
        a_word * dim.div_ceil(self.values_a_word()) as f64 / PANEL as f64
    }

    /// Bytes that `rows` rows of `dim` values take.
    pub fn bytes(self, rows: usize, dim: usize) -> usize {
        rows.next_multiple_of(PANEL) * (4 * dim.div_ceil(self.values_a_word()) + 4)
    }

    /// The largest scale for rows whose values reach `peak` and whose lengths reach `norm`, such that products of any
    /// two of them, and one and a half times such a product, fit into 32 bits.
    pub fn scale(self, peak: f64, norm: f64) -> f64 {
        let scale = match self {
            Self::I8 => 127.0 / peak,
            Self::I16 => 32_700.0 / norm,
            Self::F32 => 32_768.0 / norm,
        };
        if scale.is_finite() { scale } else { 1.0 }
    }
}

/// Rows `[rows, dim]` times a scale, rounded, in panels of 16; see the [module](super).
#[derive(Debug)]
pub struct FixedRows {
    pub(super) width: Width,
    pub(super) words: usize,
    /// `[panel, word, 16]`; rows beyond the last are zeros.
    pub(super) data: Vec<i32>,
    /// What the sum of products of row `j` as the right side starts from, in whole panels.
    pub(super) start: Vec<i32>,
    rows: usize,
    dim: usize,
    scale: f64,
    /// The largest distance of a row times `scale` from what is stored.
    residual: f64,
}

impl FixedRows {
    /// Takes `rows` rows of `dim` values, `row(i)` each, times `scale`; works on rayon's current pool.
    ///
    /// `scale` must not exceed [`Width::scale`].
    ///
    /// # Panics
    ///
    /// If a row has not `dim` values, or if `dim` is zero or above 2^15 (2^20 for widths other than I8).
    pub fn new<'a>(
        width: Width,
        rows: usize,
        dim: usize,
        scale: f64,
        row: &(dyn Fn(usize) -> Cow<'a, [f32]> + Sync),
    ) -> Self {
        let most = if width == Width::I8 { 1 << 15 } else { 1 << 20 };
        assert!((1..=most).contains(&dim), "{dim} values a row, must be in 1..={most}");
        let words = dim.div_ceil(width.values_a_word());
        let panels = rows.div_ceil(PANEL);
        let mut data = vec![0; panels * words * PANEL];
        let mut start = vec![0; panels * PANEL];
        let level = crate::lanes::Level::detect();
        let residual = data
            .par_chunks_mut(words * PANEL)
            .zip(start.par_chunks_mut(PANEL))
            .enumerate()
            .map_init(
                || vec![0i32; dim],
                |rounded, (panel, (data, start))| {
                    let mut worst = 0.0f64;
                    let first = panel * PANEL;
                    for (lane, index) in (first..rows.min(first + PANEL)).enumerate() {
                        let values = row(index);
                        assert!(values.len() == dim, "row {index} has {} values", values.len());
                        if width == Width::F32 {
                            for (word, &value) in values.iter().enumerate() {
                                data[word * PANEL + lane] = value.to_bits().cast_signed();
                            }
                            continue;
                        }
                        let mut squares = 0.0;
                        let (squares_out, values) = (&mut squares, &*values);
                        for_level!(level, round_row(
                            values: &[f32],
                            scale: f64,
                            rounded: &mut [i32],
                            squares_out: &mut f64,
                        ));
                        worst = worst.max(squares);
                        start[lane] = pack_row(width, rounded, data, lane);
                    }
                    worst
                },
            )
            .reduce(|| 0.0, f64::max)
            .sqrt();
        // With room for the rounding of the sum.
        let residual = residual * (1.0 + 1e-9);
        Self { width, words, data, start, rows, dim, scale, residual }
    }

    /// How many bits a value has.
    pub fn width(&self) -> Width {
        self.width
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// What products with these rows are multiplied by, this side's part.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// A bound on `|x - scale_a · scale_b · <a, b>|`, for a row `a` of `self` of length `norm_a` and any row `b` of
    /// `other` of at most length `norm_b`.
    ///
    /// By Cauchy and Schwarz, with what rounding took from either row. For f32 the sum is off by `dim · 2^-24` times
    /// the lengths at most (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1); a factor of 1.25 and
    /// four more terms cover the denominator and the change to fixed point.
    pub fn error(&self, norm_a: f64, other: &Self, norm_b: f64) -> f64 {
        let (a, b) = (self.scale * norm_a, other.scale * norm_b);
        let rounded = self.residual * (b + other.residual) + (a + self.residual) * other.residual;
        let summed = match self.width {
            Width::F32 => {
                1.25 * (self.dim + 4) as f64 * f64::from(f32::EPSILON) / 2.0 * a * b + 1.0
            }
            _ => 0.0,
        };
        rounded + self.residual * other.residual + summed
    }
}

/// Rounds `values · scale` to whole numbers; `squares` becomes the squared distance that this moved them.
#[inline(always)]
fn round_row(values: &[f32], scale: f64, rounded: &mut [i32], squares: &mut f64) {
    const LANES: usize = 8;
    let round = |value: f32| {
        let exact = f64::from(value) * scale;
        let whole = exact.round_ties_even();
        (whole as i32, (exact - whole) * (exact - whole))
    };
    let mut sums = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    let (to_chunks, to_rest) = rounded.as_chunks_mut::<LANES>();
    for (values, to) in chunks.iter().zip(to_chunks) {
        for lane in 0..LANES {
            let (whole, square) = round(values[lane]);
            to[lane] = whole;
            sums[lane] += square;
        }
    }
    for (&value, to) in rest.iter().zip(to_rest) {
        let (whole, square) = round(value);
        *to = whole;
        sums[0] += square;
    }
    *squares = sums.iter().sum();
}

/// Writes a row's words into its lane of a panel; returns what its sums start from as the right side.
fn pack_row(width: Width, rounded: &[i32], panel: &mut [i32], lane: usize) -> i32 {
    let places = panel.iter_mut().skip(lane).step_by(PANEL);
    if width == Width::I8 {
        for (word, values) in places.zip(rounded.chunks(4)) {
            let mut bytes = [0; 4];
            for (byte, &value) in bytes.iter_mut().zip(values) {
                *byte = (value.clamp(-127, 127) as i8).cast_unsigned();
            }
            *word = i32::from_le_bytes(bytes);
        }
        // The left side is offset by 128 into u8; this takes the offset's products out again.
        -128 * rounded.iter().sum::<i32>()
    } else {
        for (word, values) in places.zip(rounded.chunks(2)) {
            let low = values[0] & 0xffff;
            *word = low | values.get(1).copied().unwrap_or(0) << 16;
        }
        0
    }
}
