//! Products of two blocks of rows, and what thresholds make of them while they are in the cache.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Lanes, Level, Portable};
use super::{Bands, FixedRows, PANEL, Width};

/// Whose bands a product was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Those of the left row.
    Left,
    /// Those of the right row.
    Right,
}

/// A product inside at least one band.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsure {
    /// The left row.
    pub left: u32,
    /// The right row.
    pub right: u32,
    /// The product less the other side's offset, as it was compared.
    pub x: i32,
    /// Whose bands it lies in.
    pub side: Side,
}

/// Space that [`count`] reuses from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    left: Vec<i32>,
    right: Vec<i32>,
    unsure: Vec<Unsure>,
}

/// One side of a product: rows, their bands if they have any, and what is subtracted from a product before it is
/// compared with the bands of the *other* side (half the squared length, for distances).
#[derive(Clone, Copy, Debug)]
pub struct Operand<'a> {
    /// The rows.
    pub rows: &'a FixedRows,
    /// Bands for each row.
    pub bands: Option<&'a Bands>,
    /// A value for each row in whole panels; empty for zeros.
    pub offsets: &'a [i32],
}

/// Bytes of scratch that [`count`] takes for blocks of `left` and `right` rows with at most `bands` bands a row.
pub fn scratch_bytes(left: usize, right: usize, bands: usize) -> usize {
    let unsure = 2 * left.next_multiple_of(PANEL) * 48;
    let counts = (left + right + 2 * PANEL) * bands;
    // A vector grows by doubling.
    4 * counts + 2 * unsure * size_of::<Unsure>()
}

/// Compares the products of two blocks of rows with the bands of either side.
///
/// A product above a band is counted in [`Bands`]; one inside is handed to `settle`, several at a time. With
/// bands on both sides each product is computed once and compared twice. Runs on the calling thread.
///
/// # Panics
///
/// If a block does not start at a multiple of 16 or ends beyond the rows, if the sides differ in width or dimension, or if
/// bands or offsets do not cover their rows.
pub fn count(
    left: Operand<'_>,
    left_block: Range<usize>,
    right: Operand<'_>,
    right_block: Range<usize>,
    scratch: &mut Scratch,
    settle: &mut dyn FnMut(&[Unsure]),
) {
    count_at(Level::detect(), left, left_block, right, right_block, scratch, settle);
}

fn count_at(
    level: Level,
    left: Operand<'_>,
    left_block: Range<usize>,
    right: Operand<'_>,
    right_block: Range<usize>,
    scratch: &mut Scratch,
    settle: &mut dyn FnMut(&[Unsure]),
) {
    for (operand, block) in [(&left, &left_block), (&right, &right_block)] {
        check_block(operand.rows, block);
        let padded = operand.rows.len().next_multiple_of(PANEL);
        let bands = operand.bands.map_or(padded, |bands| bands.floor.len());
        assert!(bands == padded, "{bands} queries have bands, there are {padded} rows");
        let offsets = operand.offsets.len();
        assert!(offsets == 0 || offsets == padded, "{offsets} offsets for {padded} rows");
    }
    check_sides(left.rows, right.rows);
    let work = Work { left, left_block, right, right_block };
    for (operand, block, gathered) in [
        (&work.left, &work.left_block, &mut scratch.left),
        (&work.right, &work.right_block, &mut scratch.right),
    ] {
        gathered.clear();
        if let Some(bands) = operand.bands {
            let (first, end) = (block.start / PANEL, block.end.div_ceil(PANEL));
            gathered.resize((bands.offsets[end] - bands.offsets[first]) * PANEL, 0);
        }
    }
    match level {
        // SAFETY: `Level::supported` returns a level only where the CPU has its instructions; blocks and sizes are
        // checked above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Level::Avx512 => unsafe { count_avx512(&work, scratch, settle) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Level::Avx2 => unsafe { count_avx2(&work, scratch, settle) },
        // SAFETY: as above; this level needs no instructions.
        #[allow(unsafe_code)]
        Level::Portable => unsafe { count_with::<Portable, 4, 1>(&work, scratch, settle) },
    }
    for (operand, block, gathered) in [
        (&work.left, &work.left_block, &scratch.left),
        (&work.right, &work.right_block, &scratch.right),
    ] {
        if let Some(bands) = operand.bands {
            bands.add_panels(block.start / PANEL, gathered);
        }
    }
}

/// The products of two blocks of rows, right offsets subtracted: `out[i * stride + j]` with `stride` the length of the
/// right block in whole panels. Runs on the calling thread.
///
/// # Panics
///
/// As [`count`], and if `out` does not hold as many values.
pub fn products(
    left: &FixedRows,
    left_block: Range<usize>,
    right: Operand<'_>,
    right_block: Range<usize>,
    out: &mut [i32],
) {
    products_at(Level::detect(), left, left_block, right, right_block, out);
}

fn products_at(
    level: Level,
    left: &FixedRows,
    left_block: Range<usize>,
    right: Operand<'_>,
    right_block: Range<usize>,
    out: &mut [i32],
) {
    check_block(left, &left_block);
    check_block(right.rows, &right_block);
    check_sides(left, right.rows);
    let padded = right.rows.len().next_multiple_of(PANEL);
    let offsets = right.offsets.len();
    assert!(offsets == 0 || offsets == padded, "{offsets} offsets for {padded} rows");
    let values = left_block.len() * right_block.len().next_multiple_of(PANEL);
    assert!(out.len() == values, "out must hold {values} products, it holds {}", out.len());
    let left = Operand { rows: left, bands: None, offsets: &[] };
    let work = Work { left, left_block, right, right_block };
    match level {
        // SAFETY: as in `count_at`.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Level::Avx512 => unsafe { products_avx512(&work, out) },
        // SAFETY: as in `count_at`.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Level::Avx2 => unsafe { products_avx2(&work, out) },
        // SAFETY: as in `count_at`.
        #[allow(unsafe_code)]
        Level::Portable => unsafe { products_with::<Portable, 4, 1>(&work, out) },
    }
}

fn check_block(rows: &FixedRows, block: &Range<usize>) {
    assert!(block.start.is_multiple_of(PANEL), "a block starts at {}, inside a panel", block.start);
    assert!(
        block.start <= block.end && block.end <= rows.len(),
        "block {block:?} is not within {} rows",
        rows.len()
    );
}

fn check_sides(left: &FixedRows, right: &FixedRows) {
    assert!(
        left.width == right.width && left.words == right.words,
        "{:?} rows of {} words times {:?} rows of {} words",
        left.width,
        left.words,
        right.width,
        right.words
    );
}

/// What one call multiplies; checked.
struct Work<'a> {
    left: Operand<'a>,
    left_block: Range<usize>,
    right: Operand<'a>,
    right_block: Range<usize>,
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,popcnt")]
#[allow(unsafe_code)]
unsafe fn count_avx512(work: &Work<'_>, scratch: &mut Scratch, settle: &mut dyn FnMut(&[Unsure])) {
    // SAFETY: the caller vouches for the instructions and the sizes.
    unsafe { count_with::<Avx512, 8, 3>(work, scratch, settle) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,popcnt")]
#[allow(unsafe_code)]
unsafe fn count_avx2(work: &Work<'_>, scratch: &mut Scratch, settle: &mut dyn FnMut(&[Unsure])) {
    // SAFETY: the caller vouches for the instructions and the sizes.
    unsafe { count_with::<Avx2, 4, 1>(work, scratch, settle) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[allow(unsafe_code)]
unsafe fn products_avx512(work: &Work<'_>, out: &mut [i32]) {
    // SAFETY: the caller vouches for the instructions and the sizes.
    unsafe { products_with::<Avx512, 8, 3>(work, out) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[allow(unsafe_code)]
unsafe fn products_avx2(work: &Work<'_>, out: &mut [i32]) {
    // SAFETY: the caller vouches for the instructions and the sizes.
    unsafe { products_with::<Avx2, 4, 1>(work, out) }
}

/// # Safety
///
/// The CPU must have the instructions of `L`; `work` must be checked, and `scratch.left` and `.right` sized for it.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn count_with<L: Lanes, const R: usize, const V: usize>(
    work: &Work<'_>,
    scratch: &mut Scratch,
    settle: &mut dyn FnMut(&[Unsure]),
) {
    let end = work.right_block.end.div_ceil(PANEL);
    let mut products = [[[0; PANEL]; V]; R];
    let mut panel = work.right_block.start / PANEL;
    while panel < end {
        let panels = if panel + V <= end { V } else { 1 };
        for row in (work.left_block.start..work.left_block.end).step_by(R) {
            let out = products.as_mut_ptr().cast::<i32>();
            let (left, right) = (work.left.rows, work.right.rows);
            // SAFETY: `row` is a multiple of R in a block that starts at a panel, and R divides 16, so that R rows lie
            // in one panel; `panel + panels` ends within the right side; `products` holds R x V vectors.
            unsafe {
                if panels == V {
                    micro::<L, R, V>(left, row, right, panel, out, V * PANEL, R);
                } else {
                    micro::<L, R, 1>(left, row, right, panel, out, V * PANEL, R);
                }
                compare::<L, R, V>(work, row, panel..panel + panels, &products, scratch);
            }
        }
        if !scratch.unsure.is_empty() {
            settle(&scratch.unsure);
            scratch.unsure.clear();
        }
        panel += panels;
    }
}

/// Compares the products of R rows from `row` on and a few panels with the bands of either side.
///
/// # Safety
///
/// As [`count_with`]; the panels must lie in the block.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn compare<L: Lanes, const R: usize, const V: usize>(
    work: &Work<'_>,
    row: usize,
    panels: Range<usize>,
    products: &[[[i32; PANEL]; V]; R],
    scratch: &mut Scratch,
) {
    let (left, right) = (&work.left, &work.right);
    // R divides 16, so that these lie within whole panels.
    let of_rows = |values: &[i32], default: i32| -> [i32; R] {
        if values.is_empty() { [default; R] } else { std::array::from_fn(|r| values[row + r]) }
    };
    let floors = of_rows(left.bands.map_or(&[], |bands| &bands.floor), i32::MAX);
    let offsets = of_rows(left.offsets, 0);
    let rows = R.min(work.left_block.end - row);
    // SAFETY: loads of whole vectors from slices and arrays of that length.
    unsafe {
        let load = |values: &[i32], at: usize, default: i32| {
            if values.is_empty() {
                L::splat(default)
            } else {
                L::load(values[at..at + PANEL].as_ptr())
            }
        };
        let valid = |panel: usize| match work.right_block.end - panel * PANEL {
            lanes @ 0..PANEL => (1u32 << lanes) - 1,
            _ => 0xffff,
        };
        let first = panels.start;
        // A bit a vector; R x V are 24 at most.
        let (mut left_hits, mut right_hits) = (0u32, 0u32);
        for (v, panel) in panels.enumerate() {
            let (column, valid) = (panel * PANEL, valid(panel));
            let right_offset = load(right.offsets, column, 0);
            let bands = right.bands.map_or(&[][..], |bands| &bands.floor);
            let right_floor = load(bands, column, i32::MAX);
            for r in 0..rows {
                let product = L::load(products[r][v].as_ptr());
                let of_left = product.minus(right_offset);
                let of_right = product.minus(L::splat(offsets[r]));
                let left_passes = of_left.greater(L::splat(floors[r])) & valid;
                let right_passes = of_right.greater(right_floor);
                // Whether a vector passes is hard to foresee: marks of all of them first, without a branch.
                let mark = v * R + r;
                left_hits |= u32::from(left_passes != 0) << mark;
                right_hits |= u32::from(right_passes != 0) << mark;
            }
        }
        let vector = |mark: u32| {
            let (v, r) = (mark as usize / R, mark as usize % R);
            (r, first + v, L::load(products[r][v].as_ptr()))
        };
        if let Some(bands) = left.bands {
            for mark in ones(left_hits) {
                let (r, panel, product) = vector(mark);
                let (column, valid) = (panel * PANEL, valid(panel));
                let x = product.minus(load(right.offsets, column, 0));
                above_left(work, bands, row + r, column, x, valid, scratch);
            }
        }
        if let Some(bands) = right.bands {
            for mark in ones(right_hits) {
                let (r, panel, product) = vector(mark);
                let x = product.minus(L::splat(offsets[r]));
                above_right(work, bands, row + r, panel, x, scratch);
            }
        }
    }
}

/// The places of the ones in `mask`, ascending.
#[inline(always)]
fn ones(mut mask: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let place = mask.trailing_zeros();
        let any = mask != 0;
        mask &= mask.wrapping_sub(1);
        any.then_some(place)
    })
}

/// Counts products `x` of one left row for its bands.
///
/// # Safety
///
/// As [`compare`].
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn above_left<L: Lanes>(
    work: &Work<'_>,
    bands: &Bands,
    row: usize,
    column: usize,
    x: L,
    valid: u32,
    scratch: &mut Scratch,
) {
    let base = bands.offsets[work.left_block.start / PANEL];
    let vectors = bands.offsets[row / PANEL]..bands.offsets[row / PANEL + 1];
    let below = bands.below[vectors.start * PANEL..vectors.end * PANEL].as_chunks::<PANEL>().0;
    let high = bands.high[vectors.start * PANEL..vectors.end * PANEL].as_chunks::<PANEL>().0;
    let counts = scratch.left[(vectors.start - base) * PANEL..(vectors.end - base) * PANEL]
        .as_chunks_mut::<PANEL>()
        .0;
    let (lane, len) = (row % PANEL, bands.lens[row] as usize);
    let mut unsure = 0;
    // From the lowest band. A look for the first that nothing reaches pays once in a while only: it is hard to foresee.
    let triples = below[..len].iter().zip(&high[..len]).zip(&mut counts[..len]);
    for (k, ((below, high), count)) in triples.enumerate().rev() {
        // SAFETY: the caller vouches for the instructions.
        let (reaching, above) = unsafe {
            let reaching = x.greater(L::splat(below[lane])) & valid;
            (reaching, x.greater(L::splat(high[lane])) & valid)
        };
        unsure |= reaching & !above;
        count[lane] += above.count_ones().cast_signed();
        if k % 8 == 0 && reaching == 0 {
            break;
        }
    }
    if unsure != 0 {
        let pair = |lane: usize, x| {
            let (left, right) = (row as u32, (column + lane) as u32);
            Unsure { left, right, x, side: Side::Left }
        };
        // SAFETY: as above.
        unsafe { note(x, unsure, pair, &mut scratch.unsure) };
    }
}

/// Counts products `x` of one left row for the bands of a panel of right rows.
///
/// # Safety
///
/// As [`compare`].
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn above_right<L: Lanes>(
    work: &Work<'_>,
    bands: &Bands,
    row: usize,
    panel: usize,
    x: L,
    scratch: &mut Scratch,
) {
    let base = bands.offsets[work.right_block.start / PANEL];
    let vectors = bands.offsets[panel]..bands.offsets[panel + 1];
    let below = bands.below[vectors.start * PANEL..vectors.end * PANEL].as_chunks::<PANEL>().0;
    let high = bands.high[vectors.start * PANEL..vectors.end * PANEL].as_chunks::<PANEL>().0;
    let counts = scratch.right[(vectors.start - base) * PANEL..(vectors.end - base) * PANEL]
        .as_chunks_mut::<PANEL>()
        .0;
    let mut unsure = 0;
    for ((below, high), counts) in below.iter().zip(high).zip(counts) {
        // SAFETY: arrays of a vector's length; the caller vouches for the instructions.
        unsafe {
            let (below, high) = (L::load(below.as_ptr()), L::load(high.as_ptr()));
            unsure |= x.greater(below) & !x.greater(high);
            L::load(counts.as_ptr()).add_if_greater(x, high).store(counts.as_mut_ptr());
        }
    }
    if unsure != 0 {
        let pair = |lane: usize, x| {
            let (left, right) = (row as u32, (panel * PANEL + lane) as u32);
            Unsure { left, right, x, side: Side::Right }
        };
        // SAFETY: as above.
        unsafe { note(x, unsure, pair, &mut scratch.unsure) };
    }
}

/// Appends the pairs of the lanes in `mask`.
///
/// # Safety
///
/// The CPU must have the instructions of `L`.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn note<L: Lanes>(
    x: L,
    mut mask: u32,
    pair: impl Fn(usize, i32) -> Unsure,
    unsure: &mut Vec<Unsure>,
) {
    let mut values = [0; PANEL];
    // SAFETY: `values` holds a vector; the caller vouches for the instructions.
    unsafe { x.store(values.as_mut_ptr()) };
    while mask != 0 {
        let lane = mask.trailing_zeros() as usize;
        unsure.push(pair(lane, values[lane]));
        mask &= mask - 1;
    }
}

/// # Safety
///
/// The CPU must have the instructions of `L`; `work` must be checked, and `out` hold the block in whole panels.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn products_with<L: Lanes, const R: usize, const V: usize>(
    work: &Work<'_>,
    out: &mut [i32],
) {
    let (first, end) = (work.right_block.start / PANEL, work.right_block.end.div_ceil(PANEL));
    let stride = (end - first) * PANEL;
    let mut panel = first;
    while panel < end {
        let panels = if panel + V <= end { V } else { 1 };
        for row in (work.left_block.start..work.left_block.end).step_by(R) {
            let at = (row - work.left_block.start) * stride + (panel - first) * PANEL;
            let rows = work.left_block.end - row;
            // SAFETY: as in `count_with`; at most `rows` rows are written, which end within `out`.
            unsafe {
                let to = out[at..].as_mut_ptr();
                if panels == V {
                    micro::<L, R, V>(work.left.rows, row, work.right.rows, panel, to, stride, rows);
                } else {
                    micro::<L, R, 1>(work.left.rows, row, work.right.rows, panel, to, stride, rows);
                }
            }
        }
        panel += panels;
    }
    if !work.right.offsets.is_empty() {
        let offsets = &work.right.offsets[first * PANEL..end * PANEL];
        for row in out.chunks_exact_mut(stride.max(1)) {
            for (product, offset) in row.iter_mut().zip(offsets) {
                *product -= offset;
            }
        }
    }
}

/// The products of R left rows and V panels of right rows; the first `rows` of them are written.
///
/// # Safety
///
/// The CPU must have the instructions of `L`. R must divide 16, `row` be a multiple of R inside the left rows, and
/// `panel + V` panels lie in the right rows. `out` must hold `rows` rows, at `stride`, of V vectors.
#[inline(always)]
#[allow(unsafe_code, clippy::needless_range_loop)]
unsafe fn micro<L: Lanes, const R: usize, const V: usize>(
    left: &FixedRows,
    row: usize,
    right: &FixedRows,
    panel: usize,
    out: *mut i32,
    stride: usize,
    rows: usize,
) {
    let words = left.words;
    let a = &left.data[row / PANEL * words * PANEL..][..words * PANEL];
    let b = &right.data[panel * words * PANEL..][..V * words * PANEL];
    let start = &right.start[panel * PANEL..][..V * PANEL];
    // Sums are only ever indexed by numbers that the compiler knows, which keeps them in registers.
    // SAFETY: vector `word * 16` of panel `v` ends within `b`, and `row % 16 + r < 16` as R divides 16, so that the
    // broadcast words lie in `a`; the rest is the caller's promise.
    unsafe {
        let a = a.as_ptr().add(row % PANEL);
        let mut sums = [[L::splat(0); V]; R];
        macro_rules! accumulate {
            ($step:ident, $left:expr) => {
                for word in 0..words {
                    let mut vectors = [L::splat(0); V];
                    for v in 0..V {
                        vectors[v] = L::load(b.as_ptr().add((v * words + word) * PANEL));
                    }
                    for r in 0..R {
                        let value: i32 = *a.add(word * PANEL + r);
                        let value = L::splat($left(value));
                        for v in 0..V {
                            sums[r][v] = sums[r][v].$step(value, vectors[v]);
                        }
                    }
                }
            };
        }
        match left.width {
            Width::I8 => {
                for v in 0..V {
                    let start = L::load(start.as_ptr().add(v * PANEL));
                    for r in 0..R {
                        sums[r][v] = start;
                    }
                }
                // Flipping the top bit of a byte adds 128 and makes it unsigned.
                accumulate!(dot_u8_i8, |value: i32| value ^ 0x8080_8080_u32.cast_signed());
            }
            Width::I16 => accumulate!(dot_i16, |value| value),
            Width::F32 => {
                accumulate!(dot_f32, |value| value);
                let unit = (left.scale() * right.scale()) as f32;
                for r in 0..R {
                    for v in 0..V {
                        sums[r][v] = sums[r][v].round_f32(unit);
                    }
                }
            }
        }
        for r in 0..R {
            if r < rows {
                for v in 0..V {
                    sums[r][v].store(out.add(r * stride + v * PANEL));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn rows(count: usize, dim: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 100_003) as f32 / 50_000.0 - 1.0;
        (0..count * dim).map(value).collect()
    }

    fn fixed(width: Width, data: &[f32], dim: usize) -> (FixedRows, f64) {
        let length = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let norm = data.chunks(dim).map(length).fold(0.0, f64::max);
        let peak = data.iter().map(|&v| f64::from(v).abs()).fold(0.0, f64::max);
        let row = |i: usize| Cow::Borrowed(&data[i * dim..(i + 1) * dim]);
        (FixedRows::new(width, data.len() / dim, dim, width.scale(peak, norm), &row), norm)
    }

    fn exact(a: &[f32], b: &[f32]) -> f64 {
        crate::product::dot_f64(a, b)
    }

    #[test]
    fn products_lie_within_their_bound_and_integers_agree_on_all_levels() {
        for (width, dim) in [Width::I8, Width::I16, Width::F32]
            .into_iter()
            .flat_map(|width| [1, 2, 3, 4, 5, 17, 128].map(|dim| (width, dim)))
        {
            let (a, b) = (rows(37, dim, 1), rows(83, dim, 2));
            let ((left, norm_a), (right, norm_b)) = (fixed(width, &a, dim), fixed(width, &b, dim));
            let offsets: Vec<i32> = (0..96).collect();
            let operand = Operand { rows: &right, bands: None, offsets: &offsets };
            let mut before: Option<Vec<i32>> = None;
            for level in Level::supported() {
                let mut out = vec![0; (37 - 16) * 80];
                products_at(level, &left, 16..37, operand, 16..83, &mut out);
                let error = left.error(norm_a, &right, norm_b);
                for (i, j) in (16..37).flat_map(|i| (16..83).map(move |j| (i, j))) {
                    let x = f64::from(out[(i - 16) * 80 + j - 16] + offsets[j]);
                    let exact = exact(&a[i * dim..(i + 1) * dim], &b[j * dim..(j + 1) * dim]);
                    let expected = exact * left.scale() * right.scale();
                    assert!((x - expected).abs() <= error, "{width:?} {dim} {level:?}");
                }
                if width != Width::F32 {
                    if let Some(before) = &before {
                        assert_eq!(&out, before, "{width:?} {dim} {level:?}");
                    }
                    before = Some(out);
                }
            }
        }
    }

    #[test]
    fn counts_and_unsure_pairs_are_those_of_the_products() {
        let (a, b) = (rows(61, 20, 3), rows(83, 20, 4));
        for width in [Width::I8, Width::I16] {
            let ((left, _), (right, _)) = (fixed(width, &a, 20), fixed(width, &b, 20));
            let offsets =
                |rows: usize| -> Vec<i32> { (0..rows as i32).map(|i| i * 7 % 50).collect() };
            let (left_offsets, right_offsets) = (offsets(64), offsets(96));
            let mut plain = vec![0; 61 * 96];
            let all = Operand { rows: &right, bands: None, offsets: &[] };
            products(&left, 0..61, all, 0..83, &mut plain);
            let step = plain.iter().max().unwrap() / 8;
            // Bands from the highest to the lowest; some queries have none.
            let band = |query: usize, k: usize| {
                let middle = step * (3 - 2 * k as i32) + query as i32;
                (middle - step / 9, middle + step / 7)
            };
            let make = |queries| Bands::new(queries, |query| query % 4, band);
            for level in Level::supported() {
                let (left_bands, right_bands) = (make(61), make(83));
                let l = Operand { rows: &left, bands: Some(&left_bands), offsets: &left_offsets };
                let r =
                    Operand { rows: &right, bands: Some(&right_bands), offsets: &right_offsets };
                let (mut scratch, mut found) = (Scratch::default(), Vec::new());
                for rows in [0..16, 16..61] {
                    for columns in [0..48, 48..83] {
                        let mut settle = |unsure: &[Unsure]| found.extend_from_slice(unsure);
                        count_at(level, l, rows.clone(), r, columns, &mut scratch, &mut settle);
                    }
                }
                let mut expected = Vec::new();
                for (i, j) in (0..61).flat_map(|i| (0..83).map(move |j| (i, j))) {
                    let product = plain[i * 96 + j];
                    for (side, query, bands, x) in [
                        (Side::Left, i, &left_bands, product - right_offsets[j]),
                        (Side::Right, j, &right_bands, product - left_offsets[i]),
                    ] {
                        let mut inside = false;
                        for k in 0..query % 4 {
                            let (low, high) = band(query, k);
                            inside |= (low..=high).contains(&x);
                            if x > high {
                                bands.add(query, k, u32::MAX); // takes one away
                            }
                        }
                        if inside {
                            expected.push(Unsure { left: i as u32, right: j as u32, x, side });
                        }
                    }
                }
                let key = |pair: &Unsure| (pair.left, pair.right, pair.side == Side::Left);
                found.sort_by_key(key);
                expected.sort_by_key(key);
                assert!(expected.len() > 100, "{}", expected.len());
                assert_eq!(found, expected, "{level:?}");
                for (queries, bands) in [(61, &left_bands), (83, &right_bands)] {
                    for (query, k) in (0..queries).flat_map(|q| (0..q % 4).map(move |k| (q, k))) {
                        assert_eq!(bands.above(query, k), 0, "{level:?}, query {query}, band {k}");
                    }
                }
            }
        }
    }
}
