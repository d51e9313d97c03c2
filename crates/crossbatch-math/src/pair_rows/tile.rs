//! The inner loops: products of a tile of references with a block of anchors, and weighted sums of references.
//!
//! A block's anchors stand in the lanes: a vector holds one number of 16 (or 8) anchors, and each number of a reference
//! is multiplied into all of a block's vectors. References are so read as they are stored, once, and what follows (which
//! pairs count, and how much) is vector arithmetic over anchors too.

// Loops by index over constant bounds are what the compiler unrolls into registers.
#![allow(clippy::needless_range_loop)]

use super::problem::Bank;
use crate::lanes::{Arithmetic, Level, sum};

/// References of a tile: their rows stay in the second-level cache while they are used twice.
pub(super) const TILE: usize = 96;

/// Most vectors of a block: its masks fit 64 bits and its products the registers.
pub(super) fn block_vectors(level: Level) -> usize {
    if level.lanes() == 16 { 4 } else { 2 }
}

/// Anchors in the lanes: by block, then number of the embedding, then anchor. The last block is filled with zeros.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) values: Vec<f32>,
    /// Anchors, with those that fill the last vector.
    pub(super) lanes: usize,
    /// Lanes of a block; the last one may have fewer.
    pub(super) block: usize,
}

impl Packed {
    pub(super) fn new(anchors: &[f32], dim: usize, level: Level) -> Self {
        let batch = anchors.len() / dim;
        let lanes = batch.next_multiple_of(level.lanes());
        let block = block_vectors(level) * level.lanes();
        let mut values = vec![0.0; lanes * dim];
        for (i, row) in anchors.chunks_exact(dim).enumerate() {
            let first = i / block * block;
            let width = block.min(lanes - first);
            for (k, value) in row.iter().enumerate() {
                values[first * dim + k * width + (i - first)] = *value;
            }
        }
        Self { values, lanes, block }
    }

    /// First lane and number of lanes of each block.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.lanes).step_by(self.block).map(|first| (first, self.block.min(self.lanes - first)))
    }
}

/// Rows of a tile as f32, each padded with zeros to whole vectors.
#[derive(Debug, Default)]
pub(super) struct Widened {
    values: Vec<f32>,
    row: Vec<f32>,
}

/// Where a tile's rows lie: `stride` apart, whole vectors readable.
#[derive(Clone, Copy, Debug)]
pub(super) struct TileRows {
    pub(super) values: *const f32,
    pub(super) stride: usize,
}

impl Widened {
    /// Rows `first..first + count` of the bank: where they are, if they can be read in whole vectors there, else copied.
    pub(super) fn rows(
        &mut self,
        bank: Bank<'_>,
        dim: usize,
        first: usize,
        count: usize,
        lanes: usize,
    ) -> TileRows {
        if let Bank::F32(values) = bank
            && dim.is_multiple_of(lanes)
        {
            let values = values[first * dim..(first + count) * dim].as_ptr();
            return TileRows { values, stride: dim };
        }
        let stride = dim.next_multiple_of(lanes);
        self.values.resize(TILE * stride, 0.0);
        for row in 0..count {
            let into = &mut self.values[row * stride..][..dim];
            copy_row(bank, dim, first + row, into);
        }
        TileRows { values: self.values.as_ptr(), stride }
    }

    /// One row of the bank as f32.
    pub(super) fn row<'a>(&'a mut self, bank: Bank<'a>, dim: usize, row: usize) -> &'a [f32] {
        if let Bank::F32(values) = bank {
            return &values[row * dim..][..dim];
        }
        self.row.resize(dim, 0.0);
        copy_row(bank, dim, row, &mut self.row);
        &self.row
    }
}

fn copy_row(bank: Bank<'_>, dim: usize, row: usize, into: &mut [f32]) {
    use half::slice::HalfFloatSliceExt;
    match bank {
        Bank::F32(values) => into.copy_from_slice(&values[row * dim..][..dim]),
        Bank::F16(values) => values[row * dim..][..dim].convert_to_f32_slice(into),
        Bank::Bf16(values) => values[row * dim..][..dim].convert_to_f32_slice(into),
    }
}

/// `out[j * width + i]` = product of row `j` with anchor `i` of a block of `width` anchors.
///
/// # Safety
///
/// As [`Arithmetic`]; `anchors` must be valid for `dim * width` elements, `rows` for `count` rows of `dim`, `out` for
/// `count * width`. `width` must be 1 to [`block_vectors`] vectors.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn products<L: Arithmetic>(
    anchors: *const f32,
    width: usize,
    rows: TileRows,
    count: usize,
    dim: usize,
    out: *mut f32,
) {
    // As many rows at a time as the registers hold beside a vector of each anchor and the row's number.
    // SAFETY: the caller's promise.
    unsafe {
        match (L::LANES, width / L::LANES) {
            (16, 4) => walk::<L, 4, 6>(anchors, rows, count, dim, out),
            (16, 3) => walk::<L, 3, 8>(anchors, rows, count, dim, out),
            (16, 2) => walk::<L, 2, 12>(anchors, rows, count, dim, out),
            (16, _) => walk::<L, 1, 16>(anchors, rows, count, dim, out),
            (_, 2) => walk::<L, 2, 6>(anchors, rows, count, dim, out),
            (_, _) => walk::<L, 1, 8>(anchors, rows, count, dim, out),
        }
    }
}

#[inline(always)]
#[allow(unsafe_code)]
unsafe fn walk<L: Arithmetic, const V: usize, const R: usize>(
    anchors: *const f32,
    rows: TileRows,
    count: usize,
    dim: usize,
    out: *mut f32,
) {
    let mut j = 0;
    // SAFETY: rows j..j + R (or j alone) are below `count`.
    unsafe {
        while j + R <= count {
            let at = out.add(j * V * L::LANES);
            few::<L, V, R>(anchors, rows.values.add(j * rows.stride), rows.stride, dim, at);
            j += R;
        }
        while j < count {
            let at = out.add(j * V * L::LANES);
            few::<L, V, 1>(anchors, rows.values.add(j * rows.stride), rows.stride, dim, at);
            j += 1;
        }
    }
}

#[inline(always)]
#[allow(unsafe_code)]
unsafe fn few<L: Arithmetic, const V: usize, const R: usize>(
    mut anchors: *const f32,
    mut row: *const f32,
    stride: usize,
    dim: usize,
    out: *mut f32,
) {
    // SAFETY: `dim` steps of V vectors, R rows of `dim` numbers, and R times V vectors of output, as promised.
    unsafe {
        let mut sums = [[L::splat(0.0); V]; R];
        for _ in 0..dim {
            let mut lanes = [L::splat(0.0); V];
            for v in 0..V {
                lanes[v] = L::load(anchors.add(v * L::LANES));
            }
            for r in 0..R {
                let number = L::splat(*row.add(r * stride));
                for v in 0..V {
                    sums[r][v] = sums[r][v].add_product(lanes[v], number);
                }
            }
            anchors = anchors.add(V * L::LANES);
            row = row.add(1);
        }
        for r in 0..R {
            for v in 0..V {
                sums[r][v].store(out.add((r * V + v) * L::LANES));
            }
        }
    }
}

/// Adds `weights[j * width + i] * row j` to sum `i`, for every `j` in `active` and every `i` below `width`.
///
/// # Safety
///
/// As [`Arithmetic`]; `weights` must be valid for `width` elements at each row, `rows` for whole vectors at each active
/// row, `sums` for `width` rows of `rows.stride`. `width` and `rows.stride` are whole vectors.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn gather<L: Arithmetic>(
    weights: *const f32,
    width: usize,
    active: &[u16],
    rows: TileRows,
    sums: *mut f32,
) {
    let vectors = rows.stride / L::LANES;
    for i in (0..width).step_by(4) {
        let mut v = 0;
        // SAFETY: 4 anchors from `i` (width is a multiple of 4), vectors `v..` below `vectors`.
        unsafe {
            let weights = weights.add(i);
            while v + 4 <= vectors && L::LANES == 16 {
                gather_few::<L, 4>(
                    weights,
                    width,
                    active,
                    rows,
                    v * L::LANES,
                    sums.add(i * rows.stride),
                );
                v += 4;
            }
            while v + 2 <= vectors {
                gather_few::<L, 2>(
                    weights,
                    width,
                    active,
                    rows,
                    v * L::LANES,
                    sums.add(i * rows.stride),
                );
                v += 2;
            }
            while v < vectors {
                gather_few::<L, 1>(
                    weights,
                    width,
                    active,
                    rows,
                    v * L::LANES,
                    sums.add(i * rows.stride),
                );
                v += 1;
            }
        }
    }
}

#[inline(always)]
#[allow(unsafe_code)]
unsafe fn gather_few<L: Arithmetic, const V: usize>(
    weights: *const f32,
    width: usize,
    active: &[u16],
    rows: TileRows,
    first: usize,
    sums: *mut f32,
) {
    // SAFETY: the caller's promise, for the vectors from `first` on of 4 anchors.
    unsafe {
        let mut held = [[L::splat(0.0); V]; 4];
        for i in 0..4 {
            for v in 0..V {
                held[i][v] = L::load(sums.add(i * rows.stride + first + v * L::LANES));
            }
        }
        for &j in active {
            let row = rows.values.add(usize::from(j) * rows.stride + first);
            let weights = weights.add(usize::from(j) * width);
            let mut lanes = [L::splat(0.0); V];
            for v in 0..V {
                lanes[v] = L::load(row.add(v * L::LANES));
            }
            for i in 0..4 {
                let weight = L::splat(*weights.add(i));
                for v in 0..V {
                    held[i][v] = held[i][v].add_product(lanes[v], weight);
                }
            }
        }
        for i in 0..4 {
            for v in 0..V {
                held[i][v].store(sums.add(i * rows.stride + first + v * L::LANES));
            }
        }
    }
}

/// Adds `weight * row` to `sum`, both of `len` elements in whole vectors.
///
/// # Safety
///
/// As [`Arithmetic`]; both must be valid for `len` elements.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) unsafe fn add_scaled<L: Arithmetic>(
    sum: *mut f32,
    row: *const f32,
    len: usize,
    weight: f32,
) {
    // SAFETY: `len` is whole vectors, as promised.
    unsafe {
        let weight = L::splat(weight);
        for at in (0..len).step_by(L::LANES) {
            L::load(sum.add(at)).add_product(L::load(row.add(at)), weight).store(sum.add(at));
        }
    }
}

/// The product of two rows, in lanes and then the rest.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn dot<L: Arithmetic>(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let whole = a.len() / L::LANES * L::LANES;
    let fours = whole / (4 * L::LANES) * (4 * L::LANES);
    // SAFETY: reads below `whole` in steps of a vector; the level was detected by whoever chose L.
    let mut result = unsafe {
        let at = |from: &[f32], at: usize| L::load(from.as_ptr().add(at));
        // Four sums, so that none waits for the one before.
        let mut sums = [L::splat(0.0); 4];
        for start in (0..fours).step_by(4 * L::LANES) {
            for k in 0..4 {
                let place = start + k * L::LANES;
                sums[k] = sums[k].add_product(at(a, place), at(b, place));
            }
        }
        for place in (fours..whole).step_by(L::LANES) {
            sums[0] = sums[0].add_product(at(a, place), at(b, place));
        }
        sum(sums[0].add(sums[1]).add(sums[2].add(sums[3])))
    };
    for (x, y) in a[whole..].iter().zip(&b[whole..]) {
        result += x * y;
    }
    result
}
