//! 3x3 kernels with stride 1 by Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, CVPR 2016): 16 products for
//! 2 x 2 outputs where the plain sum has 36.
//!
//! A tile of 4 x 4 pixels becomes `V = Bᵀ d B`, a kernel `U = G g Gᵀ`; their element-wise products, summed over channels,
//! become 2 x 2 outputs `Aᵀ M A`. The gradient of the input is the same convolution with turned kernels; that of the
//! kernels is the transpose of it all, `Gᵀ (Σ (A y Aᵀ) ⊙ V) G`. The transforms multiply by ±1 and ½ alone, so errors
//! stay as small as those of a plain sum. A pixel that is not finite spoils all outputs of the tiles that have it.
//!
//! Each of the 16 pixels of a vector of neighbouring tiles is every second element of two vectors of a row; what lies in
//! the padding is masked.

// Loops by index over constant bounds are what the compiler unrolls into registers.
#![allow(clippy::needless_range_loop)]

use super::after::After;
use super::scratch::{self, Use};
use super::shape::ConvShape;
use super::tile::{Product, Stretch};
use crate::lanes::{Arithmetic, Level, Masked, WIDEST, for_lanes};
use crate::product::{Operand, Shared, multiply_into};
use rayon::prelude::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Elements of a transformed tile.
const POINTS: usize = 16;

/// The most filters of a block ([`Level::filters`]).
const MOST_FILTERS: usize = 8;

/// Transformed elements, of sources and results, that one task works on at a time: about the second-level cache.
const NEAR: usize = 384 * 1024;

/// Tiles that the weights are read for at least.
const LEAST: usize = 192;

/// Transformed elements of the weight gradient that are in memory at a time.
const GROUP: usize = 2 * 1024 * 1024;

/// Channels up to which the forward pass of training is as exact as by plain sums.
const MOST_CHANNELS: usize = 256;

/// Whether the products that are saved outweigh the transforms and the tiles too many.
pub(super) fn fit(shape: &ConvShape) -> bool {
    let possible = shape.kernel == [3, 3]
        && shape.stride == [1, 1]
        && shape.dilation == [1, 1]
        && shape.groups == 1
        && shape.padding.iter().all(|padding| *padding <= 2);
    if !possible || shape.channels.min(shape.filters) < 32 {
        return false;
    }
    let [rows, columns] = shape.output();
    let computed = POINTS * rows.div_ceil(2) * columns.div_ceil(2);
    9 * rows * columns * 10 >= computed * 18
}

/// As [`fit`], without the sums so long that the rounded kernels show: with 512 channels the running means at the end of
/// ResNet-18 were off by 3.3 times PyTorch's own error, with 256 all statistics and gradients of every backbone are as
/// close as with plain sums.
pub(super) fn fit_training(shape: &ConvShape) -> bool {
    fit(shape) && shape.channels <= MOST_CHANNELS
}

/// Some rows of tiles of some images.
#[derive(Clone, Debug)]
struct Task {
    images: Range<usize>,
    rows: Range<usize>,
}

/// How the tiles of a convolution lie.
#[derive(Clone, Copy)]
struct Tiles {
    /// Rows and columns of tiles.
    grid: [usize; 2],
}

impl Tiles {
    fn new(shape: &ConvShape) -> Self {
        let [rows, columns] = shape.output();
        Self { grid: [rows.div_ceil(2), columns.div_ceil(2)] }
    }

    /// Splits images into tasks of about `columns` tiles; several images at once only where they are that small, and no
    /// more than `most`.
    fn tasks(&self, batch: usize, columns: usize, most: usize) -> Vec<Task> {
        let area = self.grid[0] * self.grid[1];
        let images = columns.div_ceil(area).clamp(1, most.max(1));
        let bands = (area / columns).clamp(1, self.grid[0]);
        let rows = if images > 1 { self.grid[0] } else { self.grid[0].div_ceil(bands) };
        (0..batch)
            .step_by(images)
            .flat_map(|first| {
                let images = first..(first + images).min(batch);
                (0..self.grid[0]).step_by(rows).map(move |row| Task {
                    images: images.clone(),
                    rows: row..(row + rows).min(self.grid[0]),
                })
            })
            .collect()
    }

    /// Tiles of one image of a task.
    fn of_image(&self, task: &Task) -> usize {
        task.rows.len() * self.grid[1]
    }

    /// Elements of one transformed point of a plane, with room to write whole vectors.
    fn point_len(&self, task: &Task) -> usize {
        (self.of_image(task) * task.images.len() + WIDEST).next_multiple_of(WIDEST)
    }

    /// Elements of a transformed plane: a line more than its points, because planes that lie a power of two apart
    /// would share few sets of the nearest cache.
    fn plane_len(&self, task: &Task) -> usize {
        POINTS * self.point_len(task) + WIDEST
    }

    /// The tiles of a task on planes of `size` whose first tile begins at `origin`, rows of the task aside.
    fn over(&self, task: &Task, size: [usize; 2], origin: [isize; 2]) -> Grid {
        let above = (2 * task.rows.start) as isize;
        let origin = [origin[0] + above, origin[1]];
        Grid { size, origin, tiles: [task.rows.len(), self.grid[1]] }
    }
}

/// Tiles, two rows and columns apart, on a plane of pixels that is surrounded by zeros.
#[derive(Clone, Copy)]
struct Grid {
    /// Rows and columns of the plane.
    size: [usize; 2],
    /// Row and column of the first tile's first pixel.
    origin: [isize; 2],
    /// Rows and columns of tiles.
    tiles: [usize; 2],
}

impl Grid {
    /// The vectors of tiles: row, first column, and where among all tiles it is.
    fn vectors(self, lanes: usize) -> impl Iterator<Item = (usize, usize, usize)> {
        let [rows, columns] = self.tiles;
        (0..rows)
            .flat_map(move |y| (0..columns).step_by(lanes).map(move |x| (y, x, y * columns + x)))
    }

    /// Elements from the first tile to the end of the last vector.
    fn reach(self, lanes: usize) -> usize {
        let [rows, columns] = self.tiles;
        rows.saturating_sub(1) * columns + columns.next_multiple_of(lanes)
    }

    /// Where a vector begins that covers columns `column..` of row `row`, both counted from the origin, and which of its
    /// elements lie on the plane.
    #[inline(always)]
    fn part(self, row: usize, column: usize, lanes: usize) -> (isize, u32) {
        let (y, x) = (self.origin[0] + row as isize, self.origin[1] + column as isize);
        let [height, width] = self.size.map(usize::cast_signed);
        if y < 0 || y >= height {
            return (0, 0);
        }
        let lanes = lanes as isize;
        let (before, end) = ((-x).clamp(0, lanes), (width - x).clamp(0, lanes));
        let below = |count: isize| (1u32 << count) - 1;
        (y * width + x, below(end) & !below(before))
    }
}

pub(super) fn forward(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    after: After<'_>,
) -> Vec<f32> {
    let kernel = |filter: usize, channel: usize| {
        let kernel = &weight[(filter * shape.channels + channel) * 9..][..9];
        std::array::from_fn(|tap| kernel[tap])
    };
    convolve(level, shape, input, &kernel, after)
}

pub(super) fn input_gradient(
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let turned = ConvShape {
        channels: shape.filters,
        filters: shape.channels,
        input: shape.output(),
        padding: shape.padding.map(|padding| 2 - padding),
        ..*shape
    };
    let kernel = |channel: usize, filter: usize| {
        let kernel = &weight[(filter * shape.channels + channel) * 9..][..9];
        std::array::from_fn(|tap| kernel[8 - tap])
    };
    convolve(level, &turned, gradient, &kernel, After::default())
}

fn convolve(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    kernel: &(impl Fn(usize, usize) -> [f32; 9] + Sync),
    after: After<'_>,
) -> Vec<f32> {
    let (channels, filters) = (shape.channels, shape.filters);
    let output = shape.output();
    let (input_area, area) = (shape.input[0] * shape.input[1], output[0] * output[1]);
    let weights = transformed_kernels(level, shape, kernel);
    let point_weights = weights.len() / POINTS;
    let tiles = Tiles::new(shape);
    // No sum depends on which tiles are computed together, so this may follow the threads.
    let most = shape.batch.div_ceil(rayon::current_num_threads());
    let near = NEAR / (POINTS * (channels + filters));
    let tasks = tiles.tasks(shape.batch, near.max(LEAST), most);
    let mut result = Vec::with_capacity(shape.output_len());
    let shared = Shared::of_capacity(&mut result);
    tasks.into_par_iter().for_each(|task| {
        let origin = shape.padding.map(|padding| -padding.cast_signed());
        let pixels_of = tiles.over(&task, shape.input, origin);
        // A task's own rows of the output, which it shares with no other.
        let rows = 2 * task.rows.start..output[0].min(2 * task.rows.end);
        let (skip, pixels) = (rows.start * output[1], rows.len() * output[1]);
        let outputs_of = Grid {
            size: [rows.len(), output[1]],
            origin: [0, 0],
            tiles: [task.rows.len(), tiles.grid[1]],
        };
        let (count, point, plane) =
            (tiles.of_image(&task), tiles.point_len(&task), tiles.plane_len(&task));
        scratch::with(Use::Planes, channels * plane, |laid| {
            for (channel, laid) in laid.chunks_exact_mut(plane).enumerate() {
                for (index, image) in task.images.clone().enumerate() {
                    let source = &input[(image * channels + channel) * input_area..][..input_area];
                    transform_pixels(level, pixels_of, source, point, &mut laid[index * count..]);
                }
            }
            let offsets: Vec<usize> = (0..channels).map(|channel| channel * plane).collect();
            let columns = count * task.images.len();
            let stretches = [Stretch { planes: 0, output: 0, len: columns }];
            scratch::with(Use::Result, filters * plane, |sums| {
                for index in 0..POINTS {
                    let product = Product {
                        planes: &laid[index * point..],
                        offsets: &offsets,
                        weights: &weights[index * point_weights..][..point_weights],
                        filters: 0..filters,
                        stretches: &stretches,
                        filter_stride: plane,
                    };
                    // SAFETY: a point has room for all tiles, the sums for a plane a filter, and they
                    // are this task's own.
                    #[allow(unsafe_code)]
                    unsafe {
                        product.run(level, sums.as_mut_ptr().add(index * point));
                    }
                }
                for (filter, sums) in sums.chunks_exact(plane).enumerate() {
                    let bias = after.bias.map_or(0.0, |bias| bias[filter]);
                    for (index, image) in task.images.clone().enumerate() {
                        let sums = &sums[index * count..];
                        let at = (image * filters + filter) * area + skip;
                        let to = shared.uninit(at, pixels);
                        transform_sums(level, outputs_of, sums, point, bias, to);
                        shared.change(at, pixels, |values| after.finish(at, values));
                    }
                }
            });
        });
    });
    // SAFETY: the tiles of the tasks cover every pixel of every image and filter.
    #[allow(unsafe_code)]
    unsafe {
        result.set_len(shape.output_len());
    }
    result
}

/// `G g Gᵀ` of every kernel, packed for the products of each point.
fn transformed_kernels(
    level: Level,
    shape: &ConvShape,
    kernel: &(impl Fn(usize, usize) -> [f32; 9] + Sync),
) -> Vec<f32> {
    let (channels, filters, block) = (shape.channels, shape.filters, level.filters());
    let padded = filters.next_multiple_of(block);
    let mut packed = vec![0.0; POINTS * padded * channels];
    let shared = Shared::new(&mut packed);
    (0..padded / block).into_par_iter().for_each(|index| {
        let mut own = vec![0.0; POINTS * channels * block];
        let mut taps = [[0.0; MOST_FILTERS]; 9];
        for channel in 0..channels {
            for lane in 0..block.min(filters - index * block) {
                let kernel = kernel(index * block + lane, channel);
                for (taps, value) in taps.iter_mut().zip(kernel) {
                    taps[lane] = value;
                }
            }
            for (point, values) in transform_kernels(&taps).iter().enumerate() {
                let at = (point * channels + channel) * block;
                own[at..at + block].copy_from_slice(&values[..block]);
            }
        }
        for (point, own) in own.chunks_exact(channels * block).enumerate() {
            shared.write((point * padded + index * block) * channels, own);
        }
    });
    packed
}

/// `G g Gᵀ` of several kernels side by side.
fn transform_kernels(taps: &[[f32; MOST_FILTERS]; 9]) -> [[f32; MOST_FILTERS]; POINTS] {
    let mut result = [[0.0; MOST_FILTERS]; POINTS];
    let spread = |a: f32, b: f32, c: f32| {
        let (outer, inner) = ((a + c) * 0.5, b * 0.5);
        [a, outer + inner, outer - inner, c]
    };
    let mut rows = [[[0.0; MOST_FILTERS]; 3]; 4];
    for column in 0..3 {
        for lane in 0..MOST_FILTERS {
            let spread = spread(taps[column][lane], taps[3 + column][lane], taps[6 + column][lane]);
            for row in 0..4 {
                rows[row][column][lane] = spread[row];
            }
        }
    }
    for row in 0..4 {
        for lane in 0..MOST_FILTERS {
            let spread = spread(rows[row][0][lane], rows[row][1][lane], rows[row][2][lane]);
            for column in 0..4 {
                result[row * 4 + column][lane] = spread[column];
            }
        }
    }
    result
}

/// `Gᵀ u G`, the transpose of [`transform_kernels`].
fn gather_kernel(points: [f32; POINTS]) -> [f32; 9] {
    let gather = |u: [f32; 4]| {
        let (sum, difference) = ((u[1] + u[2]) * 0.5, (u[1] - u[2]) * 0.5);
        [u[0] + sum, difference, sum + u[3]]
    };
    let mut rows = [[0.0; 4]; 3];
    for column in 0..4 {
        let values = gather(std::array::from_fn(|row| points[row * 4 + column]));
        for row in 0..3 {
            rows[row][column] = values[row];
        }
    }
    let mut result = [0.0; 9];
    for row in 0..3 {
        result[row * 3..][..3].copy_from_slice(&gather(rows[row]));
    }
    result
}

/// `Bᵀ d B` of all tiles of 4 x 4 pixels, each point `point` elements behind the last.
fn transform_pixels(level: Level, grid: Grid, source: &[f32], point: usize, out: &mut [f32]) {
    for_lanes!(level, pixels_body(grid: Grid, source: &[f32], point: usize, out: &mut [f32]));
}

#[inline(always)]
#[allow(unsafe_code)]
fn pixels_body<L: Masked>(grid: Grid, source: &[f32], point: usize, out: &mut [f32]) {
    assert_eq!(source.len(), grid.size[0] * grid.size[1]);
    assert!(grid.reach(L::LANES) + (POINTS - 1) * point <= out.len());
    // What a vector writes past the end of a row, the next row writes again.
    for (y, x, to) in grid.vectors(L::LANES) {
        // SAFETY: `part` names elements of the source alone, all others are masked; the farthest result is the last
        // vector of the last point, as checked above; the level was detected.
        unsafe {
            let load = |row: usize, column: usize| {
                let (at, mask) = grid.part(2 * y + row, 2 * x + column, L::LANES);
                L::load_masked(source.as_ptr().wrapping_offset(at), mask)
            };
            let mut pixels = [[L::splat(0.0); 4]; 4];
            for row in 0..4 {
                for half in 0..2 {
                    let (near, far) = (load(row, 2 * half), load(row, 2 * half + L::LANES));
                    pixels[2 * half][row] = L::every_second(near, far, 0);
                    pixels[2 * half + 1][row] = L::every_second(near, far, 1);
                }
            }
            let mut rows = [[L::splat(0.0); 4]; 4];
            for column in 0..4 {
                let spread = spread_pixels(pixels[column]);
                for row in 0..4 {
                    rows[row][column] = spread[row];
                }
            }
            for row in 0..4 {
                let spread = spread_pixels(rows[row]);
                for column in 0..4 {
                    spread[column].store(out.as_mut_ptr().add((row * 4 + column) * point + to));
                }
            }
        }
    }
}

/// `Bᵀ` times four values.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn spread_pixels<L: Arithmetic>([a, b, c, d]: [L; 4]) -> [L; 4] {
    // SAFETY: arithmetic on registers; the caller vouches for the instructions.
    unsafe { [a.sub(c), b.add(c), c.sub(b), b.sub(d)] }
}

/// `Aᵀ m A` of all tiles: 2 x 2 pixels each, of the plane `out`.
fn transform_sums(
    level: Level,
    grid: Grid,
    sums: &[f32],
    point: usize,
    bias: f32,
    out: &mut [MaybeUninit<f32>],
) {
    for_lanes!(level, sums_body(grid: Grid, sums: &[f32], point: usize, bias: f32, out: &mut [MaybeUninit<f32>]));
}

#[inline(always)]
#[allow(unsafe_code)]
fn sums_body<L: Masked>(
    grid: Grid,
    sums: &[f32],
    point: usize,
    bias: f32,
    out: &mut [MaybeUninit<f32>],
) {
    assert_eq!(out.len(), grid.size[0] * grid.size[1]);
    assert!(grid.reach(L::LANES) + (POINTS - 1) * point <= sums.len());
    for (y, x, from) in grid.vectors(L::LANES) {
        // SAFETY: the last vector of the last point lies inside the sums, as checked above, and `part` names elements of
        // the plane alone, all others are masked; the level was detected.
        unsafe {
            let bias = L::splat(bias);
            let fold = |[a, b, c, d]: [L; 4]| [a.add(b).add(c), b.sub(c).sub(d)];
            let mut rows = [[L::splat(0.0); 4]; 2];
            for column in 0..4 {
                let load =
                    |row: usize| L::load(sums.as_ptr().add((row * 4 + column) * point + from));
                let folded = fold([load(0), load(1), load(2), load(3)]);
                for row in 0..2 {
                    rows[row][column] = folded[row];
                }
            }
            for row in 0..2 {
                let [even, odd] = fold(rows[row]);
                let (near, far) = even.add(bias).interleave(odd.add(bias));
                for (column, values) in [(0, near), (L::LANES, far)] {
                    let (at, mask) = grid.part(2 * y + row, 2 * x + column, L::LANES);
                    let to = out.as_mut_ptr().cast::<f32>().wrapping_offset(at);
                    values.store_masked(to, mask);
                }
            }
        }
    }
}

pub(super) fn weight_gradient(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let (channels, filters) = (shape.channels, shape.filters);
    let output = shape.output();
    let (input_area, area) = (shape.input[0] * shape.input[1], output[0] * output[1]);
    let tiles = Tiles::new(shape);
    let columns = (GROUP / (POINTS * (channels + filters))).max(WIDEST);
    // Sums over tiles: what is summed together depends on the shape alone.
    let tasks = tiles.tasks(shape.batch, columns, shape.batch);
    let mut result = vec![0.0; shape.weight_len()];
    scratch::with(Use::Sums, POINTS * filters * channels, |sums| {
        for (index, task) in tasks.iter().enumerate() {
            let origin = shape.padding.map(|padding| -padding.cast_signed());
            let pixels_of = tiles.over(task, shape.input, origin);
            let outputs_of = tiles.over(task, output, [0, 0]);
            let (count, point, plane) =
                (tiles.of_image(task), tiles.point_len(task), tiles.plane_len(task));
            scratch::with(Use::Group, (channels + filters) * plane, |laid| {
                laid.par_chunks_exact_mut(plane).enumerate().for_each(|(index, laid)| {
                    for (place, image) in task.images.clone().enumerate() {
                        let laid = &mut laid[place * count..];
                        if index < channels {
                            let source =
                                &input[(image * channels + index) * input_area..][..input_area];
                            transform_pixels(level, pixels_of, source, point, laid);
                        } else {
                            let source =
                                &gradient[(image * filters + index - channels) * area..][..area];
                            transform_outputs(level, outputs_of, source, point, laid);
                        }
                    }
                });
                let (pixels, outputs) = laid.split_at(channels * plane);
                let columns = count * task.images.len();
                sums.par_chunks_exact_mut(filters * channels).enumerate().for_each(|(at, sums)| {
                    multiply_into(
                        [filters, channels, columns],
                        Shared::new(sums),
                        0,
                        [channels, 1],
                        index > 0,
                        Operand::new(&outputs[at * point..], plane, 1),
                        Operand::new(&pixels[at * point..], 1, plane),
                    );
                });
            });
        }
        let sums = &*sums;
        result.par_chunks_exact_mut(9 * channels).enumerate().for_each(|(filter, row)| {
            for (channel, kernel) in row.chunks_exact_mut(9).enumerate() {
                let at = filter * channels + channel;
                let points = std::array::from_fn(|point| sums[point * filters * channels + at]);
                kernel.copy_from_slice(&gather_kernel(points));
            }
        });
    });
    result
}

/// `A y Aᵀ` of all tiles of 2 x 2 outputs, each point `point` elements behind the last.
fn transform_outputs(level: Level, grid: Grid, source: &[f32], point: usize, out: &mut [f32]) {
    for_lanes!(level, outputs_body(grid: Grid, source: &[f32], point: usize, out: &mut [f32]));
}

#[inline(always)]
#[allow(unsafe_code)]
fn outputs_body<L: Masked>(grid: Grid, source: &[f32], point: usize, out: &mut [f32]) {
    assert_eq!(source.len(), grid.size[0] * grid.size[1]);
    assert!(grid.reach(L::LANES) + (POINTS - 1) * point <= out.len());
    // What a vector writes past the end of a row, the next row writes again.
    for (y, x, to) in grid.vectors(L::LANES) {
        // SAFETY: as for the pixels.
        unsafe {
            let spread = |[a, b]: [L; 2]| [a, a.add(b), a.sub(b), L::splat(0.0).sub(b)];
            let load = |row: usize, column: usize| {
                let (at, mask) = grid.part(2 * y + row, 2 * x + column, L::LANES);
                L::load_masked(source.as_ptr().wrapping_offset(at), mask)
            };
            let mut outputs = [[L::splat(0.0); 2]; 2];
            for row in 0..2 {
                let (near, far) = (load(row, 0), load(row, L::LANES));
                outputs[0][row] = L::every_second(near, far, 0);
                outputs[1][row] = L::every_second(near, far, 1);
            }
            let (left, right) = (spread(outputs[0]), spread(outputs[1]));
            for row in 0..4 {
                let values = spread([left[row], right[row]]);
                for column in 0..4 {
                    values[column].store(out.as_mut_ptr().add((row * 4 + column) * point + to));
                }
            }
        }
    }
}
