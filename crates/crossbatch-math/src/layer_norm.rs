//! Layer normalisation of rows `[rows, columns]`, forward and backward.
//!
//! Traffic: forward reads the input once and writes the output once (a row stays in the first-level cache between its
//! passes); backward reads gradient and input once and writes the input's gradient. Rows are cut into fixed chunks, whose
//! parameter gradients are added in order: results do not know the number of threads.

use crate::lanes::{Level, for_level};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Partial sums that a loop keeps apart, so that it fills whole vectors.
const LANES: usize = 32;

/// Rows whose parameter gradients are added up together. Part of the result: another number is another rounding.
const CHUNK: usize = 64;

/// A layer's parameters.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormParameters<'a> {
    /// Scale of each column.
    pub weight: &'a [f32],
    /// Shift of each column.
    pub bias: &'a [f32],
    /// Added to the variance.
    pub epsilon: f64,
}

/// What [`forward`] gives.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormOutput {
    /// `[rows, columns]`.
    pub output: Vec<f32>,
    /// Mean of each row.
    pub mean: Vec<f32>,
    /// `1 / sqrt(variance + epsilon)` of each row, with the biased variance.
    pub inverse: Vec<f32>,
}

/// `(x − mean) / sqrt(variance + epsilon) · weight + bias`, each row by its own mean and biased variance.
///
/// # Panics
///
/// If the weight is empty, the bias has another length, or the input is no whole number of such rows.
#[must_use]
pub fn forward(input: &[f32], parameters: &LayerNormParameters<'_>) -> LayerNormOutput {
    let columns = check(input, parameters);
    let rows = input.len() / columns;
    let level = Level::detect();
    let mut output: Vec<f32> = Vec::with_capacity(input.len());
    let (mut mean, mut inverse) = (vec![0.0; rows], vec![0.0; rows]);
    output.spare_capacity_mut()[..input.len()]
        .par_chunks_mut(CHUNK * columns)
        .zip(input.par_chunks(CHUNK * columns))
        .zip(mean.par_chunks_mut(CHUNK).zip(inverse.par_chunks_mut(CHUNK)))
        .for_each(|((to, from), (mean, inverse))| {
            let lines = to.chunks_exact_mut(columns).zip(from.chunks_exact(columns));
            for ((to, from), (mean, inverse)) in lines.zip(mean.iter_mut().zip(inverse)) {
                for_level!(level, normalise(
                    from: &[f32],
                    parameters: &LayerNormParameters<'_>,
                    to: &mut [MaybeUninit<f32>],
                    mean: &mut f32,
                    inverse: &mut f32,
                ));
            }
        });
    // SAFETY: the chunks cover the length, and `normalise` writes every element of each row.
    #[allow(unsafe_code)]
    unsafe {
        output.set_len(input.len());
    }
    LayerNormOutput { output, mean, inverse }
}

#[inline(always)]
fn normalise(
    from: &[f32],
    parameters: &LayerNormParameters<'_>,
    to: &mut [MaybeUninit<f32>],
    mean: &mut f32,
    inverse: &mut f32,
) {
    let count = from.len() as f64;
    // Around the first value, so that a large common offset costs no digits; then around the mean.
    let first = from[0];
    let center = (f64::from(first) + distances(from, first) / count) as f32;
    let [rest, squares] = powers(from, center);
    let variance = squares / count - (rest / count) * (rest / count);
    // NaN stays NaN: `max` would hide it.
    let variance = if variance < 0.0 { 0.0 } else { variance };
    let scale = (1.0 / (variance + parameters.epsilon).sqrt()) as f32;
    (*mean, *inverse) = (center, scale);
    let columns = parameters.weight.iter().zip(parameters.bias);
    for ((to, from), (weight, bias)) in to.iter_mut().zip(from).zip(columns) {
        to.write((from - center) * scale * weight + bias);
    }
}

/// `Σ x − center` over a row.
#[inline(always)]
fn distances(row: &[f32], center: f32) -> f64 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            lanes[lane] += chunk[lane] - center;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value - center;
    }
    total(&lanes)
}

/// `Σ x − center` and `Σ (x − center)²` over a row.
#[inline(always)]
fn powers(row: &[f32], center: f32) -> [f64; 2] {
    let mut lanes = [[0.0f32; LANES]; 2];
    let (whole, rest) = row.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            let distance = chunk[lane] - center;
            lanes[0][lane] += distance;
            lanes[1][lane] += distance * distance;
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        let distance = value - center;
        lanes[0][lane] += distance;
        lanes[1][lane] += distance * distance;
    }
    [total(&lanes[0]), total(&lanes[1])]
}

/// The sum of lanes, as a fixed tree; the last eight in f64.
#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f64 {
    let mut eight = [0.0f32; 8];
    for lane in 0..8 {
        eight[lane] = (lanes[lane] + lanes[lane + 16]) + (lanes[lane + 8] + lanes[lane + 24]);
    }
    let [a, b, c, d, e, f, g, h] = eight.map(f64::from);
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

/// Gradients of [`forward`].
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormGradients {
    /// Of the input, `[rows, columns]`.
    pub input: Vec<f32>,
    /// Of the weight, `[columns]`.
    pub weight: Vec<f32>,
    /// Of the bias, `[columns]`.
    pub bias: Vec<f32>,
}

/// The gradients, from the input, what [`forward`] said of its rows, and the output's `gradient`.
///
/// # Panics
///
/// As [`forward`], or if `gradient`, `mean` or `inverse` has another length.
#[must_use]
pub fn backward(
    input: &[f32],
    gradient: &[f32],
    weight: &[f32],
    mean: &[f32],
    inverse: &[f32],
) -> LayerNormGradients {
    let columns = check(input, &LayerNormParameters { weight, bias: weight, epsilon: 0.0 });
    let rows = input.len() / columns;
    assert_eq!(gradient.len(), input.len(), "gradient and input differ in length");
    assert_eq!([mean.len(), inverse.len()], [rows; 2], "statistics are not of {rows} rows");
    let level = Level::detect();
    let mut result: Vec<f32> = Vec::with_capacity(input.len());
    let parts: Vec<Vec<f32>> = result.spare_capacity_mut()[..input.len()]
        .par_chunks_mut(CHUNK * columns)
        .zip(input.par_chunks(CHUNK * columns).zip(gradient.par_chunks(CHUNK * columns)))
        .zip(mean.par_chunks(CHUNK).zip(inverse.par_chunks(CHUNK)))
        .map(|((to, (input, gradient)), (mean, inverse))| {
            let mut sums = vec![0.0f32; 2 * columns];
            let lines = to
                .chunks_exact_mut(columns)
                .zip(input.chunks_exact(columns).zip(gradient.chunks_exact(columns)));
            for ((to, (input, gradient)), (mean, inverse)) in lines.zip(mean.iter().zip(inverse)) {
                let sums = &mut sums[..];
                let (mean, inverse) = (*mean, *inverse);
                for_level!(level, row_gradients(
                    input: &[f32],
                    gradient: &[f32],
                    weight: &[f32],
                    mean: f32,
                    inverse: f32,
                    to: &mut [MaybeUninit<f32>],
                    sums: &mut [f32],
                ));
            }
            sums
        })
        .collect();
    // SAFETY: the chunks cover the length, and `row_gradients` writes every element of each row.
    #[allow(unsafe_code)]
    unsafe {
        result.set_len(input.len());
    }
    let mut totals = vec![0.0f64; 2 * columns];
    for part in parts {
        for (total, part) in totals.iter_mut().zip(part) {
            *total += f64::from(part);
        }
    }
    let bias = totals[columns..].iter().map(|total| *total as f32).collect();
    totals.truncate(columns);
    let weight = totals.into_iter().map(|total| total as f32).collect();
    LayerNormGradients { input: result, weight, bias }
}

#[inline(always)]
fn row_gradients(
    input: &[f32],
    gradient: &[f32],
    weight: &[f32],
    mean: f32,
    inverse: f32,
    to: &mut [MaybeUninit<f32>],
    sums: &mut [f32],
) {
    let columns = input.len();
    let mut lanes = [[0.0f32; LANES]; 2];
    let (inputs, rest) = input.as_chunks::<LANES>();
    let (gradients, rest_gradient) = gradient.as_chunks::<LANES>();
    let (weights, rest_weight) = weight.as_chunks::<LANES>();
    for ((input, gradient), weight) in inputs.iter().zip(gradients).zip(weights) {
        for lane in 0..LANES {
            let scaled = gradient[lane] * weight[lane];
            lanes[0][lane] += scaled;
            lanes[1][lane] += scaled * ((input[lane] - mean) * inverse);
        }
    }
    for (lane, input) in rest.iter().enumerate() {
        let scaled = rest_gradient[lane] * rest_weight[lane];
        lanes[0][lane] += scaled;
        lanes[1][lane] += scaled * ((input - mean) * inverse);
    }
    // dx = inverse · (dz − mean(dz) − x̂ · mean(dz · x̂)), dz = gradient · weight.
    let of_all = (total(&lanes[0]) / columns as f64) as f32;
    let along = (total(&lanes[1]) / columns as f64) as f32;
    let (to_weight, to_bias) = sums.split_at_mut(columns);
    let operands = input.iter().zip(gradient).zip(weight);
    let results = to.iter_mut().zip(to_weight.iter_mut().zip(to_bias));
    for (((input, gradient), weight), (to, (to_weight, to_bias))) in operands.zip(results) {
        let normal = (input - mean) * inverse;
        *to_weight += gradient * normal;
        *to_bias += gradient;
        to.write(inverse * (gradient * weight - of_all - normal * along));
    }
}

fn check(input: &[f32], parameters: &LayerNormParameters<'_>) -> usize {
    let columns = parameters.weight.len();
    assert!(columns > 0, "rows must have at least one column");
    assert_eq!(parameters.bias.len(), columns, "bias and weight differ in length");
    assert!(
        input.len().is_multiple_of(columns),
        "input of {} elements is no whole number of rows of {columns}",
        input.len()
    );
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 250.0 - 2.0).collect()
    }

    fn close(found: &[f32], expected: &[f64], what: &str) {
        assert_eq!(found.len(), expected.len());
        for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= 1e-5 * (1.0 + expected.abs()), "{what}[{i}]: {found}, not {expected}");
        }
    }

    #[test]
    fn both_passes_agree_with_the_formulas() {
        for (rows, columns) in [(1, 1), (3, 2), (70, 31), (2, 384), (130, 65)] {
            let (input, gradient) = (values(rows * columns, 1), values(rows * columns, 2));
            let (weight, bias) = (values(columns, 3), values(columns, 4));
            let p = LayerNormParameters { weight: &weight, bias: &bias, epsilon: 1e-5 };
            let (mut y, mut dx) = (vec![], vec![]);
            let (mut dw, mut db) = (vec![0.0; columns], vec![0.0; columns]);
            for (x, g) in input.chunks(columns).zip(gradient.chunks(columns)) {
                let n = columns as f64;
                let mean = x.iter().map(|x| f64::from(*x)).sum::<f64>() / n;
                let variance = x.iter().map(|x| (f64::from(*x) - mean).powi(2)).sum::<f64>() / n;
                let inverse = 1.0 / (variance + 1e-5).sqrt();
                let normal: Vec<f64> = x.iter().map(|x| (f64::from(*x) - mean) * inverse).collect();
                let dz: Vec<f64> =
                    g.iter().zip(&weight).map(|(g, w)| f64::from(*g) * f64::from(*w)).collect();
                let total = dz.iter().sum::<f64>() / n;
                let along = dz.iter().zip(&normal).map(|(d, x)| d * x).sum::<f64>() / n;
                for c in 0..columns {
                    y.push(normal[c] * f64::from(weight[c]) + f64::from(bias[c]));
                    dx.push(inverse * (dz[c] - total - normal[c] * along));
                    dw[c] += f64::from(g[c]) * normal[c];
                    db[c] += f64::from(g[c]);
                }
            }
            let found = forward(&input, &p);
            close(&found.output, &y, "output");
            let back = backward(&input, &gradient, &weight, &found.mean, &found.inverse);
            close(&back.weight, &dw, "weight");
            close(&back.bias, &db, "bias");
            if columns > 2 {
                close(&back.input, &dx, "input");
            }
        }
    }

    #[test]
    fn a_large_offset_costs_no_digits() {
        let input: Vec<f32> =
            (0..384).map(|i| 10_000.0 + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
        let (weight, bias) = (vec![1.0; 384], vec![0.0; 384]);
        let p = LayerNormParameters { weight: &weight, bias: &bias, epsilon: 0.0 };
        let found = forward(&input, &p);
        assert_eq!((found.mean[0], found.inverse[0]), (10_000.0, 1.0));
        assert_eq!(found.output[..2], [1.0, -1.0]);
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (input, gradient, weight) = (values(300 * 97, 1), values(300 * 97, 2), values(97, 3));
        let p = LayerNormParameters { weight: &weight, bias: &weight, epsilon: 1e-6 };
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let found = forward(&input, &p);
                let back = backward(&input, &gradient, &weight, &found.mean, &found.inverse);
                (found, back)
            })
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }

    #[test]
    #[should_panic(expected = "input of 3 elements is no whole number of rows of 2")]
    fn a_broken_row_is_named() {
        let p = LayerNormParameters { weight: &[1.0; 2], bias: &[0.0; 2], epsilon: 1e-5 };
        let _ = forward(&[0.0; 3], &p);
    }
}
