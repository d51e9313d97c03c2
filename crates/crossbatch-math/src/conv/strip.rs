//! The inner loop over laid out images: strips of outputs, each a vector of filters, held in registers.
//!
//! A vector of neighbouring pixels would waste lanes where rows are short. Here the lanes are filters, and a strip is as
//! many neighbouring pixels of a row as divide it well; a tap's pixel goes to all lanes. Kernel rows that lie in the padding
//! are left out. Sums are taken over some channels at a time: the weights of these stay in the second-level cache while all
//! strips pass, and sums of sums round less than one long one.

// Loops by index over constant bounds are what the compiler unrolls into registers.
#![allow(clippy::needless_range_loop)]

use super::planes::Planes;
use super::scratch::{self, Use};
#[cfg(target_arch = "x86_64")]
use crate::lanes::{Avx2, Avx512};
use crate::lanes::{Level, Masked, Portable, WIDEST, prefetch};
use std::mem::MaybeUninit;
use std::ops::Range;

/// Lengths of strips, and how many of them a tile holds: about two dozen vectors of sums with two vectors of filters.
const SHAPES: [(usize, usize); 7] = [(14, 1), (12, 1), (10, 1), (8, 1), (7, 2), (4, 3), (3, 4)];

/// Terms of a sum that are taken at a time, about.
const TERMS: usize = 1024;

/// Tiles that pass before the next weights, at least.
const TILES: usize = 24;

/// Taps whose weights are asked for ahead.
const AHEAD: usize = 8;

/// Vectors of filters in a tile at most.
const MOST_VECTORS: usize = 2;

/// Elements that strips may read behind the last position of the planes: the longest strip.
pub(super) const BEHIND: usize = 14;

/// Some neighbouring outputs of a row.
#[derive(Clone, Copy, Debug)]
struct Strip {
    /// Index of its first position in the planes.
    planes: usize,
    /// Index of its first output, of filter 0.
    output: usize,
    /// Outputs; what a strip is longer than that is dropped.
    count: usize,
}

/// The strips of some images, by the taps that meet pixels.
pub(super) struct Strips {
    shape: (usize, usize),
    groups: Vec<(Range<usize>, Vec<Strip>)>,
}

/// Length and number of the strips for rows of `columns`: those that waste least, the longest of them.
fn shape_for(columns: usize) -> (usize, usize) {
    let mut best = SHAPES[0];
    for shape in &SHAPES[1..] {
        if columns.next_multiple_of(shape.0) < columns.next_multiple_of(best.0) {
            best = *shape;
        }
    }
    best
}

/// Images whose strips are enough to pay for the reading of the weights.
pub(super) fn least_images(planes: &Planes) -> usize {
    let [rows, columns] = planes.output;
    let (length, count) = shape_for(columns);
    (TILES * count).div_ceil((rows * columns.div_ceil(length)).max(1))
}

impl Strips {
    /// Covers the output grids of `images` laid out images, `planes_len` apart, whose outputs are `image_len` apart.
    pub(super) fn new(planes: &Planes, images: usize, planes_len: usize, image_len: usize) -> Self {
        let [rows, columns] = planes.output;
        let shape = shape_for(columns);
        let mut groups: Vec<(Range<usize>, Vec<Strip>)> = Vec::new();
        for y in 0..rows {
            let taps = planes.taps_inside(y);
            let at = match groups.iter().position(|(other, _)| *other == taps) {
                Some(at) => at,
                None => {
                    groups.push((taps, Vec::new()));
                    groups.len() - 1
                }
            };
            for image in 0..images {
                for x in (0..columns).step_by(shape.0) {
                    groups[at].1.push(Strip {
                        planes: image * planes_len + y * planes.width() + x,
                        output: image * image_len + y * columns + x,
                        count: shape.0.min(columns - x),
                    });
                }
            }
        }
        Self { shape, groups }
    }
}

/// A product of packed weights and laid out images.
pub(super) struct StripProduct<'a> {
    /// Laid out images, with at least [`BEHIND`] readable elements behind the last position.
    pub(super) planes: &'a [f32],
    /// Channels that are summed.
    pub(super) channels: usize,
    /// Elements of a channel.
    pub(super) channel_len: usize,
    /// Where each tap reads, relative to a position.
    pub(super) taps: &'a [usize],
    /// Weights by block of a vector of filters, then channel, then tap, then filter.
    pub(super) weights: &'a [f32],
    /// Added to each filter's sums.
    pub(super) bias: Option<&'a [f32]>,
    /// The filters to compute, beginning at a block.
    pub(super) filters: Range<usize>,
    /// The positions to compute.
    pub(super) strips: &'a Strips,
    /// Distance of a filter's output from its predecessor's.
    pub(super) filter_stride: usize,
}

impl StripProduct<'_> {
    /// Computes every strip for every filter, and writes to `output`.
    ///
    /// # Safety
    ///
    /// `output` must be valid for every strip's outputs plus `filter * filter_stride`, and nothing else may access those
    /// elements meanwhile.
    #[allow(unsafe_code)]
    pub(super) unsafe fn run(&self, level: Level, output: *mut f32) {
        let terms = self.channels * self.taps.len();
        if terms > 0 {
            let farthest = (self.channels - 1) * self.channel_len
                + self.taps.iter().copied().max().unwrap_or(0);
            let strips = self.strips.groups.iter().flat_map(|(_, strips)| strips);
            let last = strips.map(|strip| strip.planes).max().unwrap_or(0);
            assert!(
                last + farthest + BEHIND <= self.planes.len(),
                "planes hold {} elements, strips read up to {}",
                self.planes.len(),
                last + farthest + BEHIND
            );
        }
        assert!(self.strips.groups.iter().all(|(taps, _)| taps.end <= self.taps.len()));
        assert!(self.weights.len() >= self.filters.end.next_multiple_of(level.lanes()) * terms);
        assert!(self.bias.is_none_or(|bias| bias.len() >= self.filters.end));
        // Bodies with vectors are no closures, which would be compiled without the level's instructions.
        scratch::with(Use::Sums, self.sums_len(level), |sums| {
            let sums = sums.as_mut_ptr();
            // SAFETY: the level was detected; the reads were checked above; the sums have room; the writes are the caller's
            // promise.
            unsafe {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx512 => avx512(self, sums, output),
                    #[cfg(target_arch = "x86_64")]
                    Level::Avx2 => avx2(self, sums, output),
                    Level::Portable => walk::<Portable, 1>(self, sums, output),
                }
            }
        });
    }

    /// Channels that are summed at a time.
    fn part(&self) -> usize {
        let parts = (self.channels * self.taps.len()).div_ceil(TERMS);
        self.channels.div_ceil(parts.clamp(1, self.channels.max(1)))
    }

    /// Elements of the sums that wait for more channels.
    fn sums_len(&self, level: Level) -> usize {
        if self.part() == self.channels {
            return 0;
        }
        let (length, count) = self.strips.shape;
        let groups = self.strips.groups.iter();
        let tiles: usize = groups.map(|(_, strips)| strips.len().div_ceil(count)).sum();
        tiles * count * length * MOST_VECTORS * level.lanes()
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
unsafe fn avx512(work: &StripProduct<'_>, sums: *mut f32, output: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { walk::<Avx512, MOST_VECTORS>(work, sums, output) }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[allow(unsafe_code)]
unsafe fn avx2(work: &StripProduct<'_>, sums: *mut f32, output: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe { walk::<Avx2, 1>(work, sums, output) }
}

/// Picks the body for the strips' length.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn walk<L: Masked, const V: usize>(
    work: &StripProduct<'_>,
    sums: *mut f32,
    output: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match work.strips.shape {
            (14, 1) => blocks::<L, V, 1, 14>(work, sums, output),
            (12, 1) => blocks::<L, V, 1, 12>(work, sums, output),
            (10, 1) => blocks::<L, V, 1, 10>(work, sums, output),
            (8, 1) => blocks::<L, V, 1, 8>(work, sums, output),
            (7, 2) => blocks::<L, V, 2, 7>(work, sums, output),
            (4, 3) => blocks::<L, V, 3, 4>(work, sums, output),
            (3, 4) => blocks::<L, V, 4, 3>(work, sums, output),
            other => unreachable!("no strips of {other:?}"),
        }
    }
}

/// All strips, `S` at a time, for each `V` vectors of filters and some channels.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn blocks<L: Masked, const V: usize, const S: usize, const W: usize>(
    work: &StripProduct<'_>,
    sums: *mut f32,
    output: *mut f32,
) {
    let end = work.filters.end;
    let part = work.part().max(1);
    let mut first = work.filters.start;
    while first < end {
        let wide = first + (V - 1) * L::LANES < end;
        let mut start = 0;
        loop {
            let channels = start..(start + part).min(work.channels);
            let mut sums = sums;
            for (taps, strips) in &work.strips.groups {
                for strips in strips.chunks(S) {
                    let mut tile = [Strip { count: 0, ..strips[0] }; S];
                    tile[..strips.len()].copy_from_slice(strips);
                    let tile = Tile { taps, channels: channels.clone(), strips: &tile, first };
                    // SAFETY: `run` checked every read and made room for all sums; the writes are its caller's promise.
                    unsafe {
                        if wide {
                            tile.run::<L, V, W>(work, sums, output);
                        } else {
                            tile.run::<L, 1, W>(work, sums, output);
                        }
                    }
                    sums = sums.wrapping_add(S * W * V * L::LANES);
                }
            }
            start = channels.end;
            if start >= work.channels {
                break;
            }
        }
        first += if wide { V * L::LANES } else { L::LANES };
    }
}

/// What is computed at once.
struct Tile<'a, const S: usize> {
    /// The taps that meet pixels.
    taps: &'a Range<usize>,
    /// The channels that are summed this time.
    channels: Range<usize>,
    strips: &'a [Strip; S],
    /// The first filter.
    first: usize,
}

impl<const S: usize> Tile<'_, S> {
    /// Goes on with the sums from `sums`, or starts them, and leaves them there, or writes the outputs.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn run<L: Masked, const V: usize, const W: usize>(
        &self,
        work: &StripProduct<'_>,
        sums: *mut f32,
        output: *mut f32,
    ) {
        // SAFETY: the caller vouches for every access.
        unsafe {
            let mut tile = [[[L::splat(0.0); V]; W]; S];
            let mut bases = [work.planes.as_ptr(); S];
            // Where there is nothing to sum, these point outside, and nothing is read.
            for (base, strip) in bases.iter_mut().zip(self.strips) {
                *base = base.wrapping_add(strip.planes + self.channels.start * work.channel_len);
            }
            let taps = &work.taps[self.taps.clone()];
            let block = work.channels * work.taps.len() * L::LANES;
            let mut weights =
                work.weights.as_ptr().wrapping_add(self.first / L::LANES * block).wrapping_add(
                    (self.channels.start * work.taps.len() + self.taps.start) * L::LANES,
                );
            for _ in self.channels.clone() {
                let mut own = weights;
                for &tap in taps {
                    let mut values = [L::splat(0.0); V];
                    for vector in 0..V {
                        values[vector] = L::load(own.add(vector * block));
                        prefetch(own.wrapping_add(vector * block + AHEAD * L::LANES), L::LANES);
                    }
                    for strip in 0..S {
                        for x in 0..W {
                            let pixel = L::splat(*bases[strip].add(tap + x));
                            for vector in 0..V {
                                tile[strip][x][vector] =
                                    tile[strip][x][vector].add_product(values[vector], pixel);
                            }
                        }
                    }
                    own = own.add(L::LANES);
                }
                // Behind the last channel these point outside, where nothing is read.
                weights = weights.wrapping_add(work.taps.len() * L::LANES);
                for base in &mut bases {
                    *base = base.wrapping_add(work.channel_len);
                }
            }
            let one = L::splat(1.0);
            if self.channels.start > 0 {
                for strip in 0..S {
                    for x in 0..W {
                        for vector in 0..V {
                            let before = sums.add(((strip * W + x) * V + vector) * L::LANES);
                            tile[strip][x][vector] =
                                tile[strip][x][vector].add_product(L::load(before), one);
                        }
                    }
                }
            }
            if self.channels.end < work.channels {
                for strip in 0..S {
                    for x in 0..W {
                        for vector in 0..V {
                            let to = sums.add(((strip * W + x) * V + vector) * L::LANES);
                            tile[strip][x][vector].store(to);
                        }
                    }
                }
                return;
            }
            // Loops too long to be unrolled may not index the registers: sums leave them first, a row a position.
            let mut rows = [[[[MaybeUninit::<f32>::uninit(); WIDEST]; WIDEST]; V]; S];
            for strip in 0..S {
                for vector in 0..V {
                    for x in 0..W {
                        tile[strip][x][vector].store(rows[strip][vector][x].as_mut_ptr().cast());
                    }
                    for row in &mut rows[strip][vector][W..] {
                        *row = [MaybeUninit::new(0.0); WIDEST];
                    }
                }
            }
            for (rows, strip) in rows.iter().zip(self.strips) {
                for (vector, rows) in rows.iter().enumerate() {
                    let first = self.first + vector * L::LANES;
                    write::<L>(work, strip, first, rows.as_ptr().cast(), output);
                }
            }
        }
    }
}

/// Writes the sums of a strip and a vector of filters from `first` on, given as [`WIDEST`] rows a position.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn write<L: Masked>(
    work: &StripProduct<'_>,
    strip: &Strip,
    first: usize,
    rows: *const f32,
    output: *mut f32,
) {
    let mut columns = [[0.0f32; WIDEST]; WIDEST];
    // SAFETY: squares of the vector's side tile the first `LANES` columns of `rows`; only `count` values a filter are written,
    // for which the caller vouches.
    unsafe {
        for from in (0..WIDEST).step_by(L::LANES) {
            let to = columns.as_mut_ptr().cast::<f32>().add(from);
            L::transpose(rows.add(from * WIDEST), WIDEST, to, WIDEST);
        }
        for lane in 0..L::LANES.min(work.filters.end - first) {
            let to = output.add((first + lane) * work.filter_stride + strip.output);
            let bias = L::splat(work.bias.map_or(0.0, |bias| bias[first + lane]));
            for from in (0..strip.count).step_by(L::LANES) {
                let values = L::load(columns[lane].as_ptr().add(from));
                let count = L::LANES.min(strip.count - from);
                let mask = ((1u64 << count) - 1) as u32;
                values.add_product(bias, L::splat(1.0)).store_masked(to.add(from), mask);
            }
        }
    }
}
