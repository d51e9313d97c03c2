//! One channel and one filter a group: every channel is a convolution by itself.
//!
//! Kernels of 3, 5 or 7 with stride 1 or 2 read the images where they are: a vector is a run of one row's columns (or
//! of two short rows), and what a tap reads beyond the image is masked out. A block of output rows stays in registers,
//! and each vector of the input that is read serves every row of the block that it is a tap of (`block`). Other
//! shapes are laid out with their padding first (`any`).

mod any;
mod block;

use super::after::After;
use super::shape::ConvShape;
use crate::lanes::{Level, Masked, WIDEST, for_lanes, sum};
use block::{
    Plane, Rows, Strip, Sums, accumulate, accumulate_half_products, accumulate_halves,
    accumulate_products, row_mask,
};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Planes that one task computes.
const TOGETHER: usize = 8;

/// Whether `block` has a kernel for this shape.
fn fit(shape: &ConvShape) -> bool {
    let [rows, columns] = shape.kernel;
    rows == columns
        && matches!(rows, 3 | 5 | 7)
        && matches!(shape.stride, [1, 1] | [2, 2])
        && shape.dilation == [1, 1]
}

pub(super) fn forward(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    after: After<'_>,
) -> Vec<f32> {
    if !fit(shape) {
        return any::forward(level, shape, input, weight, after);
    }
    let padding = shape.padding.map(|padding| padding as isize);
    let pass =
        Pass::new(level, shape.input, shape.output(), shape.kernel[0], shape.stride[0], padding);
    let arranged = arrange(weight, shape.kernel[0], |tap| tap);
    pass.run(level, shape.channels, input, &arranged, after, shape.output_len())
}

pub(super) fn input_gradient(
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    if !fit(shape) {
        return any::input_gradient(level, shape, gradient, weight);
    }
    let kernel = shape.kernel[0];
    if shape.stride == [2, 2] {
        return spread(level, shape, gradient, weight);
    }
    // A convolution again, its kernel turned round and the padding what it leaves.
    let padding = shape.padding.map(|padding| kernel as isize - 1 - padding as isize);
    let pass = Pass::new(level, shape.output(), shape.input, kernel, 1, padding);
    let turned = arrange(weight, kernel, |tap| kernel - 1 - tap);
    pass.run(level, shape.channels, gradient, &turned, After::default(), shape.input_len())
}

pub(super) fn weight_gradient(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    if !fit(shape) {
        return any::weight_gradient(level, shape, input, gradient);
    }
    let kernel = shape.kernel[0];
    let padding = shape.padding.map(|padding| padding as isize);
    let pass = &Pass::new(level, shape.input, shape.output(), kernel, shape.stride[0], padding);
    let images = &Images { input, gradient, batch: shape.batch, channels: shape.channels };
    let mut result = vec![0.0; shape.weight_len()];
    result.par_chunks_exact_mut(kernel * kernel).enumerate().for_each(|(channel, result)| {
        for_lanes!(level, channel_products(pass: &Pass, images: &Images<'_>, channel: usize, result: &mut [f32]));
    });
    result
}

/// Each channel's weights column by column, both taken from `tap` of where they go.
fn arrange(weight: &[f32], kernel: usize, tap: impl Fn(usize) -> usize) -> Vec<f32> {
    let mut arranged = Vec::with_capacity(weight.len());
    for own in weight.chunks_exact(kernel * kernel) {
        for column in 0..kernel {
            arranged.extend((0..kernel).map(|row| own[tap(row) * kernel + tap(column)]));
        }
    }
    arranged
}

/// A convolution of planes.
struct Pass {
    source: [usize; 2],
    result: [usize; 2],
    kernel: usize,
    /// Source pixels between neighbouring results.
    stride: usize,
    /// Rows that one vector holds, one after the other.
    group: usize,
    /// Groups of rows in a block.
    block: usize,
    /// Where each block reads.
    blocks: Vec<Rows>,
    strips: Vec<Strip>,
}

impl Pass {
    fn new(
        level: Level,
        source: [usize; 2],
        result: [usize; 2],
        kernel: usize,
        stride: usize,
        [rows_padding, columns_padding]: [isize; 2],
    ) -> Self {
        let lanes = level.lanes();
        let width = result[1];
        let grouped = stride == 1 && source[1] == width && 2 * width <= lanes && result[0] > 1;
        let group = if grouped { 2 } else { 1 };
        // With a stride of 2 all taps of a row's strip read from the same two vectors.
        let most = if stride == 2 { lanes - (kernel - 1) / 2 } else { lanes };
        let mut strips = Vec::with_capacity(width.div_ceil(most));
        for first in (0..width).step_by(most) {
            let own = first..width.min(first + most);
            let offset = |tap: isize| (first * stride) as isize + tap - columns_padding;
            let inside = |column: isize| (0..source[1] as isize).contains(&column);
            let taps = if stride == 2 {
                let columns = 0..(2 * (own.len() - 1) + kernel) as isize;
                vec![(offset(0), bits(columns.map(|column| inside(offset(column)))))]
            } else {
                let tap = |tap| {
                    let columns = (0..group).flat_map(|_| 0..own.len() as isize);
                    (offset(tap), bits(columns.map(|column| inside(offset(tap) + column))))
                };
                (0..kernel as isize).map(tap).collect()
            };
            let store = bits((0..group * own.len()).map(|_| true));
            strips.push(Strip { first, store, taps });
        }
        let groups = result[0].div_ceil(group);
        let block = block_of(groups);
        let first_row = |group_at: usize| (group_at * group * stride) as isize - rows_padding;
        let blocks = (0..groups).step_by(block);
        let blocks = blocks.map(|at| Rows::new(first_row(at), source, group)).collect();
        Self { source, result, kernel, stride, group, block, blocks, strips }
    }

    /// All planes' results.
    fn run(
        &self,
        level: Level,
        channels: usize,
        input: &[f32],
        weights: &[f32],
        after: After<'_>,
        len: usize,
    ) -> Vec<f32> {
        let pass = self;
        let task = &Task { input, weights, bias: after.bias, channels };
        fresh(len, self.result[0] * self.result[1], after, |plane, result| {
            for_lanes!(level, convolve(pass: &Pass, task: &Task<'_>, plane: usize, result: &mut [MaybeUninit<f32>]));
        })
    }

    /// A plane of `input`.
    fn plane<'a>(&self, input: &'a [f32], at: usize) -> Plane<'a> {
        let area = self.source[0] * self.source[1];
        Plane { pixels: &input[at * area..][..area], width: self.source[1] }
    }
}

/// What a convolution of planes reads.
struct Task<'a> {
    input: &'a [f32],
    /// Each channel's, column by column.
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    channels: usize,
}

impl Task<'_> {
    /// The weights and the bias of a plane.
    fn of(&self, plane: usize, kernel: usize) -> (&[f32], f32) {
        let channel = plane % self.channels;
        let taps = kernel * kernel;
        let bias = self.bias.map_or(0.0, |bias| bias[channel]);
        (&self.weights[channel * taps..][..taps], bias)
    }
}

/// `len` elements, of which `write` writes some whole planes from the one that it is told on, element by element; `after` is
/// done to them then.
#[allow(unsafe_code)]
fn fresh(
    len: usize,
    plane: usize,
    after: After<'_>,
    write: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync,
) -> Vec<f32> {
    let mut result = Vec::with_capacity(len);
    result.spare_capacity_mut()[..len]
        .par_chunks_mut(plane.max(1) * TOGETHER)
        .enumerate()
        .for_each(|(at, planes)| {
            write(at * TOGETHER, planes);
            // SAFETY: each plane was written from its first to its last element.
            after.finish(at * TOGETHER * plane, unsafe { planes.assume_init_mut() });
        });
    // SAFETY: the planes cover the length, and were written.
    unsafe { result.set_len(len) };
    result
}

/// The groups of rows of a block that waste the fewest.
fn block_of(groups: usize) -> usize {
    let cost = |block: usize| groups.div_ceil(block) * (block + 1);
    if cost(4) < cost(7) { 4 } else { 7 }
}

/// One bit an element, the first one lowest.
fn bits(elements: impl Iterator<Item = bool>) -> u32 {
    elements.enumerate().map(|(at, set)| u32::from(set) << at).sum()
}

/// Calls `$function` for the constants kernel rows, groups a block, row step and column step of `$pass`.
macro_rules! by_shape {
    ($pass:expr, $function:ident::<L>($($argument:expr),*)) => {
        by_shape!(@kernel $pass, $function, ($($argument),*), 3 5 7)
    };
    (@kernel $pass:expr, $function:ident, $arguments:tt, $($kernel:literal)*) => {
        match ($pass.kernel, $pass.block, $pass.group, $pass.stride) {
            $(
                ($kernel, 4, 1, 1) => $function::<L, $kernel, 4, 1, 1> $arguments,
                ($kernel, 4, 2, 1) => $function::<L, $kernel, 4, 2, 1> $arguments,
                ($kernel, 4, 1, 2) => $function::<L, $kernel, 4, 2, 2> $arguments,
                ($kernel, 7, 1, 1) => $function::<L, $kernel, 7, 1, 1> $arguments,
                ($kernel, 7, 2, 1) => $function::<L, $kernel, 7, 2, 1> $arguments,
                ($kernel, 7, 1, 2) => $function::<L, $kernel, 7, 2, 2> $arguments,
            )*
            other => unreachable!("no kernel for {other:?}"),
        }
    };
}

#[inline(always)]
fn convolve<L: Masked>(
    pass: &Pass,
    task: &Task<'_>,
    plane: usize,
    result: &mut [MaybeUninit<f32>],
) {
    by_shape!(pass, convolve_planes::<L>(pass, task, plane, result));
}

#[inline(always)]
#[allow(unsafe_code)]
fn convolve_planes<L: Masked, const K: usize, const R: usize, const G: usize, const S: usize>(
    pass: &Pass,
    task: &Task<'_>,
    first: usize,
    result: &mut [MaybeUninit<f32>],
) {
    let [height, width] = pass.result;
    for (after, result) in result.chunks_exact_mut(height * width).enumerate() {
        let plane = pass.plane(task.input, first + after);
        let (weights, bias) = task.of(first + after, K);
        for (group, rows) in (0..).step_by(R).zip(&pass.blocks) {
            for strip in &pass.strips {
                // SAFETY: the level was detected; masks keep reads inside the plane, writes inside the result.
                unsafe {
                    let mut sums = [L::splat(bias); R];
                    if S == 1 {
                        accumulate::<L, K, R, G>(&mut sums, &plane, rows, &strip.taps, weights);
                    } else {
                        accumulate_halves::<L, K, R>(
                            &mut sums,
                            &plane,
                            rows,
                            strip.taps[0],
                            weights,
                        );
                    }
                    for (place, sums) in sums.iter().enumerate() {
                        let row = (group + place) * pass.group;
                        let mask = strip.store & row_mask(row as isize, pass.group, height, width);
                        if mask != 0 {
                            let to = result.as_mut_ptr().add(row * width + strip.first);
                            sums.store_masked(to.cast(), mask);
                        }
                    }
                }
            }
        }
    }
}

/// What the weight gradient reads.
struct Images<'a> {
    input: &'a [f32],
    gradient: &'a [f32],
    batch: usize,
    channels: usize,
}

#[inline(always)]
fn channel_products<L: Masked>(
    pass: &Pass,
    images: &Images<'_>,
    channel: usize,
    result: &mut [f32],
) {
    by_shape!(pass, product_blocks::<L>(pass, images, channel, result));
}

#[inline(always)]
#[allow(unsafe_code)]
fn product_blocks<L: Masked, const K: usize, const R: usize, const G: usize, const S: usize>(
    pass: &Pass,
    images: &Images<'_>,
    channel: usize,
    result: &mut [f32],
) {
    let [height, width] = pass.result;
    let mut sums: Sums = [[0.0; WIDEST]; 49];
    for image in 0..images.batch {
        let plane = image * images.channels + channel;
        let source = pass.plane(images.input, plane);
        let gradient = &images.gradient[plane * height * width..][..height * width];
        for (group, rows) in (0..).step_by(R).zip(&pass.blocks) {
            for strip in &pass.strips {
                // SAFETY: the level was detected; masks keep reads inside the planes.
                unsafe {
                    let mut factors = [L::splat(0.0); R];
                    for (place, factor) in factors.iter_mut().enumerate() {
                        let row = (group + place) * pass.group;
                        let mask = strip.store & row_mask(row as isize, pass.group, height, width);
                        if mask != 0 {
                            let from = gradient.as_ptr().add(row * width + strip.first);
                            *factor = L::load_masked(from, mask);
                        }
                    }
                    if S == 1 {
                        accumulate_products::<L, K, R, G>(
                            &mut sums,
                            &factors,
                            &source,
                            rows,
                            &strip.taps,
                        );
                    } else {
                        accumulate_half_products::<L, K, R>(
                            &mut sums,
                            &factors,
                            &source,
                            rows,
                            strip.taps[0],
                        );
                    }
                }
            }
        }
    }
    for (column, sums) in sums.chunks_exact(K).take(K).enumerate() {
        for (row, lanes) in sums.iter().enumerate() {
            // SAFETY: a place holds the widest vector; the level was detected.
            result[row * K + column] = unsafe { sum(L::load(lanes.as_ptr())) };
        }
    }
}

/// The input's gradient under stride 2: pixels whose rows and columns are both even, both odd or mixed meet different
/// taps, and each of the four sets is a convolution of the gradient with stride 1.
fn spread(level: Level, shape: &ConvShape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    let kernel = shape.kernel[0];
    let source = shape.output();
    let [height, width] = shape.input;
    if shape.input_len() == 0 {
        return Vec::new();
    }
    let rows = &[0, 1].map(|odd| Parity::new(odd, height, shape.padding[0], kernel));
    let blocks = &rows.each_ref().map(|rows| rows.blocks(source));
    let columns = [0, 1].map(|odd| Parity::new(odd, width, shape.padding[1], kernel));
    let lanes = level.lanes();
    let mut strips = Vec::new();
    for first in (0..width.div_ceil(2)).step_by(lanes) {
        let count = lanes.min(width.div_ceil(2) - first);
        let taps = columns.each_ref().map(|columns| {
            (0..columns.count as isize)
                .map(|tap| {
                    let from = first as isize + columns.first + tap;
                    let inside = |lane| (0..source[1] as isize).contains(&(from + lane));
                    (from, bits((0..count as isize).map(inside)))
                })
                .collect()
        });
        let stores =
            [0, lanes].map(|later| bits((0..lanes).map(|lane| 2 * first + later + lane < width)));
        strips.push(Pairs { first: 2 * first, stores, taps });
    }
    let strips = &strips;
    // Of each channel: the four sets' weights one after the other, each column by column, in the order of the source.
    let mut arranged = Vec::with_capacity(weight.len());
    for own in weight.chunks_exact(kernel * kernel) {
        for rows in rows {
            for columns in &columns {
                for column in columns.taps() {
                    arranged.extend(rows.taps().map(|row| own[row * kernel + column]));
                }
            }
        }
    }
    let area = source[0] * source[1];
    fresh(shape.input_len(), height * width, After::default(), |first, result| {
        for (after, result) in result.chunks_exact_mut(height * width).enumerate() {
            let plane = first + after;
            let weights = &arranged[plane % shape.channels * kernel * kernel..][..kernel * kernel];
            let pixels = &gradient[plane * area..][..area];
            let image = &Plane { pixels, width: source[1] };
            let columns = width;
            for_lanes!(level, spread_plane(image: &Plane<'_>, rows: &[Parity; 2], blocks: &[Vec<Rows>; 2], strips: &[Pairs], weights: &[f32], columns: usize, result: &mut [MaybeUninit<f32>]));
        }
    })
}

/// The taps that pixels meet whose row (or column) is even, or odd.
struct Parity {
    odd: usize,
    /// How many such pixels there are, and how many make a block.
    pixels: usize,
    block: usize,
    /// The kernel's first such tap; the others follow two apart.
    tap: usize,
    count: usize,
    /// Where the last tap reads, from half the pixel's row on.
    first: isize,
}

impl Parity {
    /// Of `side` rows (or columns), one at least.
    fn new(odd: usize, side: usize, padding: usize, kernel: usize) -> Self {
        let pixels = (side - odd).div_ceil(2);
        let tap = (odd + padding) % 2;
        let count = (kernel - tap).div_ceil(2);
        let first = (odd + padding - tap) as isize / 2 - (count as isize - 1);
        Self { odd, pixels, block: block_of(pixels), tap, count, first }
    }

    /// Where each block of such rows reads.
    fn blocks(&self, source: [usize; 2]) -> Vec<Rows> {
        let firsts = (0..self.pixels).step_by(self.block);
        firsts.map(|first| Rows::new(first as isize + self.first, source, 1)).collect()
    }

    /// In the order of the source.
    fn taps(&self) -> impl Iterator<Item = usize> {
        (0..self.count).rev().map(|at| self.tap + 2 * at)
    }
}

/// Neighbouring columns of pixels, those of even and of odd ones computed apart.
struct Pairs {
    first: usize,
    stores: [u32; 2],
    taps: [Vec<(isize, u32)>; 2],
}

#[inline(always)]
fn spread_plane<L: Masked>(
    image: &Plane<'_>,
    rows: &[Parity; 2],
    blocks: &[Vec<Rows>; 2],
    strips: &[Pairs],
    weights: &[f32],
    columns: usize,
    result: &mut [MaybeUninit<f32>],
) {
    let kernel: usize = rows.iter().map(|rows| rows.count).sum();
    let mut from = 0;
    for (rows, blocks) in rows.iter().zip(blocks) {
        let weights = &weights[from..][..rows.count * kernel];
        from += rows.count * kernel;
        macro_rules! by_taps_and_block {
            ($(($taps:literal, $block:literal))*) => {
                match (rows.count, rows.block) {
                    $(($taps, $block) => {
                        spread_rows::<L, $taps, $block>(
                            image, rows, blocks, strips, weights, columns, result,
                        );
                    })*
                    other => unreachable!("no kernel for {other:?}"),
                }
            };
        }
        by_taps_and_block!((1, 4)(2, 4)(3, 4)(4, 4)(1, 7)(2, 7)(3, 7)(4, 7));
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn spread_rows<L: Masked, const K: usize, const R: usize>(
    image: &Plane<'_>,
    rows: &Parity,
    blocks: &[Rows],
    strips: &[Pairs],
    weights: &[f32],
    columns: usize,
    result: &mut [MaybeUninit<f32>],
) {
    for (first, reads) in (0..).step_by(R).zip(blocks) {
        for strip in strips {
            let (even, odd) = weights.split_at(strip.taps[0].len() * K);
            // SAFETY: the level was detected; masks keep reads inside the image and writes inside the result.
            unsafe {
                let mut evens = [L::splat(0.0); R];
                accumulate::<L, K, R, 1>(&mut evens, image, reads, &strip.taps[0], even);
                let mut odds = [L::splat(0.0); R];
                accumulate::<L, K, R, 1>(&mut odds, image, reads, &strip.taps[1], odd);
                for (place, (even, odd)) in
                    evens.iter().zip(&odds).enumerate().take(rows.pixels - first)
                {
                    let row = 2 * (first + place) + rows.odd;
                    let to = result.as_mut_ptr().add(row * columns + strip.first).cast::<f32>();
                    let (near, far) = even.interleave(*odd);
                    near.store_masked(to, strip.stores[0]);
                    if strip.stores[1] != 0 {
                        far.store_masked(to.add(L::LANES), strip.stores[1]);
                    }
                }
            }
        }
    }
}
