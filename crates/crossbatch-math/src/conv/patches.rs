//! Matrix products with patches: for kernels of one pixel, kernels that do not overlap, and first layers of few terms.
//!
//! A patch matrix has a row for every term of the sum (channel, kernel row, kernel column) and a column for every output
//! position, of several images together where these are small. Forward it is multiplied by the weights, for the
//! gradient of the weights by the output's gradient; for the gradient of the input, the product of weights and gradient
//! is added back to the pixels it stands for. A kernel of one pixel that moves by one needs no patches: the image is
//! that matrix. What is multiplied together depends on the shape alone, never on the number of threads.

use super::after::After;
use super::every;
use super::scratch::{self, Use};
use super::shape::ConvShape;
use crate::lanes::Level;
use crate::product::{Operand, Shared, multiply_into};
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a patch matrix, about.
const COLUMNS: usize = 256;

/// Tasks of the weight gradient, about.
const PARTS: usize = 8;

/// Terms that one task of the weight gradient has at least.
const TERMS: usize = 64;

/// Output pixels of an image up to which copying several images together costs more than the direct path loses.
const FEW_PIXELS: usize = 64;

/// Terms that are too few to fill the tiles of the direct path.
const FEW_TERMS: usize = 16;

/// Whether this is the better path: every pixel is in one patch, but not of images so small that many make one matrix, or
/// sums are very short.
pub(super) fn fit(shape: &ConvShape) -> bool {
    let [rows, columns] = shape.output();
    let apart =
        (0..2).all(|axis| shape.dilation[axis] == 1 && shape.kernel[axis] <= shape.stride[axis]);
    let taps = shape.kernel[0] * shape.kernel[1];
    shape.groups == 1
        && (apart && rows * columns > FEW_PIXELS || shape.channels * taps <= FEW_TERMS)
}

/// A patch matrix: some images, and some output rows of each (all of them if there is more than one image).
#[derive(Clone, Debug)]
struct Task {
    images: Range<usize>,
    rows: Range<usize>,
}

struct Patches<'a> {
    level: Level,
    shape: &'a ConvShape,
    output: [usize; 2],
    area: usize,
    input_area: usize,
    taps: usize,
    terms: usize,
}

impl<'a> Patches<'a> {
    fn new(level: Level, shape: &'a ConvShape) -> Self {
        let output = shape.output();
        let taps = shape.kernel[0] * shape.kernel[1];
        Self {
            level,
            shape,
            output,
            area: output[0] * output[1],
            input_area: shape.input[0] * shape.input[1],
            taps,
            terms: shape.channels * taps,
        }
    }

    /// Images of one patch matrix.
    fn images(&self) -> usize {
        (COLUMNS / self.area).clamp(1, self.shape.batch.div_ceil(2).max(1))
    }

    /// Output rows of one patch matrix.
    fn rows(&self) -> usize {
        if self.images() > 1 {
            return self.output[0];
        }
        let bands = (self.area / (2 * COLUMNS)).clamp(1, self.output[0]);
        self.output[0].div_ceil(bands)
    }

    fn tasks(&self) -> Vec<Task> {
        let (images, rows) = (self.images(), self.rows());
        (0..self.shape.batch)
            .step_by(images)
            .flat_map(|first| {
                let images = first..(first + images).min(self.shape.batch);
                (0..self.output[0]).step_by(rows).map(move |row| Task {
                    images: images.clone(),
                    rows: row..(row + rows).min(self.output[0]),
                })
            })
            .collect()
    }

    fn columns(&self, task: &Task) -> usize {
        task.images.len() * task.rows.len() * self.output[1]
    }

    /// Whether an image is its own patch matrix.
    fn in_place(&self) -> bool {
        let shape = self.shape;
        shape.kernel == [1, 1] && shape.stride == [1, 1] && shape.padding == [0, 0]
    }

    /// Writes the patches of `channels` to `out`, a row a term.
    fn gather(&self, task: &Task, channels: Range<usize>, input: &[f32], out: &mut [f32]) {
        let columns = self.columns(task);
        for (channel, out) in channels.zip(out.chunks_exact_mut(self.taps * columns)) {
            for (tap, out) in out.chunks_exact_mut(columns).enumerate() {
                let mut lines = out.chunks_exact_mut(self.output[1]);
                for image in task.images.clone() {
                    let source = &input
                        [(image * self.shape.channels + channel) * self.input_area..]
                        [..self.input_area];
                    for (y, line) in task.rows.clone().zip(&mut lines) {
                        let Some((row, inside)) = self.met(tap, y) else {
                            line.fill(0.0);
                            continue;
                        };
                        let (first, step) = (self.column(tap, inside.start), self.shape.stride[1]);
                        line[..inside.start].fill(0.0);
                        line[inside.end..].fill(0.0);
                        let pixels = &source[row * self.shape.input[1] + first..];
                        let line = &mut line[inside];
                        every::take(self.level, pixels, step, line);
                    }
                }
            }
        }
    }

    /// Adds a patch matrix to the pixels it stands for; `result` begins with the task's first image.
    fn scatter(&self, task: &Task, patches: &[f32], result: &mut [f32]) {
        let columns = self.columns(task);
        for (term, patches) in patches.chunks_exact(columns).enumerate() {
            let (channel, tap) = (term / self.taps, term % self.taps);
            let mut lines = patches.chunks_exact(self.output[1]);
            for image in 0..task.images.len() {
                let pixels = &mut result
                    [(image * self.shape.channels + channel) * self.input_area..]
                    [..self.input_area];
                for (y, line) in task.rows.clone().zip(&mut lines) {
                    let Some((row, inside)) = self.met(tap, y) else { continue };
                    let (first, step) = (self.column(tap, inside.start), self.shape.stride[1]);
                    let pixels = &mut pixels[row * self.shape.input[1] + first..];
                    let line = &line[inside];
                    if step == 1 {
                        for (to, from) in pixels.iter_mut().zip(line) {
                            *to += from;
                        }
                    } else {
                        for (to, from) in pixels.iter_mut().step_by(step).zip(line) {
                            *to += from;
                        }
                    }
                }
            }
        }
    }

    /// The input row that a tap reads for output row `y`, and the output columns for which it reads a pixel.
    fn met(&self, tap: usize, y: usize) -> Option<(usize, Range<usize>)> {
        let shape = self.shape;
        let row = (y * shape.stride[0] + tap / shape.kernel[1] * shape.dilation[0])
            .checked_sub(shape.padding[0])
            .filter(|row| *row < shape.input[0])?;
        let reach = tap % shape.kernel[1] * shape.dilation[1];
        let start = shape.padding[1].saturating_sub(reach).div_ceil(shape.stride[1]);
        let end = (shape.input[1] + shape.padding[1])
            .saturating_sub(reach)
            .div_ceil(shape.stride[1])
            .min(self.output[1]);
        (start < end).then_some((row, start..end))
    }

    /// The input column that a tap reads for output column `x`, which is inside.
    fn column(&self, tap: usize, x: usize) -> usize {
        let shape = self.shape;
        x * shape.stride[1] + tap % shape.kernel[1] * shape.dilation[1] - shape.padding[1]
    }

    /// Copies `[image, filter, position]` to `[filter, image, position]`.
    fn by_filter(&self, task: &Task, gradient: &[f32], out: &mut [f32]) {
        let (filters, area) = (self.shape.filters, self.area);
        for (filter, out) in out.chunks_exact_mut(task.images.len() * area).enumerate() {
            for (image, out) in task.images.clone().zip(out.chunks_exact_mut(area)) {
                out.copy_from_slice(&gradient[(image * filters + filter) * area..][..area]);
            }
        }
    }

    /// The part of a gradient that belongs to a task of one image.
    fn rows_of<'g>(&self, task: &Task, planes: usize, values: &'g [f32]) -> Operand<'g> {
        let from = task.images.start * planes * self.area + task.rows.start * self.output[1];
        Operand::new(&values[from..], self.area, 1)
    }

    /// Runs `body` with the output's gradient of a task, a row a filter.
    fn with_gradient<R>(
        &self,
        task: &Task,
        gradient: &[f32],
        body: impl FnOnce(Operand<'_>) -> R,
    ) -> R {
        if task.images.len() == 1 {
            return body(self.rows_of(task, self.shape.filters, gradient));
        }
        let columns = self.columns(task);
        scratch::with(Use::Result, self.shape.filters * columns, |laid| {
            self.by_filter(task, gradient, laid);
            body(Operand::new(laid, columns, 1))
        })
    }
}

pub(super) fn forward(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    after: After<'_>,
) -> Vec<f32> {
    let patches = Patches::new(level, shape);
    let (filters, terms, area) = (shape.filters, patches.terms, patches.area);
    let mut result = vec![0.0; shape.output_len()];
    if result.is_empty() {
        return result;
    }
    let finish = |filter: usize, at: usize, values: &mut [f32]| {
        if let Some(bias) = after.bias {
            values.iter_mut().for_each(|value| *value += bias[filter]);
        }
        after.finish(at, values);
    };
    if terms == 0 {
        for (plane, values) in result.chunks_exact_mut(area).enumerate() {
            finish(plane % filters, plane * area, values);
        }
        return result;
    }
    let weights = Operand::new(weight, terms, 1);
    let shared = Shared::new(&mut result);
    patches.tasks().into_par_iter().for_each(|task| {
        let columns = patches.columns(&task);
        let product = |matrix: Operand<'_>| {
            if task.images.len() == 1 {
                let at = task.images.start * filters * area + task.rows.start * patches.output[1];
                let size = [filters, columns, terms];
                multiply_into(size, shared, at, [area, 1], false, weights, matrix);
                for filter in 0..filters {
                    let at = at + filter * area;
                    shared.change(at, columns, |values| finish(filter, at, values));
                }
                return;
            }
            scratch::with(Use::Result, filters * columns, |rows| {
                let own = Shared::new(rows);
                multiply_into(
                    [filters, columns, terms],
                    own,
                    0,
                    [columns, 1],
                    false,
                    weights,
                    matrix,
                );
                for (filter, row) in rows.chunks_exact_mut(columns).enumerate() {
                    for (image, values) in task.images.clone().zip(row.chunks_exact_mut(area)) {
                        let at = (image * filters + filter) * area;
                        finish(filter, at, values);
                        shared.write(at, values);
                    }
                }
            });
        };
        if patches.in_place() && task.images.len() == 1 {
            product(patches.rows_of(&task, shape.channels, input));
        } else {
            scratch::with(Use::Planes, terms * columns, |laid| {
                patches.gather(&task, 0..shape.channels, input, laid);
                product(Operand::new(laid, columns, 1));
            });
        }
    });
    result
}

pub(super) fn input_gradient(
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let patches = Patches::new(level, shape);
    let (filters, terms) = (shape.filters, patches.terms);
    let mut result = vec![0.0; shape.input_len()];
    if result.is_empty() || filters == 0 {
        return result;
    }
    let weights = Operand::new(weight, 1, terms);
    if patches.in_place() && patches.images() == 1 {
        let shared = Shared::new(&mut result);
        patches.tasks().into_par_iter().for_each(|task| {
            let at = task.images.start * terms * patches.area + task.rows.start * patches.output[1];
            let size = [terms, patches.columns(&task), filters];
            let matrix = patches.rows_of(&task, filters, gradient);
            multiply_into(size, shared, at, [patches.area, 1], false, weights, matrix);
        });
        return result;
    }
    // Bands of an image meet the same pixels: one task adds them up in order.
    let images = patches.images();
    let tasks = patches.tasks();
    result
        .par_chunks_mut(images * shape.channels * patches.input_area)
        .zip(tasks.par_chunks(patches.output[0].div_ceil(patches.rows())))
        .for_each(|(result, bands)| {
            for task in bands {
                let columns = patches.columns(task);
                scratch::with(Use::Planes, terms * columns, |laid| {
                    patches.with_gradient(task, gradient, |gradient| {
                        let (size, own) = ([terms, columns, filters], Shared::new(laid));
                        multiply_into(size, own, 0, [columns, 1], false, weights, gradient);
                    });
                    patches.scatter(task, laid, result);
                });
            }
        });
    result
}

pub(super) fn weight_gradient(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    gradient: &[f32],
) -> Vec<f32> {
    let patches = Patches::new(level, shape);
    let (filters, terms) = (shape.filters, patches.terms);
    let weights = shape.weight_len();
    if weights == 0 {
        return Vec::new();
    }
    let tasks = patches.tasks();
    // Each part of the channels sums over all images, in order; where there are few parts, the images are dealt to some
    // partial sums as well. Neither knows the number of threads.
    let part = shape.channels.div_ceil(PARTS).max(TERMS.div_ceil(patches.taps));
    let parts = shape.channels.div_ceil(part);
    let share = tasks.len().div_ceil((PARTS / parts).max(1)).max(1);
    let partials = tasks.len().div_ceil(share).max(1);
    let mut sums = vec![0.0; partials * weights];
    let shared = Shared::new(&mut sums);
    (0..partials * parts).into_par_iter().for_each(|index| {
        let (partial, index) = (index / parts, index % parts);
        let channels = index * part..((index + 1) * part).min(shape.channels);
        let at = partial * weights + channels.start * patches.taps;
        let own = channels.len() * patches.taps;
        let tasks = tasks.chunks(share).nth(partial).unwrap_or_default();
        for task in tasks {
            let columns = patches.columns(task);
            patches.with_gradient(task, gradient, |gradient| {
                let size = [filters, own, columns];
                let product = |matrix: Operand<'_>| {
                    multiply_into(size, shared, at, [terms, 1], true, gradient, matrix);
                };
                if patches.in_place() && task.images.len() == 1 {
                    let rows = patches.rows_of(task, shape.channels, input);
                    product(rows.from(channels.start * patches.area).transposed());
                    return;
                }
                scratch::with(Use::Planes, own * columns, |laid| {
                    patches.gather(task, channels.clone(), input, laid);
                    product(Operand::new(laid, 1, columns));
                });
            });
        }
    });
    let (result, others) = sums.split_at_mut(weights);
    for other in others.chunks_exact(weights) {
        for (sum, value) in result.iter_mut().zip(other) {
            *sum += value;
        }
    }
    sums.truncate(weights);
    sums
}
