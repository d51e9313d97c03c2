//! Means over windows of planes `[N · C, H, W]`: average, adaptive and global pooling, forward and backward.
//!
//! A window is a stretch of rows times a stretch of columns. So forward adds up whole rows first, in vectors, and then the
//! columns of their sum; backward spreads a row of gradients over the columns once and adds it to each of its rows.

use super::{SMALL, assert_len};
use crate::lanes::{Level, for_level};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Planes of a task, where a window is the whole plane.
const PLANES: usize = 64;

/// The part of one axis that an output averages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First place inside the image.
    pub start: usize,
    /// Behind the last place inside the image.
    pub end: usize,
    /// Places that count: the divisor is the product of both axes' counts.
    pub count: usize,
}

/// The spans of windows of `kernel` places, `stride` apart, with `padding` on both sides (PyTorch's rules).
///
/// With `count_include_pad` the padding's zeros count; what reaches beyond the padding never does.
///
/// # Panics
///
/// As [`super::windows`].
#[must_use]
pub fn spans(
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    ceil_mode: bool,
    count_include_pad: bool,
) -> Vec<Span> {
    (0..super::windows(size, kernel, stride, padding, ceil_mode))
        .map(|index| {
            let first = index * stride;
            let last = (first + kernel).min(size + 2 * padding);
            let start = first.saturating_sub(padding).min(size);
            let end = last.saturating_sub(padding).min(size);
            Span { start, end, count: if count_include_pad { last - first } else { end - start } }
        })
        .collect()
}

/// The spans of adaptive pooling to `outputs` places: from `⌊i size / outputs⌋` to `⌈(i + 1) size / outputs⌉`.
///
/// # Panics
///
/// If either is zero.
#[must_use]
pub fn adaptive_spans(size: usize, outputs: usize) -> Vec<Span> {
    assert!(size > 0 && outputs > 0, "cannot pool {size} places to {outputs}");
    (0..outputs)
        .map(|index| {
            let start = index * size / outputs;
            let end = ((index + 1) * size).div_ceil(outputs);
            Span { start, end, count: end - start }
        })
        .collect()
}

/// The mean of each window of each plane of `[rows, columns]`.
///
/// # Panics
///
/// If the input is no whole number of planes, or a span reaches out of its axis.
#[must_use]
pub fn forward(input: &[f32], size: [usize; 2], rows: &[Span], columns: &[Span]) -> Vec<f32> {
    let planes = check(input.len(), size, rows, columns);
    let [height, width] = size;
    let area = rows.len() * columns.len();
    let mut output = vec![0.0f32; planes * area];
    if output.is_empty() {
        return output;
    }
    let level = Level::detect();
    if let Some(count) = whole(size, rows, columns) {
        // Rows are no help here: they may be seven pixels long.
        let area = height * width;
        output.par_chunks_mut(PLANES).zip(input.par_chunks(PLANES * area)).for_each(
            |(output, input)| {
                for_level!(level, plane_means(
                    input: &[f32],
                    area: usize,
                    count: f64,
                    output: &mut [f32],
                ));
            },
        );
        return output;
    }
    output
        .par_chunks_exact_mut(area)
        .zip(input.par_chunks_exact(height * width))
        .with_min_len(per_task(size))
        .for_each_init(
            || vec![0.0f32; width],
            |line, (output, input)| {
                for_level!(level, means(
                    input: &[f32],
                    line: &mut [f32],
                    rows: &[Span],
                    columns: &[Span],
                    output: &mut [f32],
                ));
            },
        );
    output
}

/// The divisor, if one window is the whole plane.
fn whole(size: [usize; 2], rows: &[Span], columns: &[Span]) -> Option<f64> {
    let ([row], [column]) = (rows, columns) else { return None };
    let found = [row.end - row.start, column.end - column.start];
    (found == size).then_some((row.count * column.count) as f64)
}

#[inline(always)]
fn plane_means(input: &[f32], area: usize, count: f64, output: &mut [f32]) {
    for (mean, plane) in output.iter_mut().zip(input.chunks_exact(area)) {
        *mean = (total(plane) / count) as f32;
    }
}

#[inline(always)]
fn means(input: &[f32], line: &mut [f32], rows: &[Span], columns: &[Span], output: &mut [f32]) {
    let width = line.len();
    for (row, output) in rows.iter().zip(output.chunks_exact_mut(columns.len())) {
        line.fill(0.0);
        for y in row.start..row.end {
            for (sum, pixel) in line.iter_mut().zip(&input[y * width..][..width]) {
                *sum += pixel;
            }
        }
        for (column, output) in columns.iter().zip(output) {
            let sum: f32 = line[column.start..column.end].iter().sum();
            // A window wholly in the padding has no place that counts: its mean is NaN, as in PyTorch.
            *output = sum / (row.count * column.count) as f32;
        }
    }
}

/// A plane's sum, in lanes that are emptied into f64; the lanes are added as a fixed tree.
#[inline(always)]
fn total(plane: &[f32]) -> f64 {
    let mut total = 0.0;
    for piece in plane.chunks(1024) {
        let mut lanes = [0.0f32; 16];
        let (whole, rest) = piece.as_chunks::<16>();
        for chunk in whole {
            for lane in 0..16 {
                lanes[lane] += chunk[lane];
            }
        }
        let rest: f32 = rest.iter().sum();
        let eight: [f32; 8] = std::array::from_fn(|lane| lanes[lane] + lanes[lane + 8]);
        let [a, b, c, d] = std::array::from_fn(|lane| eight[lane] + eight[lane + 4]);
        total += f64::from((a + c) + (b + d)) + f64::from(rest);
    }
    total
}

/// The gradient of an input of `size` rows and columns, from the output's `gradient`.
///
/// # Panics
///
/// If the gradient is no whole number of planes, or a span reaches out of its axis.
#[must_use]
pub fn backward(gradient: &[f32], size: [usize; 2], rows: &[Span], columns: &[Span]) -> Vec<f32> {
    let [height, width] = size;
    let area = rows.len() * columns.len();
    let planes = gradient.len().checked_div(area).unwrap_or(0);
    assert_len("gradient", gradient.len(), planes * area);
    check(planes * height * width, size, rows, columns);
    let mut result: Vec<f32> = Vec::with_capacity(planes * height * width);
    if planes * height * width == 0 {
        return result;
    }
    if let Some(count) = whole(size, rows, columns) {
        result.spare_capacity_mut()[..planes * height * width]
            .par_chunks_mut(PLANES * height * width)
            .zip(gradient.par_chunks(PLANES))
            .for_each(|(result, gradient)| {
                for (plane, gradient) in result.chunks_exact_mut(height * width).zip(gradient) {
                    plane.fill(MaybeUninit::new((f64::from(*gradient) / count) as f32));
                }
            });
        return super::finish(result, planes * height * width);
    }
    let level = Level::detect();
    result.spare_capacity_mut()[..planes * height * width]
        .par_chunks_exact_mut(height * width)
        .zip(gradient.par_chunks_exact(area))
        .with_min_len(per_task(size))
        .for_each_init(
            || vec![0.0f32; width],
            |line, (result, gradient)| {
                let result = super::zeroed(result);
                for_level!(level, spread(
                    gradient: &[f32],
                    line: &mut [f32],
                    rows: &[Span],
                    columns: &[Span],
                    result: &mut [f32],
                ));
            },
        );
    super::finish(result, planes * height * width)
}

#[inline(always)]
fn spread(gradient: &[f32], line: &mut [f32], rows: &[Span], columns: &[Span], result: &mut [f32]) {
    let width = line.len();
    for (row, gradient) in rows.iter().zip(gradient.chunks_exact(columns.len())) {
        line.fill(0.0);
        for (column, gradient) in columns.iter().zip(gradient) {
            let share = gradient / (row.count * column.count) as f32;
            for sum in &mut line[column.start..column.end] {
                *sum += share;
            }
        }
        for y in row.start..row.end {
            for (result, sum) in result[y * width..][..width].iter_mut().zip(&*line) {
                *result += sum;
            }
        }
    }
}

fn per_task(size: [usize; 2]) -> usize {
    (SMALL / (size[0] * size[1]).max(1)).max(1)
}

/// The number of planes.
fn check(len: usize, size: [usize; 2], rows: &[Span], columns: &[Span]) -> usize {
    for (size, spans) in size.iter().zip([rows, columns]) {
        assert!(
            spans.iter().all(|span| span.start <= span.end && span.end <= *size),
            "a span reaches out of {size} places: {spans:?}"
        );
    }
    let area = size[0] * size[1];
    let planes = len.checked_div(area).unwrap_or(0);
    assert_len("input", len, planes * area);
    planes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_as_pytorch_cuts_them() {
        let span = |start, end, count| Span { start, end, count };
        assert_eq!(spans(4, 3, 2, 1, false, true), [span(0, 2, 3), span(1, 4, 3)]);
        // In ceil mode a last window begins in the image and reaches beyond the padding, which never counts.
        assert_eq!(spans(4, 3, 2, 1, true, true)[2], span(3, 4, 2));
        assert_eq!(spans(4, 3, 2, 1, true, false)[2], span(3, 4, 1));
        assert_eq!(adaptive_spans(5, 2), [span(0, 3, 3), span(2, 5, 3)]);
        assert_eq!(adaptive_spans(2, 3), [span(0, 1, 1), span(0, 2, 2), span(1, 2, 1)]);
    }

    #[test]
    fn agrees_with_a_plain_mean() {
        for (size, kernel, stride, padding, ceil) in [
            ([7, 5], 3, 2, 1, false),
            ([7, 6], 3, 2, 1, true),
            ([9, 40], 2, 2, 0, false),
            ([1, 1], 3, 1, 1, false),
            ([14, 14], 3, 1, 1, false),
        ] {
            for include in [false, true] {
                let [rows, columns] =
                    size.map(|size| spans(size, kernel, stride, padding, ceil, include));
                agrees(size, &rows, &columns);
            }
        }
        for (size, outputs) in
            [([7, 5], [3, 2]), ([7, 7], [1, 1]), ([56, 50], [1, 1]), ([2, 3], [4, 4])]
        {
            let [rows, columns] =
                [0, 1].map(|axis: usize| adaptive_spans(size[axis], outputs[axis]));
            agrees(size, &rows, &columns);
        }
    }

    fn agrees(size: [usize; 2], rows: &[Span], columns: &[Span]) {
        let planes = 3;
        let [height, width] = size;
        let input: Vec<f32> = (0..planes * height * width).map(|i| (i * 31 % 17) as f32).collect();
        let area = rows.len() * columns.len();
        let gradient: Vec<f32> = (0..planes * area).map(|i| (i * 7 % 11) as f32 - 5.0).collect();
        let (mut output, mut back) = (vec![], vec![0.0f64; input.len()]);
        for plane in 0..planes {
            for row in rows {
                for column in columns {
                    let mut sum = 0.0;
                    let divisor = (row.count * column.count) as f64;
                    for y in row.start..row.end {
                        for x in column.start..column.end {
                            let at = (plane * height + y) * width + x;
                            sum += f64::from(input[at]);
                            back[at] += f64::from(gradient[output.len()]) / divisor;
                        }
                    }
                    output.push(sum / divisor);
                }
            }
        }
        let close = |found: Vec<f32>, expected: Vec<f64>| {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                let error = (f64::from(*found) - expected).abs();
                assert!(
                    error <= 2e-6 * (1.0 + expected.abs()),
                    "{size:?}: {found}, not {expected}"
                );
            }
        };
        close(forward(&input, size, rows, columns), output);
        close(backward(&gradient, size, rows, columns), back);
    }
}
