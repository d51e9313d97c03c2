//! The inner loops: a tile of outputs, and a tile of the weight gradient, held in registers.

// Loops by index over constant bounds are what the compiler unrolls into registers.
#![allow(clippy::needless_range_loop)]

use super::scratch::{self, Use};
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Lanes, Level, Portable, WIDEST, prefetch};

/// One vector of output positions.
#[derive(Clone, Copy)]
pub(super) struct Job {
    /// Index of its first lane in the planes.
    pub(super) planes: usize,
    /// Index of its first lane in the output of filter 0.
    pub(super) output: usize,
}

/// Terms of a sum that are taken at a time: a tile's pixels for these share the nearest cache with the weights. 16 KB of
/// pixels with AVX2, 24 KB with AVX-512.
const fn depth(vectors: usize, lanes: usize) -> usize {
    if vectors * lanes > 16 { 128 } else { 256 }
}

/// Tiles that pass before the next weights.
const RUN: usize = 8;

/// A product of packed weights and laid out images.
pub(super) struct Product<'a> {
    /// Laid out images, with at least a vector of readable elements behind the last position.
    pub(super) planes: &'a [f32],
    /// Where each term of the sum reads, relative to a job's position.
    pub(super) offsets: &'a [usize],
    /// Weights by block of [`Level::filters`] filters, then term, then filter.
    pub(super) weights: &'a [f32],
    /// The filters to compute, beginning at a block.
    pub(super) filters: std::ops::Range<usize>,
    /// The positions to compute. The last vector may overlap the one before it; all others lie apart.
    pub(super) jobs: &'a [Job],
    /// Distance of a filter's output from its predecessor's.
    pub(super) filter_stride: usize,
}

impl Product<'_> {
    /// Computes every job for every filter, and writes to `output`.
    ///
    /// # Safety
    ///
    /// `output` must be valid for every `job.output + filter * filter_stride` plus a vector,
    /// and nothing else may access those elements meanwhile.
    #[allow(unsafe_code)]
    pub(super) unsafe fn run(&self, level: Level, output: *mut f32) {
        let farthest = self.offsets.iter().copied().max().unwrap_or(0);
        let last = self.jobs.iter().map(|job| job.planes).max().unwrap_or(0);
        if !self.offsets.is_empty() {
            assert!(
                last + farthest + level.lanes() <= self.planes.len(),
                "planes hold {} elements, tile reads up to {}",
                self.planes.len(),
                last + farthest + level.lanes()
            );
        }
        let blocks = self.filters.end.div_ceil(level.filters());
        assert!(self.weights.len() >= blocks * level.filters() * self.offsets.len());
        // Bodies with vectors are no closures, which would be compiled without the level's instructions.
        scratch::with(Use::Panels, RUN * PANEL, |panels| {
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

/// Walks the jobs, `V` vectors at a time and [`RUN`] of these tiles together, for some terms of the sums and each block of `F`
/// filters. Vectors that are left over are computed one by one, all terms at once.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn product<L: Lanes, const V: usize, const F: usize>(
    work: &Product<'_>,
    panels: *mut f32,
    output: *mut f32,
) {
    let terms = work.offsets.len();
    let depth = depth(V, L::LANES);
    assert!(depth * V * L::LANES <= PANEL);
    debug_assert_eq!(work.filters.start % F, 0);
    let runs = work.jobs.len().div_ceil(RUN * V);
    for (at, run) in work.jobs.chunks(RUN * V).enumerate() {
        // One vector alone may overlap a tile that is written before it.
        let tiles = if V > 1 || at + 1 < runs { run.len() / V } else { run.len() - 1 };
        let mut start = 0;
        loop {
            let end = terms.min(start + depth);
            for first in work.filters.clone().step_by(F) {
                let filters = F.min(work.filters.end - first);
                let weights = work.weights[first * terms..].as_ptr();
                let all = Block { offsets: work.offsets, weights, filters, goes_on: false };
                let some = Block {
                    offsets: &work.offsets[start..end],
                    weights: weights.wrapping_add(start * F),
                    filters,
                    goes_on: start > 0,
                };
                // SAFETY: `run` checked every read and made room for the panels; the writes are its caller's promise.
                unsafe {
                    let output = output.add(first * work.filter_stride);
                    for (index, jobs) in run.chunks(V).enumerate() {
                        let panel = panels.add(index * PANEL);
                        if index < tiles && first == work.filters.start {
                            // While a tile's first filters are computed, the next tile's pixels are on their way.
                            let next = run.get((index + 1) * V).unwrap_or(&jobs[0]).planes;
                            some.tile::<L, V, F, FIRST>(work, jobs, next, panel, output);
                        } else if index < tiles {
                            some.tile::<L, V, F, AGAIN>(work, jobs, 0, panel, output);
                        } else if end == terms {
                            // Last of all, because they may overlap what has just been finished.
                            for job in jobs.chunks(1) {
                                all.tile::<L, 1, F, DIRECT>(work, job, 0, panel, output);
                            }
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

/// Elements of a panel: what a tile reads for the terms that are taken at a time, row by row without gaps.
const PANEL: usize = 128 * 3 * WIDEST;

/// Pixels are read where they lie.
const DIRECT: u8 = 0;

/// Pixels are read where they lie, and kept in the tile's panel.
const FIRST: u8 = 1;

/// Pixels are read from the panel.
const AGAIN: u8 = 2;

/// Some terms of the sums of some filters.
struct Block<'a> {
    offsets: &'a [usize],
    weights: *const f32,
    filters: usize,
    /// Whether the sums go on from what the output holds.
    goes_on: bool,
}

impl Block<'_> {
    /// `V` vectors of positions by `F` filters; the first time, as many pixels from `next` on are asked for.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn tile<L: Lanes, const V: usize, const F: usize, const TIME: u8>(
        &self,
        work: &Product<'_>,
        jobs: &[Job],
        next: usize,
        mut panel: *mut f32,
        output: *mut f32,
    ) {
        // SAFETY: the caller (`run` and the walk above) vouches for every access.
        unsafe {
            let mut bases = [work.planes.as_ptr(); V];
            for (base, job) in bases.iter_mut().zip(jobs) {
                *base = work.planes.as_ptr().add(job.planes);
            }
            let next = work.planes.as_ptr().wrapping_add(next);
            let mut weights = self.weights;
            let mut sums = [[L::splat(0.0); V]; F];
            for &offset in self.offsets {
                let mut values = [L::splat(0.0); V];
                for vector in 0..V {
                    let at = panel.wrapping_add(vector * L::LANES);
                    values[vector] = if TIME == AGAIN {
                        L::load(at)
                    } else {
                        L::load(bases[vector].add(offset))
                    };
                    if TIME == FIRST {
                        values[vector].store(at);
                    }
                }
                if TIME == FIRST {
                    prefetch(next.wrapping_add(offset), V * L::LANES);
                }
                for filter in 0..F {
                    let weight = L::splat(*weights.add(filter));
                    for vector in 0..V {
                        sums[filter][vector] =
                            sums[filter][vector].add_product(values[vector], weight);
                    }
                }
                weights = weights.add(F);
                panel = panel.wrapping_add(V * L::LANES);
            }
            let one = L::splat(1.0);
            for filter in 0..F {
                if filter < self.filters {
                    let output = output.add(filter * work.filter_stride);
                    // All are read before any is written: the last job may overlap the one before it.
                    if self.goes_on {
                        for vector in 0..V {
                            let before = L::load(output.add(jobs.get_unchecked(vector).output));
                            sums[filter][vector] = sums[filter][vector].add_product(before, one);
                        }
                    }
                    for vector in 0..V {
                        sums[filter][vector].store(output.add(jobs.get_unchecked(vector).output));
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
