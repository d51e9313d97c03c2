//! The gradients of batch normalisation.

use super::segments::Segments;
use super::{
    BatchNormParameters, BatchNormShape, FLUSH, LANES, Line, Statistics, Sums, assert_len, check,
    check_statistics, pieces,
};
use crate::lanes::{Level, for_level};
use rayon::prelude::*;

/// Gradients of the scale and the shift.
#[derive(Clone, Debug, PartialEq)]
pub struct ParameterGradients {
    /// Gradient of each channel's scale.
    pub weight: Vec<f32>,
    /// Gradient of each channel's shift.
    pub bias: Vec<f32>,
}

/// The gradients of [`forward`](super::forward), from its input, its statistics and its output's `gradient`.
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
    let segments = Segments::of(shape, gradient);
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

/// As [`backward`] where a residual was added, with `output` the result of [`forward`](super::forward): gives the input's
/// gradient and leaves the residual's in `gradient`.
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
    let masked = Segments::of(shape, gradient);
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

/// `read` gives a segment of the gradient, once, before `change` is called for any of its channel; `change` lets its
/// argument turn one into the result.
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
