//! The inner loops: a tile of outputs, and a tile of the weight gradient, held in registers.

// Loops by index over constant bounds are what the compiler unrolls into registers.
#![allow(clippy::needless_range_loop)]

use super::scratch::{self, Use};
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Level, Masked, Portable, WIDEST, prefetch};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Neighbouring outputs whose pixels are neighbours too.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stretch {
    /// Index of the first one's pixel in the planes.
    pub(super) planes: usize,
    /// Index of the first one in the output of filter 0.
    pub(super) output: usize,
    pub(super) len: usize,
}

/// Tiles that pass before the next weights.
const RUN: usize = 8;

/// Terms whose weights are asked for ahead.
const AHEAD: usize = 16;

/// Elements of a panel: the pixels of a tile for the terms that are taken at a time, a row a term. 16 KB with AVX2, 24 KB with
/// AVX-512, so that they share the nearest cache with the weights that pass by.
const PANEL: usize = 128 * 3 * WIDEST;

/// A product of packed weights and laid out images.
///
/// Tiles take as many outputs as they hold, be they of several stretches. Their pixels are copied to a panel, which serves all
/// filters; sums over many terms are taken in parts, and go on from what the output holds.
pub(super) struct Product<'a> {
    /// Laid out images.
    pub(super) planes: &'a [f32],
    /// Where each term of the sum reads, relative to an output's pixel.
    pub(super) offsets: &'a [usize],
    /// Weights by block of [`Level::filters`] filters, then term, then filter.
    pub(super) weights: &'a [f32],
    /// The filters to compute, beginning at a block.
    pub(super) filters: Range<usize>,
    /// The outputs to compute.
    pub(super) stretches: &'a [Stretch],
    /// Distance of a filter's output from its predecessor's.
    pub(super) filter_stride: usize,
}

impl Product<'_> {
    /// Computes every stretch for every filter, and writes to `output`.
    ///
    /// # Safety
    ///
    /// `output` must be valid for every stretch's outputs plus `filter * filter_stride`, and nothing else may access those
    /// elements meanwhile.
    #[allow(unsafe_code)]
    pub(super) unsafe fn run(&self, level: Level, output: *mut f32) {
        if !self.offsets.is_empty() {
            let last = self.stretches.iter().map(|stretch| stretch.planes + stretch.len).max();
            let reach = last.unwrap_or(0) + self.farthest();
            assert!(
                reach <= self.planes.len(),
                "planes hold {} elements, tiles read {reach}",
                self.planes.len()
            );
        }
        assert!(self.filters.start.is_multiple_of(level.filters()));
        let padded = self.filters.end.next_multiple_of(level.filters());
        assert!(self.weights.len() >= padded * self.offsets.len());
        // Bodies with vectors are no closures, which would be compiled without the level's instructions.
        scratch::with(Use::Panels, RUN * (PANEL + WIDEST), |panels| {
            let panels = panels.as_mut_ptr();
            // SAFETY: the level was detected; the reads were checked above; a run's panels have room; the writes are the
            // caller's promise.
            unsafe {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => product_avx512(self, panels, output),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => product_avx2(self, panels, output),
                    Level::Portable => product::<Portable, 1, 4>(self, panels, output),
                }
            }
        });
    }

    fn farthest(&self) -> usize {
        self.offsets.iter().copied().max().unwrap_or(0)
    }

    /// All outputs in tiles of `size`.
    fn tiles(&self, size: usize) -> Vec<Tile> {
        let mut tiles = Vec::new();
        let mut tile = Tile::default();
        for stretch in self.stretches {
            let mut done = 0;
            while done < stretch.len {
                let len = (stretch.len - done).min(size - tile.len);
                let (planes, output) = (stretch.planes + done, stretch.output + done);
                tile.push(Stretch { planes, output, len });
                done += len;
                if tile.len == size {
                    tiles.push(std::mem::take(&mut tile));
                }
            }
        }
        if tile.len > 0 {
            tiles.push(tile);
        }
        tiles
    }
}

/// Outputs that are computed together.
#[derive(Default)]
struct Tile {
    len: usize,
    /// Where the pixels lie: first element of the tile, first element of the planes, and how many.
    pixels: Vec<(usize, usize, usize)>,
    /// Where the outputs go, likewise.
    outputs: Vec<(usize, usize, usize)>,
}

impl Tile {
    fn push(&mut self, Stretch { planes, output, len }: Stretch) {
        self.pixels.push((self.len, planes, len));
        match self.outputs.last_mut() {
            Some((_, first, before)) if *first + *before == output => *before += len,
            _ => self.outputs.push((self.len, output, len)),
        }
        self.len += len;
    }

    /// Copies the pixels of some terms to a panel with rows of `V` vectors.
    ///
    /// # Safety
    ///
    /// As [`Lanes`]; all pixels must lie in the planes, and the panel have room for a vector behind its rows.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn pack<L: Masked, const V: usize>(
        &self,
        work: &Product<'_>,
        offsets: &[usize],
        farthest: usize,
        panel: *mut f32,
    ) {
        let size = V * L::LANES;
        // SAFETY: the caller's promise; where a whole vector might end behind the planes, only pixels of the tile are read.
        unsafe {
            let planes = work.planes.as_ptr();
            if let [(_, first, len)] = self.pixels[..]
                && len == size
            {
                for (term, offset) in offsets.iter().enumerate() {
                    for vector in 0..V {
                        L::load(planes.add(first + offset + vector * L::LANES))
                            .store(panel.add(term * size + vector * L::LANES));
                    }
                }
                return;
            }
            // What a vector writes too much is written again: by the next stretch, or the next term.
            let mut parts = [(0, 0, 0); 3 * WIDEST];
            let mut count = 0;
            let mut whole = true;
            for &(at, first, len) in &self.pixels {
                for done in (0..len).step_by(L::LANES) {
                    let mask = (1u64 << (len - done).min(L::LANES)) - 1;
                    parts[count] = (at + done, first + done, mask as u32);
                    count += 1;
                    whole &= first + done + farthest + L::LANES <= work.planes.len();
                }
            }
            let parts = &parts[..count];
            for (term, offset) in offsets.iter().enumerate() {
                let row = panel.add(term * size);
                if self.len < size {
                    for vector in 0..V {
                        L::splat(0.0).store(row.add(vector * L::LANES));
                    }
                }
                for &(at, first, mask) in parts {
                    let from = planes.add(first + offset);
                    let values = if whole { L::load(from) } else { L::load_masked(from, mask) };
                    values.store(row.add(at));
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
unsafe fn product_avx512(work: &Product<'_>, panels: *mut f32, output: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { product::<Avx512, 3, 8>(work, panels, output) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[allow(unsafe_code)]
unsafe fn product_avx2(work: &Product<'_>, panels: *mut f32, output: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { product::<Avx2, 2, 6>(work, panels, output) }
}

/// Walks tiles of `V` vectors, [`RUN`] of them together, for some terms of the sums and each block of `F` filters.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn product<L: Masked, const V: usize, const F: usize>(
    work: &Product<'_>,
    panels: *mut f32,
    output: *mut f32,
) {
    let terms = work.offsets.len();
    let size = V * L::LANES;
    let depth = (PANEL / size).min(256);
    let farthest = work.farthest();
    for run in work.tiles(size).chunks(RUN) {
        let mut start = 0;
        loop {
            let end = terms.min(start + depth);
            let offsets = &work.offsets[start..end];
            // SAFETY: `run` checked every read and made room for the panels; the writes are its caller's promise.
            unsafe {
                for (index, tile) in run.iter().enumerate() {
                    let panel = panels.add(index * (PANEL + WIDEST));
                    tile.pack::<L, V>(work, offsets, farthest, panel);
                }
                for first in work.filters.clone().step_by(F) {
                    let block = Block {
                        terms: end - start,
                        weights: work.weights[first * terms + start * F..].as_ptr(),
                        filters: F.min(work.filters.end - first),
                        goes_on: start > 0,
                        output: output.add(first * work.filter_stride),
                        stride: work.filter_stride,
                    };
                    for (index, tile) in run.iter().enumerate() {
                        let panel = panels.add(index * (PANEL + WIDEST));
                        if tile.len > L::LANES {
                            block.multiply::<L, V, F>(tile, panel, size);
                        } else {
                            block.multiply::<L, 1, F>(tile, panel, size);
                        }
                    }
                }
            }
            start = end;
            if start >= terms {
                break;
            }
        }
    }
}

/// Some terms of the sums of some filters.
struct Block {
    terms: usize,
    weights: *const f32,
    filters: usize,
    /// Whether the sums go on from what the output holds.
    goes_on: bool,
    /// The output of the first filter.
    output: *mut f32,
    /// Distance of a filter's output from its predecessor's.
    stride: usize,
}

impl Block {
    /// `V` vectors of outputs by `F` filters, from a panel whose rows are `size` apart.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn multiply<L: Lanes, const V: usize, const F: usize>(
        &self,
        tile: &Tile,
        mut panel: *const f32,
        size: usize,
    ) {
        // SAFETY: the caller (`run` and the walk above) vouches for every access.
        unsafe {
            let mut weights = self.weights;
            let mut sums = [[L::splat(0.0); V]; F];
            for _ in 0..self.terms {
                let mut values = [L::splat(0.0); V];
                for vector in 0..V {
                    values[vector] = L::load(panel.add(vector * L::LANES));
                }
                prefetch(weights.wrapping_add(AHEAD * F), 1);
                for filter in 0..F {
                    let weight = L::splat(*weights.add(filter));
                    for vector in 0..V {
                        sums[filter][vector] =
                            sums[filter][vector].add_product(values[vector], weight);
                    }
                }
                weights = weights.add(F);
                panel = panel.add(size);
            }
            // Outputs that are not neighbours take a detour: the registers may be indexed by this one loop only.
            let whole = match tile.outputs[..] {
                [(_, first, len)] if len == V * L::LANES => Some(first),
                _ => None,
            };
            let mut rows = [[MaybeUninit::<f32>::uninit(); 3 * WIDEST]; F];
            let (to, stride) = match whole {
                Some(first) => (self.output.add(first), self.stride),
                None => (rows.as_mut_ptr().cast(), 3 * WIDEST),
            };
            let adds = self.goes_on && whole.is_some();
            let one = L::splat(1.0);
            for filter in 0..F {
                if filter < self.filters {
                    for vector in 0..V {
                        let to = to.add(filter * stride + vector * L::LANES);
                        let mut sum = sums[filter][vector];
                        if adds {
                            sum = sum.add_product(L::load(to), one);
                        }
                        sum.store(to);
                    }
                }
            }
            if whole.is_some() {
                return;
            }
            for filter in 0..self.filters {
                for &(at, first, len) in &tile.outputs {
                    let from = rows.as_ptr().cast::<f32>().add(filter * 3 * WIDEST + at);
                    let to = self.output.add(filter * self.stride + first);
                    for index in 0..len {
                        let before = if self.goes_on { *to.add(index) } else { 0.0 };
                        to.add(index).write(*from.add(index) + before);
                    }
                }
            }
        }
    }
}

/// The shape of a register tile of the weight gradient: `taps` terms by `vectors` of filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GradientTile {
    pub(super) taps: usize,
    pub(super) vectors: usize,
    pub(super) lanes: usize,
}

impl GradientTile {
    /// The tile that wastes least on `filters`, the widest among equals.
    pub(super) fn choose(level: Level, filters: usize) -> Self {
        let shapes: &[(usize, usize)] = match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => &[(6, 4), (8, 3), (12, 2), (12, 1)],
            _ => &[(6, 2), (6, 1)],
        };
        let lanes = level.lanes();
        let padded = |vectors: usize| filters.next_multiple_of(vectors * lanes);
        let mut best = shapes[0];
        for shape in &shapes[1..] {
            if padded(shape.1) < padded(best.1) {
                best = *shape;
            }
        }
        Self { taps: best.0, vectors: best.1, lanes }
    }

    /// Filters of one tile.
    pub(super) fn filters(self) -> usize {
        self.vectors * self.lanes
    }
}

/// A piece of the weight gradient: some terms by one block of filters, summed over some rows of one
/// image.
pub(super) struct GradientWork<'a> {
    /// The laid out image.
    pub(super) planes: &'a [f32],
    /// Columns of a plane.
    pub(super) width: usize,
    /// Where each term reads at output position (0, 0); a multiple of the tile's taps.
    pub(super) offsets: &'a [usize],
    /// Rows of the output grid.
    pub(super) rows: usize,
    /// Columns of the output grid.
    pub(super) columns: usize,
    /// Rows that are summed before the next tile, so that their gradients stay in the nearest cache.
    pub(super) row_block: usize,
    /// The output's gradient by position, a block of filters each.
    pub(super) gradient: &'a [f32],
}

impl GradientWork<'_> {
    /// Adds to `sums`, which holds a block of filters for each term.
    #[allow(unsafe_code)]
    pub(super) fn run(&self, level: Level, tile: GradientTile, sums: &mut [f32]) {
        assert_eq!(self.offsets.len() % tile.taps, 0);
        assert_eq!(sums.len(), self.offsets.len() * tile.filters());
        assert_eq!(self.gradient.len(), self.rows * self.columns * tile.filters());
        if self.rows == 0 || self.columns == 0 || self.offsets.is_empty() {
            return;
        }
        let farthest = self.offsets.iter().copied().max().unwrap_or(0);
        let last = (self.rows - 1) * self.width + self.columns - 1 + farthest;
        assert!(
            last < self.planes.len(),
            "planes hold {} elements, tile reads index {last}",
            self.planes.len()
        );
        // SAFETY: the level was detected, and all reads and writes were checked above.
        unsafe {
            match (level, tile.taps, tile.vectors) {
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512, 6, 4) => gradient_avx512::<6, 4>(self, sums),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512, 8, 3) => gradient_avx512::<8, 3>(self, sums),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512, 12, 2) => gradient_avx512::<12, 2>(self, sums),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx512, 12, 1) => gradient_avx512::<12, 1>(self, sums),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx2, 6, 2) => gradient_avx2::<6, 2>(self, sums),
                #[cfg(target_arch = "x86_64")]
                (Level::Avx2, 6, 1) => gradient_avx2::<6, 1>(self, sums),
                (Level::Portable, 6, 2) => gradient::<Portable, 6, 2>(self, sums),
                (Level::Portable, 6, 1) => gradient::<Portable, 6, 1>(self, sums),
                _ => unreachable!("no gradient tile {tile:?} for {level:?}"),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
unsafe fn gradient_avx512<const T: usize, const V: usize>(
    work: &GradientWork<'_>,
    sums: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe { gradient::<Avx512, T, V>(work, sums) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[allow(unsafe_code)]
unsafe fn gradient_avx2<const T: usize, const V: usize>(work: &GradientWork<'_>, sums: &mut [f32]) {
    // SAFETY: the caller's promise.
    unsafe { gradient::<Avx2, T, V>(work, sums) }
}

/// For each block of rows, all tiles of `T` terms and `V` vectors of filters.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn gradient<L: Lanes, const T: usize, const V: usize>(
    work: &GradientWork<'_>,
    sums: &mut [f32],
) {
    let block = V * L::LANES;
    for first in (0..work.rows).step_by(work.row_block) {
        let rows = work.row_block.min(work.rows - first);
        for (offsets, sums) in work.offsets.chunks_exact(T).zip(sums.chunks_exact_mut(T * block)) {
            // SAFETY: `run` checked that every term may be read at every position, and that the
            // gradient and the sums have a block of filters for each position and term.
            unsafe {
                let mut taps = [work.planes.as_ptr(); T];
                for (tap, offset) in taps.iter_mut().zip(offsets) {
                    *tap = work.planes.as_ptr().add(offset + first * work.width);
                }
                let mut gradient = work.gradient.as_ptr().add(first * work.columns * block);
                let mut tile = [[L::splat(0.0); V]; T];
                for tap in 0..T {
                    for vector in 0..V {
                        tile[tap][vector] =
                            L::load(sums.as_ptr().add(tap * block + vector * L::LANES));
                    }
                }
                for row in 0..rows {
                    for position in row * work.width..row * work.width + work.columns {
                        let mut values = [L::splat(0.0); V];
                        for vector in 0..V {
                            values[vector] = L::load(gradient.add(vector * L::LANES));
                        }
                        for tap in 0..T {
                            let pixel = L::splat(*taps[tap].add(position));
                            for vector in 0..V {
                                tile[tap][vector] =
                                    tile[tap][vector].add_product(values[vector], pixel);
                            }
                        }
                        gradient = gradient.add(block);
                    }
                }
                for tap in 0..T {
                    for vector in 0..V {
                        tile[tap][vector]
                            .store(sums.as_mut_ptr().add(tap * block + vector * L::LANES));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::weights::Weights;
    use super::*;

    /// Small whole numbers, so that every sum is exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|at| ((at * 7919 + seed * 104_729) % 11) as f32 - 5.0).collect()
    }

    /// Tiles of `V` by `F`, that of AVX-512 among them, on any machine: whole ones, parts of one, and stretches that a tile
    /// cuts, in planes that end with the last pixel.
    fn tiles_are_sums<const V: usize, const F: usize>() {
        for terms in [0, 1, 3, 300] {
            for lengths in [&[1][..], &[8], &[9, 30], &[24, 24], &[5, 1, 1, 40, 7], &[47; 9]] {
                let filters = 2 * F + 1;
                let len: usize = lengths.iter().sum();
                let offsets: Vec<usize> = (0..terms).map(|term| term * (len + 3)).collect();
                let planes = numbers(offsets.last().map_or(0, |last| last + len), 1);
                let values = numbers(filters * terms, 2);
                let weights = Weights { values: &values, result: terms, source: 1 };
                let weights = weights.pack(Level::Portable, F, filters, terms, &[0]);
                let mut stretches = Vec::new();
                let mut first = 0;
                for (index, len) in lengths.iter().enumerate() {
                    // Some outputs lie apart, some go on where the last one ended.
                    let output = first + 2 * (index / 2);
                    stretches.push(Stretch { planes: first, output, len: *len });
                    first += len;
                }
                let filter_stride = len + 2 * lengths.len();
                let work = Product {
                    planes: &planes,
                    offsets: &offsets,
                    weights: &weights,
                    filters: 0..filters,
                    stretches: &stretches,
                    filter_stride,
                };
                let mut panels = vec![f32::NAN; RUN * (PANEL + WIDEST)];
                let mut found = vec![-1.0; filters * filter_stride];
                // SAFETY: plain Rust, with panels of the size that `run` makes and outputs for every stretch.
                #[allow(unsafe_code)]
                unsafe {
                    product::<Portable, V, F>(&work, panels.as_mut_ptr(), found.as_mut_ptr());
                }
                let mut expected = vec![-1.0; found.len()];
                for filter in 0..filters {
                    for stretch in &stretches {
                        for at in 0..stretch.len {
                            expected[filter * filter_stride + stretch.output + at] = (0..terms)
                                .map(|term| {
                                    planes[stretch.planes + at + offsets[term]]
                                        * values[filter * terms + term]
                                })
                                .sum();
                        }
                    }
                }
                assert_eq!(found, expected, "{V} x {F}, {terms} terms, {lengths:?}");
            }
        }
    }

    #[test]
    fn tiles_of_every_level_are_sums_written_out() {
        tiles_are_sums::<1, 4>();
        tiles_are_sums::<2, 6>();
        tiles_are_sums::<3, 8>();
    }
}
