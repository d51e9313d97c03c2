//! The general path: any kernel, stride, padding, dilation and groups, over images laid out for the taps.

use super::after::After;
use super::planes::Planes;
use super::scratch::{self, Use};
use super::shape::{ConvShape, Residue};
use super::strip::{self, StripProduct, Strips};
use super::tile::{GradientTile, GradientWork, Product, Stretch};
use super::weights::{Weights, transpose};
use crate::lanes::Level;
use crate::product::Shared;
use rayon::prelude::*;
use std::ops::Range;

/// Laid out images that one task works on at a time (elements): they share the second-level cache
/// with the weights.
const CHUNK: usize = 64 * 1024;

/// Prepared images of the weight gradient that are in memory at a time (elements).
const GROUP: usize = 512 * 1024;

/// How the products are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    /// A vector of filters by neighbouring pixels: for 32 registers.
    Strips,
    /// Vectors of pixels by some filters. With 16 registers strips are so short that they wait for the second-level cache.
    Tiles,
}

impl Engine {
    fn best(level: Level) -> Self {
        match level {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => Self::Strips,
            _ => Self::Tiles,
        }
    }

    /// Filters whose weights lie together.
    fn block(self, level: Level) -> usize {
        match self {
            Self::Strips => level.lanes(),
            Self::Tiles => level.filters(),
        }
    }
}

pub(super) fn forward(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    after: After<'_>,
) -> Vec<f32> {
    forward_by(Engine::best(level), level, shape, input, weight, after)
}

pub(super) fn forward_by(
    engine: Engine,
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    after: After<'_>,
) -> Vec<f32> {
    let output = shape.output();
    let planes = Planes::of_input(shape);
    let taps = shape.kernel[0] * shape.kernel[1];
    let (channels, filters) = (shape.group_channels(), shape.group_filters());
    let mut result = Vec::with_capacity(shape.output_len());
    for group in 0..shape.groups {
        let weight = &weight[shape.group_weights(group)];
        let weights = Weights { values: weight, result: channels * taps, source: taps };
        let weights =
            weights.pack(level, engine.block(level), filters, channels, &planes.kernel_taps);
        let place = Place {
            batch: shape.batch,
            all_sources: shape.channels,
            sources: group * channels..(group + 1) * channels,
            all_results: shape.filters,
            results: group * filters..(group + 1) * filters,
            size: output,
            first: [0, 0],
            step: [1, 1],
        };
        multiply(engine, level, &planes, &place, input, &weights, after, &mut result);
    }
    finish(result, shape.output_len())
}

pub(super) fn input_gradient(
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    input_gradient_by(Engine::best(level), level, shape, gradient, weight)
}

pub(super) fn input_gradient_by(
    engine: Engine,
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let taps = shape.kernel[0] * shape.kernel[1];
    let (channels, filters) = (shape.group_channels(), shape.group_filters());
    let mut result = Vec::with_capacity(shape.input_len());
    for Residue { residue, first_output, first, grid } in shape.residues() {
        let planes = Planes::of_gradient(shape, grid, first_output, residue);
        for group in 0..shape.groups {
            let weight = &weight[shape.group_weights(group)];
            let weights = Weights { values: weight, result: taps, source: channels * taps };
            let weights =
                weights.pack(level, engine.block(level), channels, filters, &planes.kernel_taps);
            let place = Place {
                batch: shape.batch,
                all_sources: shape.filters,
                sources: group * filters..(group + 1) * filters,
                all_results: shape.channels,
                results: group * channels..(group + 1) * channels,
                size: shape.input,
                first,
                step: shape.stride,
            };
            let after = After::default();
            multiply(engine, level, &planes, &place, gradient, &weights, after, &mut result);
        }
    }
    finish(result, shape.input_len())
}

pub(super) fn weight_gradient(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let mut result = vec![0.0; shape.weight_len()];
    for group in 0..shape.groups {
        let weights = &mut result[shape.group_weights(group)];
        group_weight_gradient(level, shape, group, input, gradient, weights);
    }
    result
}

fn group_weight_gradient(
    level: Level,
    shape: &ConvShape,
    group: usize,
    input: &[f32],
    gradient: &[f32],
    result: &mut [f32],
) {
    let (group_channels, group_filters) = (shape.group_channels(), shape.group_filters());
    let (input_skip, gradient_skip) = (group * group_channels, group * group_filters);
    let output = shape.output();
    let positions = output[0] * output[1];
    let planes = Planes::of_input(shape);
    let tile = GradientTile::choose(level, group_filters);
    let block = tile.filters();
    let blocks = group_filters.div_ceil(block);
    let terms = planes.offsets(group_channels);
    let mut offsets = terms.clone();
    offsets.resize(terms.len().next_multiple_of(tile.taps), 0);

    // Terms are shared out in pieces; where they are few, the images are dealt to a fixed number of
    // partial sums as well. Neither knows the number of threads.
    let piece = (offsets.len() / tile.taps).div_ceil(12).clamp(1, 16) * tile.taps;
    let pieces = offsets.len().div_ceil(piece);
    let partials = (8 / (pieces * blocks).max(1)).clamp(1, shape.batch.clamp(1, 8));

    let planes_len = group_channels * planes.channel_len();
    let gradient_len = positions * block * blocks;
    let image_len = (planes_len + gradient_len).next_multiple_of(16);
    let held = (GROUP / image_len.max(1)).max(partials).min(shape.batch.max(1));
    let row_block = (96 / output[1].max(1)).max(1);
    let part_len = offsets.len() * block;
    let sums_len = partials * blocks * part_len;
    if result.is_empty() {
        return;
    }

    scratch::with(Use::Sums, sums_len, |sums| {
        sums.fill(0.0);
        scratch::with(Use::Group, held * image_len, |prepared| {
            for first in (0..shape.batch).step_by(held) {
                let images = held.min(shape.batch - first);
                let prepared = &mut prepared[..images * image_len];
                prepared.par_chunks_exact_mut(image_len).enumerate().for_each(
                    |(image, prepared)| {
                        let image = first + image;
                        let area = shape.input[0] * shape.input[1];
                        let (image_planes, rest) = prepared.split_at_mut(planes_len);
                        let skip = (image * shape.channels + input_skip) * area;
                        planes.fill(level, &input[skip..][..group_channels * area], image_planes);
                        let filters = &gradient
                            [(image * shape.filters + gradient_skip) * positions..]
                            [..group_filters * positions];
                        for (index, block_out) in
                            rest[..gradient_len].chunks_exact_mut(positions * block).enumerate()
                        {
                            let from = index * block;
                            let to = group_filters.min(from + block);
                            let rows = &filters[from * positions..];
                            transpose(level, rows, to - from, positions, block, block_out);
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
        let terms = terms.len();
        for part in sums.chunks_exact(blocks * part_len) {
            for (filter, row) in result.chunks_exact_mut(terms).enumerate() {
                let part = &part[filter / block * part_len + filter % block..];
                for (value, sum) in row.iter_mut().zip(part.iter().step_by(block)) {
                    *value += sum;
                }
            }
        }
    });
}

/// Where results go: pixel `(y, x)` of a grid is `first + (y, x) * step` of an image of `size`.
struct Place {
    batch: usize,
    /// Planes of a source image, and the range of them that is summed.
    all_sources: usize,
    sources: Range<usize>,
    /// Planes of a result image, and the range of them that is written.
    all_results: usize,
    results: Range<usize>,
    size: [usize; 2],
    first: [usize; 2],
    step: [usize; 2],
}

/// Computes all images and results of one grid into the capacity of `result`.
#[allow(unsafe_code, clippy::too_many_arguments)]
fn multiply(
    engine: Engine,
    level: Level,
    planes: &Planes,
    place: &Place,
    source: &[f32],
    weights: &[f32],
    after: After<'_>,
    result: &mut Vec<f32>,
) {
    let area = place.size[0] * place.size[1];
    let grid = planes.output[0] * planes.output[1];
    let (sources, results) = (place.sources.len(), place.results.len());
    assert!(result.capacity() >= place.batch * place.all_results * area);
    if place.batch * results * grid == 0 {
        return;
    }
    let dense = place.step == [1, 1];
    debug_assert!(!dense || grid == area);
    let source_area = source.len() / place.batch / place.all_sources.max(1);
    let planes_len = sources * planes.channel_len();

    // Neither the images of a task nor its filters change any sum, so they may follow the threads: each gets as many tasks
    // as the others, two at least.
    let threads = rayon::current_num_threads();
    let images = (CHUNK / planes_len.max(1)).max(strip::least_images(planes));
    let chunks = (place.batch / images / threads * threads).max(2 * threads);
    let images = place.batch.div_ceil(chunks);
    let chunks = place.batch.div_ceil(images);
    let filter_blocks = results.div_ceil(engine.block(level));
    let splits = if threads > 1 && chunks < 2 * threads {
        (2 * threads).div_ceil(chunks).min(filter_blocks)
    } else {
        1
    };
    let split = filter_blocks.div_ceil(splits) * engine.block(level);
    let tasks = chunks * splits;

    let output = Shared::of_capacity(result);
    (0..tasks).into_par_iter().for_each(|task| {
        let first = task / splits * images;
        let images = images.min(place.batch - first);
        let from = task % splits * split;
        let filters = from.min(results)..(from + split).min(results);
        if filters.is_empty() {
            return;
        }
        scratch::with(Use::Planes, images * planes_len + strip::BEHIND, |laid| {
            for image in 0..images {
                planes.fill(
                    level,
                    &source[((first + image) * place.all_sources + place.sources.start)
                        * source_area..][..sources * source_area],
                    &mut laid[image * planes_len..][..planes_len],
                );
            }
            laid[images * planes_len..].fill(0.0);
            let image_len = if dense { place.all_results } else { results } * grid;
            let product = Grids {
                planes,
                images,
                planes_len,
                image_len,
                laid,
                sources,
                weights,
                bias: after.bias.map(|bias| &bias[place.results.clone()]),
                filters: filters.clone(),
            };
            if dense {
                let at = first * image_len + place.results.start * area;
                let reach = (images - 1) * image_len + filters.end * area;
                // SAFETY: the result has room, and this task alone writes these images' `filters`.
                unsafe { product.multiply(engine, level, output.pointer(at, reach)) };
                for image in first..first + images {
                    let filter = place.results.start + filters.start;
                    let at = image * image_len + filter * area;
                    output.change(at, filters.len() * area, |values| after.finish(at, values));
                }
                return;
            }
            scratch::with(Use::Result, images * image_len, |dense| {
                // SAFETY: the buffer holds the grids of all results of these images.
                unsafe { product.multiply(engine, level, dense.as_mut_ptr()) };
                for image in 0..images {
                    for filter in filters.clone() {
                        let grid = &dense[(image * results + filter) * grid..][..grid];
                        let to =
                            ((first + image) * place.all_results + place.results.start + filter)
                                * area;
                        for (y, row) in grid.chunks_exact(planes.output[1]).enumerate() {
                            let start = to
                                + (place.first[0] + y * place.step[0]) * place.size[1]
                                + place.first[1];
                            let reach = (row.len() - 1) * place.step[1] + 1;
                            let to = output.pointer(start, reach);
                            for (x, value) in row.iter().enumerate() {
                                // SAFETY: inside the row that was just checked, whose image is this task's alone.
                                unsafe { to.add(x * place.step[1]).write(*value) };
                            }
                        }
                    }
                }
            });
        });
    });
}

/// The products of one task: the output grids of some laid out images for some filters.
struct Grids<'a> {
    planes: &'a Planes,
    images: usize,
    /// Distance of an image's planes, and of its outputs, from its predecessor's.
    planes_len: usize,
    image_len: usize,
    laid: &'a [f32],
    sources: usize,
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    filters: Range<usize>,
}

impl Grids<'_> {
    /// Writes the grids, with the bias, to `output`.
    ///
    /// # Safety
    ///
    /// `output` must be valid for the grids of all filters of all images, and nothing else may access those of `filters`
    /// meanwhile.
    #[allow(unsafe_code)]
    unsafe fn multiply(&self, engine: Engine, level: Level, output: *mut f32) {
        let Self { planes, images, planes_len, image_len, weights, .. } = *self;
        let [rows, columns] = planes.output;
        let grid = rows * columns;
        if engine == Engine::Strips {
            let product = StripProduct {
                planes: self.laid,
                channels: self.sources,
                channel_len: planes.channel_len(),
                taps: &planes.taps,
                weights,
                bias: self.bias,
                filters: self.filters.clone(),
                strips: &Strips::new(planes, images, planes_len, image_len),
                filter_stride: grid,
            };
            // SAFETY: the caller's promise.
            return unsafe { product.run(level, output) };
        }
        let offsets = planes.offsets(self.sources);
        let stretches: Vec<Stretch> = (0..images * rows)
            .map(|row| (row / rows, row % rows))
            .map(|(image, y)| Stretch {
                planes: image * planes_len + y * planes.width(),
                output: image * image_len + y * columns,
                len: columns,
            })
            .collect();
        let product = Product {
            planes: self.laid,
            offsets: &offsets,
            weights,
            filters: self.filters.clone(),
            stretches: &stretches,
            filter_stride: grid,
        };
        // SAFETY: the caller's promise.
        unsafe { product.run(level, output) };
        let Some(bias) = self.bias else { return };
        for image in 0..images {
            for filter in self.filters.clone() {
                // SAFETY: written by `run`, and the caller's promise.
                let values = unsafe {
                    let at = output.add(image * image_len + filter * grid);
                    std::slice::from_raw_parts_mut(at, grid)
                };
                values.iter_mut().for_each(|value| *value += bias[filter]);
            }
        }
    }
}

/// Takes a result whose capacity was written.
#[allow(unsafe_code)]
fn finish(mut result: Vec<f32>, len: usize) -> Vec<f32> {
    assert!(result.capacity() >= len);
    // SAFETY: the grids of `multiply` cover every pixel of every image and filter.
    unsafe { result.set_len(len) };
    result
}
