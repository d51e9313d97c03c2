//! Batch normalisation over `[N, C, H, W]`, fused with a residual's addition and ReLU, forward and backward.
//!
//! Traffic: forward reads the input from memory once (a channel's second and third reading come from
//! the second-level cache while its pixels fit there) and writes the output once; backward reads the
//! gradient and the input once and writes the input's gradient, in place if asked. The ReLU's mask is
//! computed again from the input instead of being kept.
//!
//! Each channel is one task: its sums run in f32 lanes that are emptied into f64 every few thousand
//! elements, in an order that does not know the number of threads.

use crate::lanes::{Level, for_level};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Partial sums that a loop keeps apart, so that it fills whole vectors.
const LANES: usize = 64;

/// Elements after which lanes are emptied into f64.
const FLUSH: usize = 4096;

/// Elements below which work is not shared out.
const SMALL: usize = 16 * 1024;

/// Pixels of a channel of an image below which a channel's images are copied together before they are added up: short
/// stretches would be left-overs of vectors.
const SHORT: usize = 256;

/// Sizes of a batch-normalisation input, `[batch, channels, area]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchNormShape {
    /// Images.
    pub batch: usize,
    /// Channels.
    pub channels: usize,
    /// Pixels of a channel of an image.
    pub area: usize,
}

impl BatchNormShape {
    /// Elements of the input.
    #[must_use]
    pub fn len(&self) -> usize {
        self.batch * self.channels * self.area
    }

    /// Whether the input has no elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a channel's images are worked on together.
    fn is_short(&self) -> bool {
        (1..SHORT).contains(&self.area) && self.batch > 1
    }

    /// Channels that are worth a task.
    fn channels_per_task(&self) -> usize {
        (SMALL / (self.batch * self.area).max(1)).max(1)
    }
}

/// A layer's parameters.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormParameters<'a> {
    /// Scale of each channel.
    pub weight: &'a [f32],
    /// Shift of each channel.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether negative results become zero.
    pub relu: bool,
}

/// A channel's mean and biased variance.
#[derive(Clone, Debug, PartialEq)]
pub struct Statistics {
    /// Mean of each channel.
    pub mean: Vec<f32>,
    /// Biased variance of each channel.
    pub variance: Vec<f32>,
}

/// Normalises by the batch's own statistics; `residual`, of the input's shape, is added before the ReLU.
///
/// # Panics
///
/// If a slice's length differs from the shape's.
#[must_use]
pub fn forward(
    shape: &BatchNormShape,
    input: &[f32],
    residual: Option<&[f32]>,
    parameters: &BatchNormParameters<'_>,
) -> (Vec<f32>, Statistics) {
    forward_at(Level::detect(), shape, input, residual, parameters)
}

fn forward_at(
    level: Level,
    shape: &BatchNormShape,
    input: &[f32],
    residual: Option<&[f32]>,
    parameters: &BatchNormParameters<'_>,
) -> (Vec<f32>, Statistics) {
    check(shape, input, parameters);
    check_residual(shape, residual);
    let mut output = Vec::with_capacity(shape.len());
    let segments = Segments::new(shape, &mut output);
    let (mean, variance) = (0..shape.channels)
        .into_par_iter()
        .with_min_len(shape.channels_per_task())
        .map_init(Vec::new, |scratch, channel| {
            let (mean, variance) = channel_statistics(level, shape, input, channel, scratch);
            let line = Line::new(parameters, mean, variance, channel);
            for image in 0..shape.batch {
                let range = shape.range(image, channel);
                let more = residual.map(|residual| &residual[range.clone()]);
                segments.fill(image, channel, |to| line.apply(level, &input[range], more, to));
            }
            (mean, variance)
        })
        .unzip();
    (segments.finish(output), Statistics { mean, variance })
}

/// The statistics alone.
///
/// # Panics
///
/// If `input`'s length differs from the shape's.
#[must_use]
pub fn statistics(shape: &BatchNormShape, input: &[f32]) -> Statistics {
    assert_len("input", input.len(), shape.len());
    let level = Level::detect();
    let (mean, variance) = (0..shape.channels)
        .into_par_iter()
        .with_min_len(shape.channels_per_task())
        .map_init(Vec::new, |scratch, channel| {
            channel_statistics(level, shape, input, channel, scratch)
        })
        .unzip();
    Statistics { mean, variance }
}

/// Normalises by given statistics; `residual` as in [`forward`].
///
/// # Panics
///
/// If a slice's length differs from the shape's.
#[must_use]
pub fn inference(
    shape: &BatchNormShape,
    input: &[f32],
    residual: Option<&[f32]>,
    parameters: &BatchNormParameters<'_>,
    statistics: &Statistics,
) -> Vec<f32> {
    check(shape, input, parameters);
    check_statistics(shape, statistics);
    check_residual(shape, residual);
    let level = Level::detect();
    let mut output = Vec::with_capacity(shape.len());
    let segments = Segments::new(shape, &mut output);
    (0..shape.batch * shape.channels)
        .into_par_iter()
        .with_min_len((SMALL / shape.area.max(1)).max(1))
        .for_each(|index| {
            let (image, channel) = (index / shape.channels, index % shape.channels);
            let mean = statistics.mean[channel];
            let line = Line::new(parameters, mean, statistics.variance[channel], channel);
            let range = shape.range(image, channel);
            let more = residual.map(|residual| &residual[range.clone()]);
            segments.fill(image, channel, |to| line.apply(level, &input[range], more, to));
        });
    segments.finish(output)
}

/// As [`inference`], written over `values`: a pass over memory less, and no new pages.
///
/// # Panics
///
/// As [`inference`].
pub fn inference_in_place(
    shape: &BatchNormShape,
    values: &mut [f32],
    residual: Option<&[f32]>,
    parameters: &BatchNormParameters<'_>,
    statistics: &Statistics,
) {
    check(shape, values, parameters);
    check_statistics(shape, statistics);
    check_residual(shape, residual);
    let level = Level::detect();
    values
        .par_chunks_exact_mut(shape.area.max(1))
        .with_min_len((SMALL / shape.area.max(1)).max(1))
        .enumerate()
        .for_each(|(index, values)| {
            let (image, channel) = (index / shape.channels, index % shape.channels);
            let mean = statistics.mean[channel];
            let line = Line::new(parameters, mean, statistics.variance[channel], channel);
            let more = residual.map(|residual| &residual[shape.range(image, channel)]);
            line.apply_in_place(level, values, more);
        });
}

/// Gradients of the scale and the shift.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterGradients {
    /// Gradient of each channel's scale.
    pub weight: Vec<f32>,
    /// Gradient of each channel's shift.
    pub bias: Vec<f32>,
}

/// The gradients of [`forward`], from its input, its statistics and its output's `gradient`.
///
/// # Panics
///
/// If a slice's length differs from the shape's.
#[must_use]
pub fn backward(
    shape: &BatchNormShape,
    input: &[f32],
    gradient: &[f32],
    parameters: &BatchNormParameters<'_>,
    statistics: &Statistics,
) -> (Vec<f32>, ParameterGradients) {
    assert_len("gradient", gradient.len(), shape.len());
    let mut output = Vec::with_capacity(shape.len());
    let segments = Segments::new(shape, &mut output);
    let parameters = backward_into(
        Level::detect(),
        shape,
        input,
        parameters,
        statistics,
        |image, channel| &gradient[shape.range(image, channel)],
        |image, channel, change| {
            let from = &gradient[shape.range(image, channel)];
            segments.write(image, channel, from, change);
        },
    );
    (segments.finish(output), parameters)
}

/// As [`backward`], with the input's gradient in place of the output's.
///
/// # Panics
///
/// If a slice's length differs from the shape's.
#[must_use]
pub fn backward_in_place(
    shape: &BatchNormShape,
    input: &[f32],
    gradient: &mut [f32],
    parameters: &BatchNormParameters<'_>,
    statistics: &Statistics,
) -> ParameterGradients {
    assert_len("gradient", gradient.len(), shape.len());
    let segments = Segments { shape: *shape, values: gradient.as_mut_ptr() };
    backward_into(
        Level::detect(),
        shape,
        input,
        parameters,
        statistics,
        |image, channel| segments.read(image, channel),
        |image, channel, change| segments.change(image, channel, change),
    )
}

/// As [`backward`] where a residual was added, with `output` the result of [`forward`]: gives the input's gradient and
/// leaves the residual's in `gradient`.
///
/// # Panics
///
/// If a slice's length differs from the shape's.
#[must_use]
pub fn backward_with_residual(
    shape: &BatchNormShape,
    input: &[f32],
    output: &[f32],
    gradient: &mut [f32],
    parameters: &BatchNormParameters<'_>,
    statistics: &Statistics,
) -> (Vec<f32>, ParameterGradients) {
    assert_len("gradient", gradient.len(), shape.len());
    assert_len("output", output.len(), shape.len());
    let level = Level::detect();
    let masked = Segments { shape: *shape, values: gradient.as_mut_ptr() };
    let mut result = Vec::with_capacity(shape.len());
    let segments = Segments::new(shape, &mut result);
    // What the ReLU let through is known from the output, so that the rest is a layer without one.
    let plain = BatchNormParameters { relu: false, ..*parameters };
    let changes = backward_into(
        level,
        shape,
        input,
        &plain,
        statistics,
        |image, channel| {
            if parameters.relu {
                let output = &output[shape.range(image, channel)];
                masked.change(image, channel, &|gradient| cut(level, gradient, output));
            }
            masked.read(image, channel)
        },
        |image, channel, change| {
            segments.write(image, channel, masked.read(image, channel), change);
        },
    );
    (segments.finish(result), changes)
}

/// Clears the gradient where the output is not above zero.
fn cut(level: Level, gradient: &mut [f32], output: &[f32]) {
    #[inline(always)]
    fn body(gradient: &mut [f32], output: &[f32]) {
        for (gradient, output) in gradient.iter_mut().zip(output) {
            // NaN lets nothing through, as in the reference body.
            *gradient = if *output > 0.0 { *gradient } else { 0.0 };
        }
    }
    for_level!(level, body(gradient: &mut [f32], output: &[f32]));
}

/// `read` gives a segment of the gradient, once, before `change` is called for any of its channel; `change` lets its argument turn one into the result.
fn backward_into<'a>(
    level: Level,
    shape: &BatchNormShape,
    input: &[f32],
    parameters: &BatchNormParameters<'_>,
    statistics: &Statistics,
    read: impl Fn(usize, usize) -> &'a [f32] + Sync,
    change: impl Fn(usize, usize, &dyn Fn(&mut [f32])) + Sync,
) -> ParameterGradients {
    check(shape, input, parameters);
    check_statistics(shape, statistics);
    let count = (shape.batch * shape.area) as f64;
    let (weight, bias) = (0..shape.channels)
        .into_par_iter()
        .with_min_len(shape.channels_per_task())
        .map_init(<[Vec<f32>; 2]>::default, |[scratch, more_scratch], channel| {
            let mean = statistics.mean[channel];
            let line = Line::new(parameters, mean, statistics.variance[channel], channel);
            let mut sums = Sums::default();
            let together = shape.is_short();
            {
                let gradients = pieces(shape, |image| read(image, channel), scratch);
                let inputs =
                    pieces(shape, |image| &input[shape.range(image, channel)], more_scratch);
                for (gradient, pixels) in gradients.iter().zip(&inputs) {
                    for (gradient, pixels) in gradient.chunks(FLUSH).zip(pixels.chunks(FLUSH)) {
                        sums.make_room(pixels.len());
                        add_gradients(level, gradient, pixels, &line, &mut sums);
                    }
                }
            }
            let [total, weighted] = sums.total();
            // dx = scale · (dz − mean(dz) − x̂ · mean(dz · x̂)), with dz · (x − mean) summed so far.
            let inverse = f64::from(line.inverse);
            let slope = -weighted * inverse * inverse / count;
            let offset = -total / count;
            let (slope, offset) = (slope as f32, offset as f32);
            if together {
                input_gradients(level, scratch, more_scratch, &line, slope, offset);
                for (image, part) in scratch.chunks_exact(shape.area).enumerate() {
                    change(image, channel, &|gradient| gradient.copy_from_slice(part));
                }
                return ((weighted * inverse) as f32, total as f32);
            }
            for image in 0..shape.batch {
                let pixels = &input[shape.range(image, channel)];
                change(image, channel, &|gradient| {
                    input_gradients(level, gradient, pixels, &line, slope, offset);
                });
            }
            ((weighted * inverse) as f32, total as f32)
        })
        .unzip();
    ParameterGradients { weight, bias }
}

/// What one channel does to a pixel: `(x − mean) · scale + shift`, then ReLU.
#[derive(Clone, Copy)]
struct Line {
    mean: f32,
    inverse: f32,
    scale: f32,
    shift: f32,
    relu: bool,
}

impl Line {
    fn new(parameters: &BatchNormParameters<'_>, mean: f32, variance: f32, channel: usize) -> Self {
        let inverse = (1.0 / (f64::from(variance) + parameters.epsilon).sqrt()) as f32;
        Self {
            mean,
            inverse,
            scale: parameters.weight[channel] * inverse,
            shift: parameters.bias[channel],
            relu: parameters.relu,
        }
    }

    #[inline(always)]
    fn at(&self, pixel: f32) -> f32 {
        (pixel - self.mean) * self.scale + self.shift
    }

    /// Writes every element of `to`.
    fn apply(
        &self,
        level: Level,
        from: &[f32],
        residual: Option<&[f32]>,
        to: &mut [MaybeUninit<f32>],
    ) {
        #[inline(always)]
        fn body(line: &Line, from: &[f32], more: Option<&[f32]>, to: &mut [MaybeUninit<f32>]) {
            let line = *line;
            // Keeps NaN, as ReLU does elsewhere.
            let cut = |value: f32| if line.relu && value < 0.0 { 0.0 } else { value };
            match more {
                None => {
                    for (to, from) in to.iter_mut().zip(from) {
                        to.write(cut(line.at(*from)));
                    }
                }
                Some(more) => {
                    for ((to, from), more) in to.iter_mut().zip(from).zip(more) {
                        to.write(cut(line.at(*from) + more));
                    }
                }
            }
        }
        let (line, more) = (self, residual);
        for_level!(
            level,
            body(line: &Line, from: &[f32], more: Option<&[f32]>, to: &mut [MaybeUninit<f32>])
        );
    }

    /// As [`apply`](Self::apply), over the values themselves.
    fn apply_in_place(&self, level: Level, values: &mut [f32], residual: Option<&[f32]>) {
        #[inline(always)]
        fn body(line: &Line, values: &mut [f32], more: Option<&[f32]>) {
            let line = *line;
            let cut = |value: f32| if line.relu && value < 0.0 { 0.0 } else { value };
            match more {
                None => values.iter_mut().for_each(|value| *value = cut(line.at(*value))),
                Some(more) => {
                    for (value, more) in values.iter_mut().zip(more) {
                        *value = cut(line.at(*value) + more);
                    }
                }
            }
        }
        let (line, more) = (self, residual);
        for_level!(level, body(line: &Line, values: &mut [f32], more: Option<&[f32]>));
    }
}

/// Two sums in lanes.
struct Sums {
    lanes: [[f32; LANES]; 2],
    filled: usize,
    totals: [f64; 2],
}

impl Default for Sums {
    fn default() -> Self {
        Self { lanes: [[0.0; LANES]; 2], filled: 0, totals: [0.0; 2] }
    }
}

impl Sums {
    /// Empties the lanes if `count` more elements would be too many.
    fn make_room(&mut self, count: usize) {
        if self.filled + count > FLUSH {
            self.flush();
        }
        self.filled += count;
    }

    fn flush(&mut self) {
        for (total, lanes) in self.totals.iter_mut().zip(&mut self.lanes) {
            *total += lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>();
            lanes.fill(0.0);
        }
        self.filled = 0;
    }

    fn total(mut self) -> [f64; 2] {
        self.flush();
        self.totals
    }
}

/// The pixels of a channel, image by image, or all together in `scratch` where images are small.
fn pieces<'a>(
    shape: &BatchNormShape,
    read: impl Fn(usize) -> &'a [f32],
    scratch: &'a mut Vec<f32>,
) -> Vec<&'a [f32]> {
    if !shape.is_short() {
        return (0..shape.batch).map(read).collect();
    }
    scratch.clear();
    for image in 0..shape.batch {
        scratch.extend_from_slice(read(image));
    }
    vec![scratch.as_slice()]
}

fn channel_statistics(
    level: Level,
    shape: &BatchNormShape,
    input: &[f32],
    channel: usize,
    scratch: &mut Vec<f32>,
) -> (f32, f32) {
    let count = (shape.batch * shape.area) as f64;
    let pieces = pieces(shape, |image| &input[shape.range(image, channel)], scratch);
    let sum = |center: f32| {
        let mut sums = Sums::default();
        for pixels in pieces.iter().flat_map(|piece| piece.chunks(FLUSH)) {
            sums.make_room(pixels.len());
            add_powers(level, pixels, center, &mut sums);
        }
        sums.total()
    };
    // Around the first pixel, so that a large common offset costs no digits; then around the mean.
    let first = input.get(channel * shape.area).copied().unwrap_or(0.0);
    let mean = (f64::from(first) + sum(first)[0] / count) as f32;
    let [rest, squares] = sum(mean);
    let variance = squares / count - (rest / count) * (rest / count);
    // NaN stays NaN: `max` would hide it.
    (mean, if variance < 0.0 { 0.0 } else { variance as f32 })
}

fn add_powers(level: Level, pixels: &[f32], center: f32, sums: &mut Sums) {
    #[inline(always)]
    fn body(pixels: &[f32], center: f32, sums: &mut Sums) {
        let [first, second] = &mut sums.lanes;
        let mut add = |pixels: &[f32]| {
            for (pixel, (first, second)) in
                pixels.iter().zip(first.iter_mut().zip(second.iter_mut()))
            {
                let distance = pixel - center;
                *first += distance;
                *second += distance * distance;
            }
        };
        let (whole, rest) = pixels.as_chunks::<LANES>();
        for chunk in whole {
            add(chunk);
        }
        add(rest);
    }
    for_level!(level, body(pixels: &[f32], center: f32, sums: &mut Sums));
}

/// Adds dz and dz · (x − mean), dz being the gradient where the ReLU let the pixel through.
fn add_gradients(level: Level, gradient: &[f32], pixels: &[f32], line: &Line, sums: &mut Sums) {
    #[inline(always)]
    fn body(gradient: &[f32], pixels: &[f32], line: &Line, sums: &mut Sums) {
        let line = *line;
        let [first, second] = &mut sums.lanes;
        let mut add = |gradient: &[f32], pixels: &[f32]| {
            for ((gradient, pixel), (first, second)) in
                gradient.iter().zip(pixels).zip(first.iter_mut().zip(second.iter_mut()))
            {
                let passed = through(*gradient, *pixel, &line);
                *first += passed;
                *second += passed * (pixel - line.mean);
            }
        };
        let (whole, rest) = gradient.as_chunks::<LANES>();
        let (whole_pixels, rest_pixels) = pixels.as_chunks::<LANES>();
        for (gradient, pixels) in whole.iter().zip(whole_pixels) {
            add(gradient, pixels);
        }
        add(rest, rest_pixels);
    }
    for_level!(level, body(gradient: &[f32], pixels: &[f32], line: &Line, sums: &mut Sums));
}

/// The gradient behind the ReLU.
#[inline(always)]
fn through(gradient: f32, pixel: f32, line: &Line) -> f32 {
    if !line.relu || line.at(pixel) > 0.0 { gradient } else { 0.0 }
}

fn input_gradients(
    level: Level,
    gradient: &mut [f32],
    pixels: &[f32],
    line: &Line,
    slope: f32,
    offset: f32,
) {
    #[inline(always)]
    fn body(gradient: &mut [f32], pixels: &[f32], line: &Line, slope: f32, offset: f32) {
        let line = *line;
        for (gradient, pixel) in gradient.iter_mut().zip(pixels) {
            let passed = through(*gradient, *pixel, &line);
            *gradient = line.scale * (passed + offset + (pixel - line.mean) * slope);
        }
    }
    for_level!(
        level,
        body(gradient: &mut [f32], pixels: &[f32], line: &Line, slope: f32, offset: f32)
    );
}

impl BatchNormShape {
    fn range(&self, image: usize, channel: usize) -> std::ops::Range<usize> {
        let start = (image * self.channels + channel) * self.area;
        start..start + self.area
    }
}

/// The elements of a tensor by image and channel, shared by tasks of which each has its own channels
/// (or its own images and channels).
#[derive(Clone, Copy)]
struct Segments {
    shape: BatchNormShape,
    values: *mut f32,
}

// SAFETY: every user gives each (image, channel) to one task.
#[allow(unsafe_code)]
unsafe impl Send for Segments {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Segments {}

#[allow(unsafe_code)]
impl Segments {
    /// The capacity of an empty vector.
    fn new(shape: &BatchNormShape, output: &mut Vec<f32>) -> Self {
        assert!(output.capacity() >= shape.len());
        Self { shape: *shape, values: output.as_mut_ptr() }
    }

    /// Lets `fill` write a segment of an empty vector, every element of it.
    fn fill(&self, image: usize, channel: usize, fill: impl FnOnce(&mut [MaybeUninit<f32>])) {
        let range = self.shape.range(image, channel);
        // SAFETY: the range lies in the buffer, this task alone uses it, and nothing is assumed of its contents.
        fill(unsafe {
            std::slice::from_raw_parts_mut(self.values.add(range.start).cast(), range.len())
        });
    }

    /// Copies `from` into its place and lets `change` work on the copy.
    fn write(&self, image: usize, channel: usize, from: &[f32], change: impl FnOnce(&mut [f32])) {
        let range = self.shape.range(image, channel);
        assert_eq!(from.len(), range.len());
        // SAFETY: the range lies in the buffer, this task alone uses it, and the copy makes it
        // initialised before a slice of it exists.
        unsafe {
            let to = self.values.add(range.start);
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, range.len());
            change(std::slice::from_raw_parts_mut(to, range.len()));
        }
    }

    /// A segment that is initialised.
    fn read<'a>(&self, image: usize, channel: usize) -> &'a [f32] {
        let range = self.shape.range(image, channel);
        // SAFETY: only `backward_in_place` and `backward_with_residual` read, from a slice of the shape's length that
        // outlives the call, and drop the segment before `change` gets it.
        unsafe { std::slice::from_raw_parts(self.values.add(range.start), range.len()) }
    }

    /// Lets `change` work on an initialised segment.
    fn change(&self, image: usize, channel: usize, change: &dyn Fn(&mut [f32])) {
        let range = self.shape.range(image, channel);
        // SAFETY: as for `read`; this task alone has the channel.
        change(unsafe {
            std::slice::from_raw_parts_mut(self.values.add(range.start), range.len())
        });
    }

    /// Takes the vector whose capacity was written.
    fn finish(&self, mut output: Vec<f32>) -> Vec<f32> {
        assert_eq!(output.as_mut_ptr(), self.values);
        // SAFETY: all images and channels were written, which is the whole length.
        unsafe { output.set_len(self.shape.len()) };
        output
    }
}

fn check(shape: &BatchNormShape, input: &[f32], parameters: &BatchNormParameters<'_>) {
    assert_len("input", input.len(), shape.len());
    assert_len("weight", parameters.weight.len(), shape.channels);
    assert_len("bias", parameters.bias.len(), shape.channels);
}

fn check_residual(shape: &BatchNormShape, residual: Option<&[f32]>) {
    if let Some(residual) = residual {
        assert_len("residual", residual.len(), shape.len());
    }
}

fn check_statistics(shape: &BatchNormShape, statistics: &Statistics) {
    assert_len("mean", statistics.mean.len(), shape.channels);
    assert_len("variance", statistics.variance.len(), shape.channels);
}

fn assert_len(what: &str, found: usize, expected: usize) {
    assert_eq!(found, expected, "{what} has {found} elements, its shape {expected}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(batch: usize, channels: usize, area: usize) -> BatchNormShape {
        BatchNormShape { batch, channels, area }
    }

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 250.0 - 2.0).collect()
    }

    /// All in f64, each formula written out.
    fn reference(
        shape: &BatchNormShape,
        input: &[f32],
        gradient: &[f32],
        p: &BatchNormParameters<'_>,
    ) -> (Vec<f64>, Vec<f64>, Vec<f64>, Vec<f64>) {
        let mut output = vec![0.0; shape.len()];
        let mut dx = vec![0.0; shape.len()];
        let (mut dw, mut db) = (vec![0.0; shape.channels], vec![0.0; shape.channels]);
        let count = (shape.batch * shape.area) as f64;
        for c in 0..shape.channels {
            let indices: Vec<usize> = (0..shape.batch).flat_map(|n| shape.range(n, c)).collect();
            let mean = indices.iter().map(|&i| f64::from(input[i])).sum::<f64>() / count;
            let variance =
                indices.iter().map(|&i| (f64::from(input[i]) - mean).powi(2)).sum::<f64>() / count;
            let inverse = 1.0 / (variance + p.epsilon).sqrt();
            let (w, b) = (f64::from(p.weight[c]), f64::from(p.bias[c]));
            let mut dz = vec![];
            for &i in &indices {
                let normal = (f64::from(input[i]) - mean) * inverse;
                let y = normal * w + b;
                output[i] = if p.relu { y.max(0.0) } else { y };
                let d = if p.relu && y <= 0.0 { 0.0 } else { f64::from(gradient[i]) };
                dz.push((d, normal));
                dw[c] += d * normal;
                db[c] += d;
            }
            for (&i, (d, normal)) in indices.iter().zip(dz) {
                dx[i] = w * inverse * (d - db[c] / count - normal * dw[c] / count);
            }
        }
        (output, dx, dw, db)
    }

    fn close(found: &[f32], expected: &[f64], what: &str) {
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            assert!(
                error <= 2e-5 * (1.0 + expected.abs()),
                "{what}[{i}]: {found} against {expected}"
            );
        }
    }

    #[test]
    fn both_passes_agree_with_the_formulas() {
        for (batch, channels, area) in [(1, 1, 2), (3, 5, 1), (4, 3, 49), (5, 70, 9), (2, 3, 5000)]
        {
            for relu in [false, true] {
                let shape = shape(batch, channels, area);
                let input = values(shape.len(), 1);
                let gradient = values(shape.len(), 2);
                let (weight, bias) = (values(channels, 3), values(channels, 4));
                let p = BatchNormParameters { weight: &weight, bias: &bias, epsilon: 1e-5, relu };
                let (y, dx, dw, db) = reference(&shape, &input, &gradient, &p);
                for level in Level::supported() {
                    let name = format!("{level:?} {shape:?}");
                    let (output, statistics) = forward_at(level, &shape, &input, None, &p);
                    close(&output, &y, &name);
                    let given = inference(&shape, &input, None, &p, &statistics);
                    assert_eq!(given, output);
                    let mut place = input.clone();
                    inference_in_place(&shape, &mut place, None, &p, &statistics);
                    assert_eq!(place, output);
                    let (apart, parameters) = backward(&shape, &input, &gradient, &p, &statistics);
                    close(&apart, &dx, &name);
                    close(&parameters.weight, &dw, &name);
                    close(&parameters.bias, &db, &name);
                    let mut place = gradient.clone();
                    let same = backward_in_place(&shape, &input, &mut place, &p, &statistics);
                    assert_eq!((apart, parameters), (place, same));
                }
            }
        }
    }

    #[test]
    fn a_residual_is_added_before_the_relu() {
        let shape = shape(3, 5, 77);
        let [input, residual, gradient] = [1, 2, 3].map(|seed| values(shape.len(), seed));
        let (weight, bias) = (values(5, 4), values(5, 5));
        for relu in [false, true] {
            let p = BatchNormParameters { weight: &weight, bias: &bias, epsilon: 1e-5, relu };
            let plain = BatchNormParameters { relu: false, ..p };
            let (alone, statistics) = forward(&shape, &input, None, &plain);
            let (output, same) = forward(&shape, &input, Some(&residual), &p);
            assert_eq!(statistics, same);
            assert_eq!(inference(&shape, &input, Some(&residual), &p, &statistics), output);
            let mut place = input.clone();
            inference_in_place(&shape, &mut place, Some(&residual), &p, &statistics);
            assert_eq!(place, output);
            let mut masked = gradient.clone();
            for i in 0..shape.len() {
                let sum = alone[i] + residual[i];
                assert_eq!(output[i], if relu { sum.max(0.0) } else { sum });
                if relu && sum <= 0.0 {
                    masked[i] = 0.0;
                }
            }
            let expected = backward(&shape, &input, &masked, &plain, &statistics);
            let mut place = gradient.clone();
            let found =
                backward_with_residual(&shape, &input, &output, &mut place, &p, &statistics);
            assert_eq!(place, masked);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let shape = shape(8, 1, 1000);
        let input: Vec<f32> = (0..shape.len()).map(|i| 10_000.0 + (i % 2) as f32).collect();
        let statistics = statistics(&shape, &input);
        assert_eq!(statistics.mean, [10_000.5]);
        assert_eq!(statistics.variance, [0.25]);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let shape = shape(16, 37, 784);
        let input = values(shape.len(), 1);
        let gradient = values(shape.len(), 2);
        let (weight, bias) = (values(37, 3), values(37, 4));
        let p = BatchNormParameters { weight: &weight, bias: &bias, epsilon: 1e-5, relu: true };
        let all = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (output, statistics) = forward(&shape, &input, None, &p);
                let back = backward(&shape, &input, &gradient, &p, &statistics);
                (output, statistics, back)
            })
        };
        let one = all(1);
        assert_eq!(one, all(2));
        assert_eq!(one, all(3));
    }

    #[test]
    fn nan_stays_visible() {
        let shape = shape(1, 1, 3);
        let p = BatchNormParameters { weight: &[1.0], bias: &[0.0], epsilon: 1e-5, relu: true };
        let (output, statistics) = forward(&shape, &[1.0, f32::NAN, 2.0], None, &p);
        assert!(statistics.mean[0].is_nan() && statistics.variance[0].is_nan());
        assert!(output.iter().all(|value| value.is_nan()));
    }

    #[test]
    #[should_panic(expected = "weight has 1 elements, its shape 2")]
    fn wrong_length_panics() {
        let p = BatchNormParameters { weight: &[1.0], bias: &[0.0], epsilon: 1e-5, relu: true };
        let _ = forward(&shape(1, 2, 1), &[0.0; 2], None, &p);
    }
}
