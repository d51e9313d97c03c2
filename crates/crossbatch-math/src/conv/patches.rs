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
use super::tile::{Product, Stretch};
use super::weights::Weights;
use crate::lanes::Level;
use crate::product::{Operand, Shared, multiply_into};
use rayon::prelude::*;
use std::mem::MaybeUninit;
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

/// Whether this is the better path forward and to the input: every pixel is in one patch, or sums are very short. With 32
/// registers the direct path is better where images are so small that many make one matrix.
pub(super) fn fit(level: Level, shape: &ConvShape) -> bool {
    let few = match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => FEW_PIXELS,
        _ => 0,
    };
    fit_above(few, shape)
}

/// As [`fit`], to the weights.
pub(super) fn fit_weights(shape: &ConvShape) -> bool {
    fit_above(FEW_PIXELS, shape)
}

fn fit_above(few: usize, shape: &ConvShape) -> bool {
    let [rows, columns] = shape.output();
    let apart =
        (0..2).all(|axis| shape.dilation[axis] == 1 && shape.kernel[axis] <= shape.stride[axis]);
    let taps = shape.kernel[0] * shape.kernel[1];
    shape.groups == 1 && (apart && rows * columns > few || shape.channels * taps <= FEW_TERMS)
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
                    let end = (row + 1) * self.shape.input[1];
                    let pixels = &mut pixels[row * self.shape.input[1] + first..end];
                    every::add(self.level, &line[inside], step, pixels);
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

    /// Runs `body` with the patches of a task, a row a term.
    fn with_patches<R>(&self, task: &Task, input: &[f32], body: impl FnOnce(Matrix<'_>) -> R) -> R {
        if self.in_place() {
            return body(self.lying(task, self.shape.channels, input));
        }
        let columns = self.columns(task);
        scratch::with(Use::Planes, self.terms * columns, |laid| {
            self.gather(task, 0..self.shape.channels, input, laid);
            let len = task.rows.len() * self.output[1];
            body(Matrix { values: laid, row: columns, images: task.images.len(), image: len, len })
        })
    }

    /// What a task has of planes of the output's size, where they lie: a row a plane.
    fn lying<'v>(&self, task: &Task, planes: usize, values: &'v [f32]) -> Matrix<'v> {
        Matrix {
            values: &values[self.at(task, planes)..],
            row: self.area,
            images: task.images.len(),
            image: planes * self.area,
            len: task.rows.len() * self.output[1],
        }
    }

    /// The first pixel of a task among planes of the output's size.
    fn at(&self, task: &Task, planes: usize) -> usize {
        task.images.start * planes * self.area + task.rows.start * self.output[1]
    }

    /// Runs `body` with the output's gradient of a task, a row a filter and all images in one.
    fn with_gradient<R>(
        &self,
        task: &Task,
        gradient: &[f32],
        body: impl FnOnce(Operand<'_>) -> R,
    ) -> R {
        let (filters, area, columns) = (self.shape.filters, self.area, self.columns(task));
        if task.images.len() == 1 {
            return body(Operand::new(&gradient[self.at(task, filters)..], area, 1));
        }
        scratch::with(Use::Result, filters * columns, |laid| {
            for (filter, row) in laid.chunks_exact_mut(columns).enumerate() {
                for (image, out) in task.images.clone().zip(row.chunks_exact_mut(area)) {
                    out.copy_from_slice(&gradient[(image * filters + filter) * area..][..area]);
                }
            }
            body(Operand::new(laid, columns, 1))
        })
    }
}

/// A matrix inside a slice that begins with its first element; each row is made of pieces, one an image.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    values: &'a [f32],
    /// Distance of a row from its predecessor.
    row: usize,
    images: usize,
    /// Distance of an image's piece from its predecessor.
    image: usize,
    /// Elements of a piece.
    len: usize,
}

/// Where a product goes: likewise.
#[derive(Clone, Copy)]
struct Place {
    out: Shared,
    at: usize,
    row: usize,
    image: usize,
}

/// The left side of a product: weights that are packed for the tiles.
struct Packed {
    level: Level,
    weights: Vec<f32>,
    results: usize,
    terms: usize,
}

impl Packed {
    fn new(level: Level, weights: &Weights<'_>, results: usize, terms: usize) -> Self {
        let weights = weights.pack(level, level.filters(), results, terms, &[0]);
        Self { level, weights, results, terms }
    }

    /// The results in parts, so that as many tasks become enough for all threads; no sum depends on them.
    fn parts(&self, tasks: usize) -> Vec<Range<usize>> {
        let blocks = self.results.div_ceil(self.level.filters());
        let wanted = (2 * rayon::current_num_threads()).div_ceil(tasks.max(1)).min(blocks.max(1));
        let part = blocks.div_ceil(wanted).max(1) * self.level.filters();
        (0..self.results)
            .step_by(part)
            .map(|first| first..(first + part).min(self.results))
            .collect()
    }

    /// Writes the product of some results with `matrix`, a row a term, to `place`, a row a result. The elements are this
    /// call's own.
    fn multiply(&self, results: Range<usize>, matrix: Matrix<'_>, place: Place) {
        let offsets: Vec<usize> = (0..self.terms).map(|term| term * matrix.row).collect();
        let stretches: Vec<Stretch> = (0..matrix.images)
            .map(|image| Stretch {
                planes: image * matrix.image,
                output: image * place.image,
                len: matrix.len,
            })
            .collect();
        let product = Product {
            planes: matrix.values,
            offsets: &offsets,
            weights: &self.weights,
            filters: results.clone(),
            stretches: &stretches,
            filter_stride: place.row,
        };
        let reach = (matrix.images - 1) * place.image + (results.end - 1) * place.row + matrix.len;
        // SAFETY: the rows lie inside what was checked, and these elements belong to this call alone.
        #[allow(unsafe_code)]
        unsafe {
            product.run(self.level, place.out.pointer(place.at, reach));
        }
    }
}

/// Takes a result whose capacity was written.
#[allow(unsafe_code)]
fn written(mut result: Vec<f32>, len: usize) -> Vec<f32> {
    assert!(result.capacity() >= len);
    // SAFETY: the tasks cover every image, and each wrote all planes of its own.
    unsafe { result.set_len(len) };
    result
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
    let finish = |filter: usize, at: usize, values: &mut [f32]| {
        if let Some(bias) = after.bias {
            values.iter_mut().for_each(|value| *value += bias[filter]);
        }
        after.finish(at, values);
    };
    if terms == 0 || shape.output_len() == 0 {
        let mut result = vec![0.0; shape.output_len()];
        for (plane, values) in result.chunks_exact_mut(area.max(1)).enumerate() {
            finish(plane % filters, plane * area, values);
        }
        return result;
    }
    let weights = Weights { values: weight, result: terms, source: 1 };
    let packed = Packed::new(level, &weights, filters, terms);
    let mut result = Vec::with_capacity(shape.output_len());
    let shared = Shared::of_capacity(&mut result);
    let tasks = patches.tasks();
    let parts = packed.parts(tasks.len());
    tasks.par_iter().flat_map(|task| parts.par_iter().map(move |part| (task, part))).for_each(
        |(task, part)| {
            let at = patches.at(task, filters);
            patches.with_patches(task, input, |matrix| {
                let place = Place { out: shared, at, row: area, image: filters * area };
                packed.multiply(part.clone(), matrix, place);
                for (image, filter) in
                    (0..matrix.images).flat_map(|image| part.clone().map(move |at| (image, at)))
                {
                    let at = at + (image * filters + filter) * area;
                    shared.change(at, matrix.len, |values| finish(filter, at, values));
                }
            });
        },
    );
    written(result, shape.output_len())
}

pub(super) fn input_gradient(
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let patches = Patches::new(level, shape);
    let (filters, terms) = (shape.filters, patches.terms);
    if filters == 0 || shape.input_len() == 0 {
        return vec![0.0; shape.input_len()];
    }
    let weights = Weights { values: weight, result: 1, source: terms };
    let packed = Packed::new(level, &weights, terms, filters);
    let tasks = patches.tasks();
    let mut result = Vec::with_capacity(shape.input_len());
    let shared = Shared::of_capacity(&mut result);
    if patches.in_place() {
        let parts = packed.parts(tasks.len());
        tasks.par_iter().flat_map(|task| parts.par_iter().map(move |part| (task, part))).for_each(
            |(task, part)| {
                let (row, image) = (patches.area, terms * patches.area);
                let place = Place { out: shared, at: patches.at(task, terms), row, image };
                packed.multiply(part.clone(), patches.lying(task, filters, gradient), place);
            },
        );
        return written(result, shape.input_len());
    }
    // Bands of an image meet the same pixels: one task adds them up in order.
    tasks.par_chunks(patches.output[0].div_ceil(patches.rows())).for_each(|bands| {
        let images = bands[0].images.clone();
        let image_len = shape.channels * patches.input_area;
        let (at, len) = (images.start * image_len, images.len() * image_len);
        shared.uninit(at, len).fill(MaybeUninit::new(0.0));
        for task in bands {
            let columns = patches.columns(task);
            scratch::with(Use::Planes, terms * columns, |laid| {
                let matrix = patches.lying(task, filters, gradient);
                let place =
                    Place { out: Shared::new(laid), at: 0, row: columns, image: matrix.len };
                packed.multiply(0..terms, matrix, place);
                shared.change(at, len, |result| patches.scatter(task, laid, result));
            });
        }
    });
    written(result, shape.input_len())
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
                    let from = (task.images.start * shape.channels + channels.start) * patches.area
                        + task.rows.start * patches.output[1];
                    product(Operand::new(&input[from..], 1, patches.area));
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
