//! Rows divided by their Euclidean length, forward and backward. One pass each; a row stays in the first-level cache.

use crate::lanes::{Level, for_level};
use crate::product::dot_f64;
use rayon::prelude::*;

/// The least length that rows are divided by, PyTorch's `normalize`.
const LEAST: f64 = 1e-12;

/// Rows that are worth a task.
const ROWS: usize = 16;

/// The rows of `dim` columns, each divided by its length or by 1e-12 if that is more, and what each was divided by.
///
/// # Panics
///
/// If `dim` is zero or the input is no whole number of rows.
#[must_use]
pub fn forward(input: &[f32], dim: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = check(input, dim);
    let level = Level::detect();
    let (mut output, mut lengths) = (vec![0.0; input.len()], vec![0.0; rows]);
    output
        .par_chunks_exact_mut(dim)
        .zip(input.par_chunks_exact(dim))
        .zip(&mut lengths)
        .with_min_len(ROWS)
        .for_each(|((to, from), length)| {
            let norm = dot_f64(from, from).sqrt();
            // NaN stays NaN: `max` would hide it.
            let norm = if norm < LEAST { LEAST } else { norm };
            *length = norm as f32;
            let norm = *length;
            for_level!(level, divide(from: &[f32], norm: f32, to: &mut [f32]));
        });
    (output, lengths)
}

/// The input's gradient, from what [`forward`] gave and the output's `gradient`: `(g − y (y · g)) / length`; for rows below
/// the least length `g / length`.
///
/// # Panics
///
/// As [`forward`], or if the lengths of the slices do not fit.
#[must_use]
pub fn backward(output: &[f32], lengths: &[f32], gradient: &[f32], dim: usize) -> Vec<f32> {
    let rows = check(output, dim);
    let level = Level::detect();
    assert_eq!(gradient.len(), output.len(), "gradient and output differ in length");
    assert_eq!(lengths.len(), rows, "{} lengths for {rows} rows", lengths.len());
    let mut result = vec![0.0; output.len()];
    result
        .par_chunks_exact_mut(dim)
        .zip(output.par_chunks_exact(dim).zip(gradient.par_chunks_exact(dim)))
        .zip(lengths)
        .with_min_len(ROWS)
        .for_each(|((to, (output, gradient)), length)| {
            let cut = *length <= LEAST as f32;
            let along = if cut { 0.0 } else { dot_f64(output, gradient) };
            let factor = 1.0 / f64::from(*length);
            for_level!(level, combine(
                gradient: &[f32],
                output: &[f32],
                along: f64,
                factor: f64,
                to: &mut [f32],
            ));
        });
    result
}

#[inline(always)]
fn divide(from: &[f32], by: f32, to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = from / by;
    }
}

/// `(x − along · y) · factor`.
#[inline(always)]
fn combine(x: &[f32], y: &[f32], along: f64, factor: f64, to: &mut [f32]) {
    for ((to, x), y) in to.iter_mut().zip(x).zip(y) {
        *to = ((f64::from(*x) - f64::from(*y) * along) * factor) as f32;
    }
}

fn check(input: &[f32], dim: usize) -> usize {
    assert!(dim > 0, "rows must have at least one column");
    assert!(
        input.len().is_multiple_of(dim),
        "input of {} elements is no whole number of rows of {dim}",
        input.len()
    );
    input.len() / dim
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_triangle() {
        let (output, lengths) = forward(&[3.0, 4.0, 0.0, 0.0], 2);
        assert_eq!(
            (output.as_slice(), lengths.as_slice()),
            (&[0.6, 0.8, 0.0, 0.0][..], &[5.0, 1e-12][..])
        );
        // Along the row nothing changes, across it everything does, by 1 / 5.
        let along = backward(&output[..2], &lengths[..1], &[0.6, 0.8], 2);
        assert!(along.iter().all(|value| value.abs() < 1e-7), "{along:?}");
        let across = backward(&output[..2], &lengths[..1], &[-0.8, 0.6], 2);
        assert!((across[0] + 0.16).abs() < 1e-7 && (across[1] - 0.12).abs() < 1e-7);
        // Below the least length a row is multiplied by 1e12.
        let short = backward(&output[2..], &lengths[1..], &[1.0, -2.0], 2);
        assert!((short[0] / 1e12 - 1.0).abs() < 1e-6 && (short[1] / 1e12 + 2.0).abs() < 1e-6);
    }

    #[test]
    fn large_and_small_rows() {
        // Their squares are no f32, or lose digits there.
        let (output, lengths) = forward(&[3e30, 4e30, 3e-11, 4e-11], 2);
        for (found, expected) in output.iter().zip([0.6, 0.8, 0.6, 0.8]) {
            assert!((found - expected).abs() < 1e-7, "{output:?}");
        }
        assert!((lengths[0] / 5e30 - 1.0).abs() < 1e-6 && (lengths[1] / 5e-11 - 1.0).abs() < 1e-6);
    }
}
