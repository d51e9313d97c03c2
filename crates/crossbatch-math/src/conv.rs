//! Two-dimensional convolution and its gradients, images in `[N, C, H, W]`, weights in `[O, C, kH, kW]`.
//!
//! Cost: `2 · N · O · C · kH · kW · outH · outW` operations for the forward pass and as many for each
//! gradient. No patch matrix is built: every pass copies an image once with its padding, and the inner
//! loops keep a tile of results in registers while they read that copy at one offset a tap.
//!
//! Every element is summed in an order that depends on the shapes only, so results are the same to the
//! bit for any number of threads. Work is shared over rayon's current pool.

mod planes;
mod scratch;
mod tile;

use crate::lanes::{self, Level};
use planes::Planes;
use rayon::prelude::*;
use scratch::Use;
use tile::{GradientTile, GradientWork, Job, Product};

/// Laid out images that one task works on at a time (elements): they share the second-level cache
/// with the weights.
const CHUNK: usize = 64 * 1024;

/// Prepared images of the weight gradient that are in memory at a time (elements).
const GROUP: usize = 512 * 1024;

/// Sizes of a convolution. Dilation and groups are 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Input channels.
    pub channels: usize,
    /// Output channels.
    pub filters: usize,
    /// Rows and columns of an input image.
    pub input: [usize; 2],
    /// Rows and columns of a kernel.
    pub kernel: [usize; 2],
    /// Steps between outputs.
    pub stride: [usize; 2],
    /// Zero rows and columns added at every side.
    pub padding: [usize; 2],
}

impl ConvShape {
    /// Rows and columns of an output image.
    ///
    /// # Panics
    ///
    /// If a stride or a kernel side is zero, or the kernel is larger than the padded input.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|axis| {
            let padded = self.input[axis] + 2 * self.padding[axis];
            assert!(
                self.stride[axis] > 0 && self.kernel[axis] > 0,
                "stride {} and kernel {} must not be zero",
                self.stride[axis],
                self.kernel[axis]
            );
            assert!(
                padded >= self.kernel[axis],
                "kernel of {} is larger than the padded input of {padded}",
                self.kernel[axis]
            );
            (padded - self.kernel[axis]) / self.stride[axis] + 1
        })
    }

    /// Elements of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.batch * self.channels * self.input[0] * self.input[1]
    }

    /// Elements of the weights.
    #[must_use]
    pub fn weight_len(&self) -> usize {
        self.filters * self.channels * self.kernel[0] * self.kernel[1]
    }

    /// Elements of the output.
    ///
    /// # Panics
    ///
    /// As [`ConvShape::output`].
    #[must_use]
    pub fn output_len(&self) -> usize {
        let output = self.output();
        self.batch * self.filters * output[0] * output[1]
    }
}

/// The convolution of `input` with `weight`, plus a `bias` for each filter.
///
/// # Panics
///
/// If a slice's length differs from the shape's, or as [`ConvShape::output`].
#[must_use]
pub fn forward(shape: &ConvShape, input: &[f32], weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    forward_at(Level::detect(), shape, input, weight, bias)
}

fn forward_at(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
) -> Vec<f32> {
    assert_len("input", input.len(), shape.input_len());
    assert_len("weight", weight.len(), shape.weight_len());
    if let Some(bias) = bias {
        assert_len("bias", bias.len(), shape.filters);
    }
    let output = shape.output();
    let planes = Planes::of_input(shape.input, output, shape.kernel, shape.stride, shape.padding);
    let taps = shape.kernel[0] * shape.kernel[1];
    let weights =
        pack(level, shape.filters, shape.channels, &planes.kernel_taps, |filter, channel, tap| {
            weight[(filter * shape.channels + channel) * taps + tap]
        });
    let mut result = Vec::with_capacity(shape.output_len());
    let place = Place {
        batch: shape.batch,
        sources: shape.channels,
        results: shape.filters,
        size: output,
        first: [0, 0],
        step: [1, 1],
    };
    multiply(level, &planes, &place, input, &weights, bias, &mut result);
    finish(result, shape.output_len())
}

/// The gradient of the input, from the output's `gradient`.
///
/// # Panics
///
/// If a slice's length differs from the shape's, or as [`ConvShape::output`].
#[must_use]
pub fn input_gradient(shape: &ConvShape, gradient: &[f32], weight: &[f32]) -> Vec<f32> {
    input_gradient_at(Level::detect(), shape, gradient, weight)
}

fn input_gradient_at(
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    assert_len("gradient", gradient.len(), shape.output_len());
    assert_len("weight", weight.len(), shape.weight_len());
    let output = shape.output();
    let taps = shape.kernel[0] * shape.kernel[1];
    let mut result = Vec::with_capacity(shape.input_len());
    // Input pixels with the same residue (y + padding) mod stride meet the same taps.
    for row in 0..shape.stride[0] {
        for column in 0..shape.stride[1] {
            let residue = [row, column];
            let first_output = [0, 1].map(|axis| {
                shape.padding[axis].saturating_sub(residue[axis]).div_ceil(shape.stride[axis])
            });
            let first = [0, 1].map(|axis| {
                first_output[axis] * shape.stride[axis] + residue[axis] - shape.padding[axis]
            });
            let grid = [0, 1].map(|axis| {
                shape.input[axis].saturating_sub(first[axis]).div_ceil(shape.stride[axis])
            });
            if grid[0] == 0 || grid[1] == 0 {
                continue;
            }
            let planes = Planes::of_gradient(
                output,
                grid,
                first_output,
                shape.kernel,
                shape.stride,
                residue,
            );
            let weights = pack(
                level,
                shape.channels,
                shape.filters,
                &planes.kernel_taps,
                |channel, filter, tap| weight[(filter * shape.channels + channel) * taps + tap],
            );
            let place = Place {
                batch: shape.batch,
                sources: shape.filters,
                results: shape.channels,
                size: shape.input,
                first,
                step: shape.stride,
            };
            multiply(level, &planes, &place, gradient, &weights, None, &mut result);
        }
    }
    finish(result, shape.input_len())
}

/// The gradient of the weights, from the input and the output's `gradient`.
///
/// # Panics
///
/// If a slice's length differs from the shape's, or as [`ConvShape::output`].
#[must_use]
pub fn weight_gradient(shape: &ConvShape, input: &[f32], gradient: &[f32]) -> Vec<f32> {
    weight_gradient_at(Level::detect(), shape, input, gradient)
}

fn weight_gradient_at(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    assert_len("input", input.len(), shape.input_len());
    assert_len("gradient", gradient.len(), shape.output_len());
    let output = shape.output();
    let positions = output[0] * output[1];
    let planes = Planes::of_input(shape.input, output, shape.kernel, shape.stride, shape.padding);
    let tile = GradientTile::choose(level, shape.filters);
    let block = tile.filters();
    let blocks = shape.filters.div_ceil(block);
    let terms = planes.offsets(shape.channels);
    let mut offsets = terms.clone();
    offsets.resize(terms.len().next_multiple_of(tile.taps), 0);

    // Terms are shared out in pieces; where they are few, the images are dealt to a fixed number of
    // partial sums as well. Neither knows the number of threads.
    let piece = (offsets.len() / tile.taps).div_ceil(12).clamp(1, 16) * tile.taps;
    let pieces = offsets.len().div_ceil(piece);
    let partials = (8 / (pieces * blocks).max(1)).clamp(1, shape.batch.clamp(1, 8));

    let planes_len = shape.channels * planes.channel_len();
    let gradient_len = positions * block * blocks;
    let image_len = (planes_len + gradient_len).next_multiple_of(16);
    let group = (GROUP / image_len.max(1)).max(partials).min(shape.batch.max(1));
    let row_block = (96 / output[1].max(1)).max(1);
    let part_len = offsets.len() * block;
    let sums_len = partials * blocks * part_len;
    if shape.weight_len() == 0 {
        return Vec::new();
    }

    scratch::with(Use::Sums, sums_len, |sums| {
        sums.fill(0.0);
        scratch::with(Use::Group, group * image_len, |prepared| {
            for first in (0..shape.batch).step_by(group) {
                let images = group.min(shape.batch - first);
                let prepared = &mut prepared[..images * image_len];
                prepared.par_chunks_exact_mut(image_len).enumerate().for_each(
                    |(image, prepared)| {
                        let image = first + image;
                        let input_len = shape.channels * shape.input[0] * shape.input[1];
                        let (image_planes, rest) = prepared.split_at_mut(planes_len);
                        planes.fill(&input[image * input_len..][..input_len], image_planes);
                        let filters = &gradient[image * shape.filters * positions..]
                            [..shape.filters * positions];
                        for (index, block_out) in
                            rest[..gradient_len].chunks_exact_mut(positions * block).enumerate()
                        {
                            let from = index * block;
                            let to = shape.filters.min(from + block);
                            let rows = &filters[from * positions..to * positions];
                            transpose(level, rows, positions, block, block_out);
                        }
                    },
                );
                let prepared = &*prepared;
                sums.par_chunks_mut(part_len)
                    .enumerate()
                    .flat_map(|(part, sums)| {
                        sums.par_chunks_mut(piece * block)
                            .enumerate()
                            .map(move |(piece, sums)| (part, piece, sums))
                    })
                    .for_each(|(part, index, sums)| {
                        let (partial, filters) = (part / blocks, part % blocks);
                        let offsets = &offsets[index * piece..];
                        let offsets = &offsets[..piece.min(offsets.len())];
                        for image in
                            (0..images).filter(|image| (first + image) % partials == partial)
                        {
                            let image = &prepared[image * image_len..][..image_len];
                            let (image_planes, rest) = image.split_at(planes_len);
                            GradientWork {
                                planes: image_planes,
                                width: planes.width(),
                                offsets,
                                rows: output[0],
                                columns: output[1],
                                row_block,
                                gradient: &rest[filters * positions * block..][..positions * block],
                            }
                            .run(level, tile, sums);
                        }
                    });
            }
        });
        let mut result = vec![0.0; shape.weight_len()];
        let terms = terms.len();
        for part in sums.chunks_exact(blocks * part_len) {
            for (filter, row) in result.chunks_exact_mut(terms).enumerate() {
                let part = &part[filter / block * part_len + filter % block..];
                for (value, sum) in row.iter_mut().zip(part.iter().step_by(block)) {
                    *value += sum;
                }
            }
        }
        result
    })
}

/// Where results go: pixel `(y, x)` of a grid is `first + (y, x) * step` of an image of `size`.
struct Place {
    batch: usize,
    sources: usize,
    results: usize,
    size: [usize; 2],
    first: [usize; 2],
    step: [usize; 2],
}

/// Weights by block of filters, then term, then filter; missing filters of the last block are zero.
fn pack(
    level: Level,
    filters: usize,
    channels: usize,
    taps: &[usize],
    weight: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> Vec<f32> {
    let block = level.filters();
    let terms = channels * taps.len();
    let mut packed = vec![0.0; filters.next_multiple_of(block) * terms];
    if terms == 0 {
        return packed;
    }
    packed
        .par_chunks_exact_mut(block * terms)
        .with_min_len((16 * 1024 / (block * terms)).max(1))
        .enumerate()
        .for_each(|(index, packed)| {
            for lane in 0..block.min(filters - index * block) {
                let filter = index * block + lane;
                let mut slots = packed[lane..].iter_mut().step_by(block);
                for channel in 0..channels {
                    for (tap, slot) in taps.iter().zip(&mut slots) {
                        *slot = weight(filter, channel, *tap);
                    }
                }
            }
        });
    packed
}

/// A pointer that tasks share; each writes elements of its own.
#[derive(Clone, Copy)]
struct Shared(*mut f32);

// SAFETY: `multiply` gives every task its own images and filters.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

impl Shared {
    /// The pointer (a method, so that closures capture the whole wrapper).
    fn get(self) -> *mut f32 {
        self.0
    }
}

/// Computes all images and results of one grid into the capacity of `result`.
#[allow(unsafe_code)]
fn multiply(
    level: Level,
    planes: &Planes,
    place: &Place,
    source: &[f32],
    weights: &[f32],
    bias: Option<&[f32]>,
    result: &mut Vec<f32>,
) {
    let area = place.size[0] * place.size[1];
    let grid = planes.output[0] * planes.output[1];
    assert!(result.capacity() >= place.batch * place.results * area);
    if place.batch * place.results * grid == 0 {
        return;
    }
    let dense = place.step == [1, 1];
    debug_assert!(!dense || grid == area);
    let offsets = planes.offsets(place.sources);
    let spans = planes.spans(level.lanes());
    let source_len = source.len() / place.batch;
    let planes_len = place.sources * planes.channel_len();

    // Neither the images of a task nor its filters change any sum, so they may follow the threads.
    let threads = rayon::current_num_threads();
    let images = (CHUNK / planes_len.max(1)).clamp(1, place.batch.div_ceil(4 * threads).max(1));
    let chunks = place.batch.div_ceil(images);
    let filter_blocks = place.results.div_ceil(level.filters());
    let splits = if threads > 1 && chunks < 2 * threads {
        (2 * threads).div_ceil(chunks).min(filter_blocks)
    } else {
        1
    };
    let split = filter_blocks.div_ceil(splits) * level.filters();
    let tasks = chunks * splits;

    let output = Shared(result.as_mut_ptr());
    (0..tasks).into_par_iter().for_each(|task| {
        let first = task / splits * images;
        let images = images.min(place.batch - first);
        let from = task % splits * split;
        let filters = from.min(place.results)..(from + split).min(place.results);
        if filters.is_empty() {
            return;
        }
        scratch::with(Use::Planes, images * planes_len + level.lanes(), |laid| {
            for image in 0..images {
                planes.fill(
                    &source[(first + image) * source_len..][..source_len],
                    &mut laid[image * planes_len..][..planes_len],
                );
            }
            laid[images * planes_len..].fill(0.0);
            let image_len = place.results * grid;
            let jobs: Vec<Job> = (0..images)
                .flat_map(|image| {
                    spans.iter().map(move |span| Job {
                        planes: image * planes_len + span.start,
                        mask: span.mask,
                        output: image * image_len + span.output,
                    })
                })
                .collect();
            let product = Product {
                planes: laid,
                offsets: &offsets,
                channels: place.sources * planes.count(),
                weights,
                bias,
                filters: filters.clone(),
                jobs: &jobs,
                filter_stride: grid,
            };
            if dense {
                // SAFETY: the result has room for all images, and this task alone writes these
                // images' `filters`.
                unsafe { product.run(level, output.get().add(first * image_len)) };
                return;
            }
            scratch::with(Use::Result, images * image_len, |dense| {
                // SAFETY: the buffer holds the grids of all results of these images.
                unsafe { product.run(level, dense.as_mut_ptr()) };
                for image in 0..images {
                    for filter in filters.clone() {
                        let grid = &dense[(image * place.results + filter) * grid..][..grid];
                        let to = ((first + image) * place.results + filter) * area;
                        for (y, row) in grid.chunks_exact(planes.output[1]).enumerate() {
                            let start = to
                                + (place.first[0] + y * place.step[0]) * place.size[1]
                                + place.first[1];
                            for (x, value) in row.iter().enumerate() {
                                // SAFETY: the grid's pixels lie inside the image of `size`, which
                                // is this task's alone.
                                unsafe {
                                    output.get().add(start + x * place.step[1]).write(*value)
                                };
                            }
                        }
                    }
                }
            });
        });
    });
}

/// Takes a result whose capacity was written.
#[allow(unsafe_code)]
fn finish(mut result: Vec<f32>, len: usize) -> Vec<f32> {
    assert!(result.capacity() >= len);
    // SAFETY: the grids of `multiply` cover every pixel of every image and filter.
    unsafe { result.set_len(len) };
    result
}

/// Turns rows of `positions` into one block of `block` values a position, zero beyond the rows.
fn transpose(level: Level, rows: &[f32], positions: usize, block: usize, out: &mut [f32]) {
    #[inline(always)]
    fn body(rows: &[f32], positions: usize, block: usize, out: &mut [f32]) {
        const SIDE: usize = 16;
        let count = rows.len() / positions;
        for start in (0..positions).step_by(SIDE) {
            let width = SIDE.min(positions - start);
            for first in (0..block).step_by(SIDE) {
                let height = SIDE.min(block - first);
                if width == SIDE && height == SIDE && first + SIDE <= count {
                    let mut square = [[0.0f32; SIDE]; SIDE];
                    for (row, line) in square.iter_mut().enumerate() {
                        line.copy_from_slice(&rows[(first + row) * positions + start..][..SIDE]);
                    }
                    for column in 0..SIDE {
                        let to = &mut out[(start + column) * block + first..][..SIDE];
                        for row in 0..SIDE {
                            to[row] = square[row][column];
                        }
                    }
                } else {
                    for column in 0..width {
                        for row in first..first + height {
                            out[(start + column) * block + row] = if row < count {
                                rows[row * positions + start + column]
                            } else {
                                0.0
                            };
                        }
                    }
                }
            }
        }
    }
    lanes::for_level!(level, body(rows: &[f32], positions: usize, block: usize, out: &mut [f32]));
}

fn assert_len(what: &str, found: usize, expected: usize) {
    assert_eq!(found, expected, "{what} has {found} elements, its shape {expected}");
}

#[cfg(test)]
mod tests;
