//! Rows of small whole numbers that stand for rows of f32: a quarter of the bytes, and products several times as fast.
//!
//! A row `x` is kept as codes `c` from −127 to 127 and one scale `s`, so that `s · c` is `x` but for a rest `r`. Nothing is
//! lost by it, because the length of each rest is known: the product of two rows differs from that of their codes by no
//! more than [`Block::error`] says (Cauchy–Schwarz). Where a comparison is clear by more than that, the codes have
//! decided it; where it is not, the f32 rows decide. So codes are a screen in front of exact arithmetic, never instead
//! of it.
//!
//! Work: a multiply-add of 64 codes takes as long as one of 16 f32 numbers where the processor multiplies bytes
//! (AVX-512 VNNI); elsewhere codes gain nothing, and [`pays`] says no.

#[cfg(target_arch = "x86_64")]
mod x86;

use crate::lanes::{Level, for_level};

/// Most numbers in a row: sums of products of codes then fit 31 bits.
pub const MOST: usize = 1 << 16;

/// Lanes of a [`Block`].
pub const LANES: usize = 64;

/// Whether products of codes are faster than products of f32 on this processor.
#[must_use]
pub fn pays() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512vnni")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Rows of codes, each with its scale and with what bounds the error of its products.
///
/// # Example
///
/// ```
/// use crossbatch_math::quantised::{Block, Quantised};
///
/// let mut rows = Quantised::new(3, 2);
/// rows.set(0, &[0.6, 0.8, 0.0]);
/// rows.set(1, &[0.0, 0.6, 0.8]);
/// let query = [0.8, 0.6, 0.0];
/// let block = Block::new(&query, 3);
/// let mut products = vec![0; 2 * block.width()];
/// block.products(&rows, 0, 2, &mut products);
/// for (row, exact) in [0.96, 0.36].into_iter().enumerate() {
///     let estimate = products[row * block.width()] as f32 * block.scale(0) * rows.scale(row);
///     assert!((estimate - exact).abs() <= block.error(0, rows.norm(row), rows.rest(row)));
/// }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    dim: usize,
    /// Codes of a row, with zeros up to a multiple of 4.
    stride: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
    /// Sum of a row's codes.
    sums: Vec<i32>,
    norms: Vec<f32>,
    rests: Vec<f32>,
}

impl Quantised {
    /// `rows` rows of `dim` zeros.
    ///
    /// # Panics
    ///
    /// If `dim` is 0 or larger than [`MOST`].
    #[must_use]
    pub fn new(dim: usize, rows: usize) -> Self {
        assert!((1..=MOST).contains(&dim), "rows of 1 to {MOST} numbers have codes, not of {dim}");
        let stride = dim.next_multiple_of(4);
        Self {
            dim,
            stride,
            codes: vec![0; rows * stride],
            scales: vec![0.0; rows],
            sums: vec![0; rows],
            norms: vec![0.0; rows],
            rests: vec![0.0; rows],
        }
    }

    /// The codes of `values`, rows of `dim` numbers, computed over rayon's current pool.
    ///
    /// # Panics
    ///
    /// As [`Quantised::new`], or if `values` are not whole rows.
    #[must_use]
    pub fn from_rows(values: &[f32], dim: usize) -> Self {
        use rayon::prelude::*;
        assert!(values.len().is_multiple_of(dim), "{} values in rows of {dim}", values.len());
        let mut rows = Self::new(dim, values.len() / dim);
        let stride = rows.stride;
        let marks: Vec<Mark> = rows
            .codes
            .par_chunks_exact_mut(stride)
            .zip(values.par_chunks_exact(dim))
            .with_min_len(64)
            .map(|(codes, row)| encode(row, codes))
            .collect();
        for (row, mark) in marks.into_iter().enumerate() {
            rows.mark(row, mark);
        }
        rows
    }

    /// Replaces a row.
    ///
    /// # Panics
    ///
    /// If there is no such row, or `values` are not `dim` numbers.
    pub fn set(&mut self, row: usize, values: &[f32]) {
        assert_eq!(values.len(), self.dim, "a row has {} numbers", self.dim);
        let mark = encode(values, &mut self.codes[row * self.stride..][..self.stride]);
        self.mark(row, mark);
    }

    fn mark(&mut self, row: usize, mark: Mark) {
        self.scales[row] = mark.scale;
        self.sums[row] = mark.sum;
        self.norms[row] = mark.norm;
        self.rests[row] = mark.rest;
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.scales.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.scales.is_empty()
    }

    /// Numbers in a row.
    #[must_use]
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Bytes that the rows take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Self::bytes_of(self.len(), self.dim)
    }

    /// Bytes that so many rows take.
    #[must_use]
    pub fn bytes_of(rows: usize, dim: usize) -> usize {
        rows * (dim.next_multiple_of(4) + 16)
    }

    /// What one unit of a row's codes stands for; 0 for a row of zeros.
    #[must_use]
    pub fn scale(&self, row: usize) -> f32 {
        self.scales[row]
    }

    /// Scales of all rows.
    #[must_use]
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }

    /// At least the length of `scale · codes`.
    #[must_use]
    pub fn norm(&self, row: usize) -> f32 {
        self.norms[row]
    }

    /// At least the length of what the codes leave out; infinite if the row has a number that is none.
    #[must_use]
    pub fn rest(&self, row: usize) -> f32 {
        self.rests[row]
    }

    /// Largest [`norm`](Self::norm) and largest [`rest`](Self::rest) of `count` rows from `first` on.
    #[must_use]
    pub fn largest(&self, first: usize, count: usize) -> (f32, f32) {
        let largest =
            |of: &[f32]| of[first..first + count].iter().fold(0.0f32, |most, &x| most.max(x));
        (largest(&self.norms), largest(&self.rests))
    }
}

/// What is known of a row besides its codes.
#[derive(Clone, Copy)]
struct Mark {
    scale: f32,
    sum: i32,
    norm: f32,
    rest: f32,
}

/// Rounding of the bounds themselves, upwards.
fn up(length: f64) -> f32 {
    (length * (1.0 + 1e-6)) as f32 + f32::MIN_POSITIVE
}

/// Writes a row's codes; those behind its end stay.
fn encode(values: &[f32], codes: &mut [i8]) -> Mark {
    let mut mark = Mark { scale: 0.0, sum: 0, norm: 0.0, rest: 0.0 };
    let into = &mut mark;
    for_level!(Level::detect(), write_codes(values: &[f32], codes: &mut [i8], into: &mut Mark));
    mark
}

#[inline(always)]
fn write_codes(values: &[f32], codes: &mut [i8], mark: &mut Mark) {
    *mark = codes_of(values, codes);
}

#[inline(always)]
fn codes_of(values: &[f32], codes: &mut [i8]) -> Mark {
    let mut most = [0.0f32; 16];
    let (chunks, tail) = values.as_chunks::<16>();
    for chunk in chunks {
        for (most, value) in most.iter_mut().zip(chunk) {
            *most = most.max(value.abs());
        }
    }
    let most = tail.iter().chain(&most).fold(0.0f32, |most, value| most.max(value.abs()));
    // `max` passes over NaN: a product of all with zero does not.
    let strange = values.iter().fold(0.0f32, |sum, value| sum + value * 0.0) != 0.0;
    let scale = most / 127.0;
    let inverse = 1.0 / scale;
    if strange || !most.is_finite() {
        codes.fill(0);
        return Mark { scale: 0.0, sum: 0, norm: 0.0, rest: f32::INFINITY };
    }
    if !inverse.is_finite() {
        // Zeros, or so close to them that no scale is left: all of it is rest.
        codes.fill(0);
        let square: f64 = values.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
        return Mark { scale: 0.0, sum: 0, norm: 0.0, rest: up(square.sqrt()) };
    }
    let mut sum = 0;
    let (mut norm, mut rest) = ([0.0f64; 8], [0.0f64; 8]);
    let one = |value: f32, code: &mut i8, norm: &mut f64, rest: &mut f64| {
        let rounded = (value * inverse).round_ties_even().clamp(-127.0, 127.0);
        *code = rounded as i8;
        let stands_for = f64::from(scale) * f64::from(rounded);
        let left = f64::from(value) - stands_for;
        *norm += stands_for * stands_for;
        *rest += left * left;
    };
    let (chunks, tail) = values.as_chunks::<8>();
    let (into, last) = codes.split_at_mut(chunks.len() * 8);
    for (chunk, into) in chunks.iter().zip(into.as_chunks_mut::<8>().0) {
        for lane in 0..8 {
            one(chunk[lane], &mut into[lane], &mut norm[lane], &mut rest[lane]);
        }
    }
    for (lane, value) in tail.iter().enumerate() {
        one(*value, &mut last[lane], &mut norm[lane], &mut rest[lane]);
    }
    for code in &codes[..values.len()] {
        sum += i32::from(*code);
    }
    let length = |squares: [f64; 8]| up(squares.iter().sum::<f64>().sqrt());
    Mark { scale, sum, norm: length(norm), rest: length(rest) }
}

/// Up to 64 rows that stand side by side in the lanes of vectors, to be multiplied with many others.
#[derive(Clone, Debug)]
pub struct Block {
    dim: usize,
    rows: usize,
    /// Whole vectors of 16 lanes that the rows take.
    vectors: usize,
    /// Codes plus 128: four of a row after the other, rows beside each other, vectors filled up with zeros.
    packed: Vec<u8>,
    marks: Vec<Mark>,
    lengths: Vec<f32>,
}

impl std::fmt::Debug for Mark {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "scale {}, rest {}", self.scale, self.rest)
    }
}

impl Block {
    /// `values` as rows of `dim` numbers.
    ///
    /// # Panics
    ///
    /// If they are not 1 to [`LANES`] whole rows, or `dim` is 0 or larger than [`MOST`].
    #[must_use]
    pub fn new(values: &[f32], dim: usize) -> Self {
        assert!((1..=MOST).contains(&dim), "rows of 1 to {MOST} numbers have codes, not of {dim}");
        assert!(values.len().is_multiple_of(dim), "{} values in rows of {dim}", values.len());
        let rows = values.len() / dim;
        assert!((1..=LANES).contains(&rows), "a block has 1 to {LANES} rows, not {rows}");
        let stride = dim.next_multiple_of(4);
        let vectors = rows.div_ceil(16);
        let width = vectors * 16;
        let mut packed = vec![0u8; stride * width];
        let mut codes = vec![0i8; stride];
        let mut marks = Vec::with_capacity(rows);
        for (lane, row) in values.chunks_exact(dim).enumerate() {
            marks.push(encode(row, &mut codes));
            for (four, codes) in codes.chunks_exact(4).enumerate() {
                for (at, code) in codes.iter().enumerate() {
                    packed[(four * width + lane) * 4 + at] = (i16::from(*code) + 128) as u8;
                }
            }
        }
        let length =
            |row: &[f32]| up(row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>().sqrt());
        let lengths = values.chunks_exact(dim).map(length).collect();
        Self { dim, rows, vectors, packed, marks, lengths }
    }

    /// Number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Lanes that [`products`](Self::products) writes for each row: 16, 32, 48 or 64.
    #[must_use]
    pub fn width(&self) -> usize {
        self.vectors * 16
    }

    /// What one unit of the codes of `lane` stands for.
    #[must_use]
    pub fn scale(&self, lane: usize) -> f32 {
        self.marks[lane].scale
    }

    /// Whether every number is finite.
    #[must_use]
    pub fn is_finite(&self) -> bool {
        self.marks.iter().all(|mark| mark.rest.is_finite())
    }

    /// At least the length of the longest row.
    #[must_use]
    pub fn largest_length(&self) -> f32 {
        self.lengths.iter().fold(0.0, |most, &length| most.max(length))
    }

    /// How far the product of `lane` with a row of codes can be from that of the f32 rows, the latter computed in f32
    /// in any order; `norm` and `rest` are (at least) those of the row.
    ///
    /// With `a = â + r` and `b = b̂ + q`: `|a·b − â·b̂| = |r·b̂ + a·q| ≤ |r| |b̂| + |a| |q|`. Rounding adds less than
    /// `(dim + 8) 2⁻²³ |a| |b|`.
    #[must_use]
    pub fn error(&self, lane: usize, norm: f32, rest: f32) -> f32 {
        let (mark, length) = (self.marks[lane], self.lengths[lane]);
        mark.rest * norm + length * rest + self.rounding(lane, norm + rest)
    }

    /// How far the product of `lane` with an f32 row of at most this `length` can be off when it is computed in f32, in
    /// whatever order.
    #[must_use]
    pub fn rounding(&self, lane: usize, length: f32) -> f32 {
        (self.dim + 8) as f32 * f32::EPSILON * self.lengths[lane] * length
    }

    /// `out[j * width + lane]` = product of the codes of row `first + j` of `rows` with those of `lane`, for `count` rows.
    /// Lanes without a row hold numbers without a meaning.
    ///
    /// # Panics
    ///
    /// If the rows have another length, there are fewer of them, or `out` is not `count * width` long.
    pub fn products(&self, rows: &Quantised, first: usize, count: usize, out: &mut [i32]) {
        assert_eq!(self.dim, rows.dim, "rows of {} numbers and of {}", self.dim, rows.dim);
        assert!(first + count <= rows.len(), "rows {first}..{} of {}", first + count, rows.len());
        assert_eq!(out.len(), count * self.width(), "products of {count} rows");
        let codes = &rows.codes[first * rows.stride..][..count * rows.stride];
        let sums = &rows.sums[first..][..count];
        #[cfg(target_arch = "x86_64")]
        if pays() {
            // SAFETY: the processor has the instructions. `packed` holds `stride` times `width` bytes, `codes` and
            // `sums` hold `count` rows, `out` `count` times `width` numbers, all checked above or by construction.
            #[allow(unsafe_code)]
            unsafe {
                x86::products(&self.packed, self.vectors, codes, rows.stride, sums, out);
            }
            return;
        }
        self.plain_products(codes, rows.stride, sums, out);
    }

    /// The definition of [`products`](Self::products).
    fn plain_products(&self, codes: &[i8], stride: usize, sums: &[i32], out: &mut [i32]) {
        let width = self.width();
        let rows = codes.chunks_exact(stride).zip(sums).zip(out.chunks_exact_mut(width));
        for ((codes, sum), out) in rows {
            // The lanes' codes are 128 too large each.
            out.fill(-128 * sum);
            for (four, codes) in codes.chunks_exact(4).enumerate() {
                for (lane, out) in out.iter_mut().enumerate() {
                    let packed = &self.packed[(four * width + lane) * 4..][..4];
                    for (a, b) in packed.iter().zip(codes) {
                        *out += i32::from(*a) * i32::from(*b);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::product::dot_f64;

    fn noise(count: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(747_796_405) | 1;
        let mut next = || {
            state = state.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            f64::from(state >> 8) / f64::from(1u32 << 24) - 0.5
        };
        (0..count).map(|_| (next() * 3.0) as f32).collect()
    }

    #[test]
    fn codes_by_hand() {
        let mut rows = Quantised::new(3, 2);
        rows.set(1, &[-2.54, 1.27, 0.012]);
        assert_eq!(rows.codes[4..], [-127, 64, 1, 0]); // 63.5 to the even one, 0.6 to 1
        assert!((rows.scale(1) - 0.02).abs() < 1e-8);
        assert_eq!(rows.sums, [0, -62]);
        let rest = (0.01f64 * 0.01 + 0.008 * 0.008).sqrt();
        assert!((f64::from(rows.rest(1)) - rest).abs() < 1e-6);
        assert_eq!(rows.scale(0), 0.0);
    }

    #[test]
    fn products_are_those_of_the_codes_at_any_size() {
        for (lanes, count, dim) in
            [(1, 1, 1), (16, 5, 4), (17, 6, 5), (33, 13, 31), (64, 96, 128), (50, 7, 130)]
        {
            let anchors = noise(lanes * dim, 3);
            let values = noise((count + 2) * dim, 5);
            let rows = Quantised::from_rows(&values, dim);
            let lane_codes = Quantised::from_rows(&anchors, dim);
            let block = Block::new(&anchors, dim);
            let width = block.width();
            let (mut fast, mut plain) = (vec![7; count * width], vec![9; count * width]);
            block.products(&rows, 2, count, &mut fast);
            let codes = &rows.codes[2 * rows.stride..];
            block.plain_products(codes, rows.stride, &rows.sums[2..], &mut plain);
            for j in 0..count {
                for lane in 0..lanes {
                    let a = &lane_codes.codes[lane * rows.stride..][..dim];
                    let b = &rows.codes[(j + 2) * rows.stride..][..dim];
                    let expected: i32 =
                        a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum();
                    assert_eq!(fast[j * width + lane], expected, "{lanes} {count} {dim}");
                    assert_eq!(plain[j * width + lane], expected, "{lanes} {count} {dim}");
                }
            }
        }
    }

    #[test]
    fn the_error_bound_holds_and_is_not_loose() {
        for dim in [1, 3, 64, 128, 777] {
            let anchors = noise(64 * dim, 11);
            let values = noise(200 * dim, 12);
            let rows = Quantised::from_rows(&values, dim);
            let block = Block::new(&anchors, dim);
            let mut products = vec![0; 200 * 64];
            block.products(&rows, 0, 200, &mut products);
            let (mut worst, mut bound) = (0.0f64, 0.0f64);
            for row in 0..200 {
                for lane in 0..64 {
                    let exact = dot_f64(&anchors[lane * dim..][..dim], &values[row * dim..][..dim]);
                    let scale = f64::from(block.scale(lane)) * f64::from(rows.scale(row));
                    let off = (exact - scale * f64::from(products[row * 64 + lane])).abs();
                    let error = f64::from(block.error(lane, rows.norm(row), rows.rest(row)));
                    assert!(off <= error, "{off} is more than {error}");
                    worst = worst.max(off);
                    bound = bound.max(error);
                }
            }
            assert!(bound < 0.02 * dim as f64, "{bound}");
            assert!(dim == 1 || worst > 0.05 * bound, "{worst} of {bound}");
        }
    }

    #[test]
    fn zeros_tiny_huge_and_numbers_that_are_none() {
        let values = [0.0, 0.0, 1e-42, 0.0, 3e38, -3e38, f32::NAN, 1.0, f32::INFINITY, 0.0];
        let rows = Quantised::from_rows(&values, 2);
        assert_eq!((rows.scale(0), rows.scale(1)), (0.0, 0.0));
        assert!(rows.rest(0) < 1e-30 && rows.rest(1) >= 1e-42);
        assert!(rows.rest(2).is_finite() || rows.norm(2).is_infinite());
        assert_eq!((rows.rest(3), rows.rest(4)), (f32::INFINITY, f32::INFINITY));
        assert_eq!(rows.largest(0, 4).1, f32::INFINITY);
        assert!(!Block::new(&values[6..8], 2).is_finite());
        assert!(Block::new(&values[..2], 2).is_finite());
    }

    #[test]
    #[should_panic(expected = "a block has 1 to 64 rows, not 65")]
    fn too_many_lanes_are_named() {
        let _ = Block::new(&[0.0; 65], 1);
    }
}
