//! Batch normalisation over `[N, C, H, W]`, fused with a residual's addition and ReLU, forward and backward.
//!
//! Traffic: forward reads the input from memory once (a channel's second and third reading come from
//! the second-level cache while its pixels fit there) and writes the output once; backward reads the
//! gradient and the input once and writes the input's gradient, in place if asked. The ReLU's mask is
//! computed again from the input instead of being kept.
//!
//! Each channel is one task: its sums run in f32 lanes that are emptied into f64 every few thousand
//! elements, in an order that does not know the number of threads.

mod backward;
mod segments;
#[cfg(test)]
mod tests;

use crate::lanes::{Level, for_level};
pub use backward::{ParameterGradients, backward, backward_in_place, backward_with_residual};
use rayon::prelude::*;
use segments::Segments;
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
    inference_in_place_at(Level::detect(), shape, values, residual, parameters, statistics);
}

fn inference_in_place_at(
    level: Level,
    shape: &BatchNormShape,
    values: &mut [f32],
    residual: Option<&[f32]>,
    parameters: &BatchNormParameters<'_>,
    statistics: &Statistics,
) {
    assert_len("input", values.len(), shape.len());
    let normalisation = Normalisation::at(level, shape, residual, parameters, statistics);
    let area = shape.area.max(1);
    values
        .par_chunks_exact_mut(area)
        .with_min_len((SMALL / area).max(1))
        .enumerate()
        .for_each(|(plane, values)| normalisation.apply(plane * area, values));
}

/// [`inference`] of values that are still being made, so that they need not come from memory once more.
#[derive(Debug)]
pub struct Normalisation<'a> {
    level: Level,
    shape: BatchNormShape,
    /// What each channel does.
    lines: Vec<Line>,
    residual: Option<&'a [f32]>,
}

impl<'a> Normalisation<'a> {
    /// By the parameters and statistics of each channel; `residual` as in [`forward`].
    ///
    /// # Panics
    ///
    /// If a slice's length differs from the shape's.
    #[must_use]
    pub fn new(
        shape: &BatchNormShape,
        residual: Option<&'a [f32]>,
        parameters: &BatchNormParameters<'_>,
        statistics: &Statistics,
    ) -> Self {
        Self::at(Level::detect(), shape, residual, parameters, statistics)
    }

    fn at(
        level: Level,
        shape: &BatchNormShape,
        residual: Option<&'a [f32]>,
        parameters: &BatchNormParameters<'_>,
        statistics: &Statistics,
    ) -> Self {
        check_parameters(shape, parameters);
        check_statistics(shape, statistics);
        check_residual(shape, residual);
        let line = |channel: usize| {
            let (mean, variance) = (statistics.mean[channel], statistics.variance[channel]);
            Line::new(parameters, mean, variance, channel)
        };
        Self { level, shape: *shape, lines: (0..shape.channels).map(line).collect(), residual }
    }

    pub(crate) fn shape(&self) -> &BatchNormShape {
        &self.shape
    }

    /// Normalises some elements, the first of which is element `first` of all.
    pub(crate) fn apply(&self, first: usize, values: &mut [f32]) {
        let area = self.shape.area;
        let (mut at, mut values) = (first, values);
        while !values.is_empty() {
            let (plane, rest) = values.split_at_mut(values.len().min(area - at % area));
            let more = self.residual.map(|residual| &residual[at..at + plane.len()]);
            self.lines[at / area % self.shape.channels].apply_in_place(self.level, plane, more);
            (at, values) = (at + plane.len(), rest);
        }
    }
}

/// What one channel does to a pixel: `(x − mean) · scale + shift`, then ReLU.
#[derive(Clone, Copy, Debug)]
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

    /// ReLU, if there is one. Keeps NaN, as ReLU does elsewhere.
    #[inline(always)]
    fn cut(&self, value: f32) -> f32 {
        if self.relu && value < 0.0 { 0.0 } else { value }
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
            match more {
                None => {
                    for (to, from) in to.iter_mut().zip(from) {
                        to.write(line.cut(line.at(*from)));
                    }
                }
                Some(more) => {
                    for ((to, from), more) in to.iter_mut().zip(from).zip(more) {
                        to.write(line.cut(line.at(*from) + more));
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
            match more {
                None => values.iter_mut().for_each(|value| *value = line.cut(line.at(*value))),
                Some(more) => {
                    for (value, more) in values.iter_mut().zip(more) {
                        *value = line.cut(line.at(*value) + more);
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

impl BatchNormShape {
    fn range(&self, image: usize, channel: usize) -> std::ops::Range<usize> {
        let start = (image * self.channels + channel) * self.area;
        start..start + self.area
    }
}

fn check(shape: &BatchNormShape, input: &[f32], parameters: &BatchNormParameters<'_>) {
    assert_len("input", input.len(), shape.len());
    check_parameters(shape, parameters);
}

fn check_parameters(shape: &BatchNormShape, parameters: &BatchNormParameters<'_>) {
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
