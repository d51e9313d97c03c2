//! Maximum pooling of planes `[N · C, H, W]`, forward with the place of each maximum, and backward.
//!
//! Traffic bound: each input is read once, and one byte an output remembers where the maximum was.
//! Planes are independent; results are the same for any number of threads.

use crate::lanes::{Level, for_level};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements below which work is not shared out.
const SMALL: usize = 16 * 1024;

/// Sizes of a pooling without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolShape {
    /// Planes: images times channels.
    pub planes: usize,
    /// Rows and columns of an input plane.
    pub input: [usize; 2],
    /// Side of the window.
    pub kernel: usize,
    /// Step between windows.
    pub stride: usize,
}

impl PoolShape {
    /// Rows and columns of an output plane.
    ///
    /// # Panics
    ///
    /// If the kernel is not in `1..=16` (a byte holds a maximum's place), the stride is zero, or the
    /// kernel is larger than the input.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        assert!(
            (1..=16).contains(&self.kernel) && self.stride > 0,
            "kernel {} must be in 1..=16 and stride {} above zero",
            self.kernel,
            self.stride
        );
        self.input.map(|side| {
            assert!(
                side >= self.kernel,
                "kernel of {} is larger than the input of {side}",
                self.kernel
            );
            (side - self.kernel) / self.stride + 1
        })
    }

    /// Elements of the input.
    #[must_use]
    pub fn input_len(&self) -> usize {
        self.planes * self.input[0] * self.input[1]
    }

    /// Elements of the output.
    ///
    /// # Panics
    ///
    /// As [`PoolShape::output`].
    #[must_use]
    pub fn output_len(&self) -> usize {
        let [rows, columns] = self.output();
        self.planes * rows * columns
    }

    /// Planes that are worth a task.
    fn planes_per_task(&self) -> usize {
        (SMALL / (self.input[0] * self.input[1]).max(1)).max(1)
    }
}

/// The maximum of each window, and its place in the window, counted row by row.
///
/// The first of equal values wins; NaN wins over numbers.
///
/// # Panics
///
/// If `input`'s length differs from the shape's, or as [`PoolShape::output`].
#[must_use]
pub fn forward(shape: &PoolShape, input: &[f32]) -> (Vec<f32>, Vec<u8>) {
    forward_at(Level::detect(), shape, input)
}

fn forward_at(level: Level, shape: &PoolShape, input: &[f32]) -> (Vec<f32>, Vec<u8>) {
    assert_len("input", input.len(), shape.input_len());
    let [rows, columns] = shape.output();
    let area = rows * columns;
    let (height, width) = (shape.input[0], shape.input[1]);
    // Small against the input, so that clearing them first hardly counts.
    let mut output = vec![0.0f32; shape.planes * area];
    let mut places = vec![0u8; shape.planes * area];
    let (kernel, stride) = (shape.kernel, shape.stride);
    output
        .par_chunks_exact_mut(area)
        .zip(places.par_chunks_exact_mut(area))
        .zip(input.par_chunks_exact(height * width))
        .with_min_len(shape.planes_per_task())
        .for_each(|((output, places), input)| {
            for_level!(level, windows(
                input: &[f32],
                width: usize,
                columns: usize,
                kernel: usize,
                stride: usize,
                output: &mut [f32],
                places: &mut [u8],
            ));
        });
    (output, places)
}

/// All windows of one plane.
#[inline(always)]
fn windows(
    input: &[f32],
    width: usize,
    columns: usize,
    kernel: usize,
    stride: usize,
    output: &mut [f32],
    places: &mut [u8],
) {
    if kernel == 2 && stride == 2 {
        return pairs(input, width, columns, output, places);
    }
    let lines = output.chunks_exact_mut(columns).zip(places.chunks_exact_mut(columns));
    for (row, (output, places)) in lines.enumerate() {
        for y in 0..kernel {
            for x in 0..kernel {
                let line = &input[(row * stride + y) * width + x..];
                let place = (y * kernel + x) as u8;
                for (column, (best, at)) in output.iter_mut().zip(places.iter_mut()).enumerate() {
                    let value = line[column * stride];
                    if place == 0 || value > *best || value.is_nan() && !best.is_nan() {
                        *best = value;
                        *at = place;
                    }
                }
            }
        }
    }
}

/// Windows of 2 x 2, side by side.
#[inline(always)]
fn pairs(input: &[f32], width: usize, columns: usize, output: &mut [f32], places: &mut [u8]) {
    // NaN wins: a comparison is true unless the first is a number that is at least the second.
    #[inline(always)]
    fn better(first: f32, second: f32) -> bool {
        #[allow(clippy::neg_cmp_op_on_partial_ord)]
        let wins = !(first >= second);
        wins & !first.is_nan()
    }
    let lines = output.chunks_exact_mut(columns).zip(places.chunks_exact_mut(columns));
    for (row, (output, places)) in lines.enumerate() {
        let (top, _) = input[2 * row * width..][..2 * columns].as_chunks::<2>();
        let (bottom, _) = input[(2 * row + 1) * width..][..2 * columns].as_chunks::<2>();
        for (((output, place), top), bottom) in output.iter_mut().zip(places).zip(top).zip(bottom) {
            let right = better(top[0], top[1]);
            let upper = if right { top[1] } else { top[0] };
            let low_right = better(bottom[0], bottom[1]);
            let lower = if low_right { bottom[1] } else { bottom[0] };
            let down = better(upper, lower);
            *output = if down { lower } else { upper };
            *place = if down { 2 + u8::from(low_right) } else { u8::from(right) };
        }
    }
}

/// The gradient of the input, from the places and the output's `gradient`.
///
/// # Panics
///
/// If a slice's length differs from the shape's, or as [`PoolShape::output`].
#[must_use]
pub fn backward(shape: &PoolShape, places: &[u8], gradient: &[f32]) -> Vec<f32> {
    assert_len("places", places.len(), shape.output_len());
    assert_len("gradient", gradient.len(), shape.output_len());
    let [rows, columns] = shape.output();
    let area = rows * columns;
    let (height, width) = (shape.input[0], shape.input[1]);
    let mut result: Vec<f32> = Vec::with_capacity(shape.input_len());
    result.spare_capacity_mut()[..shape.input_len()]
        .par_chunks_exact_mut(height * width)
        .zip(places.par_chunks_exact(area))
        .zip(gradient.par_chunks_exact(area))
        .with_min_len(shape.planes_per_task())
        .for_each(|((result, places), gradient)| {
            let result = zeroed(result);
            let lines = gradient.chunks_exact(columns).zip(places.chunks_exact(columns));
            if shape.kernel == 2 && shape.stride == 2 {
                for (row, (gradient, places)) in lines.enumerate() {
                    let (top, bottom) = result[2 * row * width..][..2 * width].split_at_mut(width);
                    let (top, _) = top.as_chunks_mut::<2>();
                    let (bottom, _) = bottom.as_chunks_mut::<2>();
                    for (((gradient, place), top), bottom) in
                        gradient.iter().zip(places).zip(top).zip(bottom)
                    {
                        let only = |at: u8| if *place == at { *gradient } else { 0.0 };
                        *top = [only(0), only(1)];
                        *bottom = [only(2), only(3)];
                    }
                }
                return;
            }
            for (row, (gradient, places)) in lines.enumerate() {
                for (column, (gradient, place)) in gradient.iter().zip(places).enumerate() {
                    let place = usize::from(*place);
                    let y = row * shape.stride + place / shape.kernel;
                    let x = column * shape.stride + place % shape.kernel;
                    result[y * width + x] += gradient;
                }
            }
        });
    finish(result, shape.input_len())
}

/// Fills a plane with zeros.
#[allow(unsafe_code)]
fn zeroed(plane: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    plane.fill(MaybeUninit::new(0.0));
    // SAFETY: every element was just written.
    unsafe { plane.assume_init_mut() }
}

/// Takes a vector whose capacity was written.
#[allow(unsafe_code)]
fn finish(mut result: Vec<f32>, len: usize) -> Vec<f32> {
    assert!(result.capacity() >= len);
    // SAFETY: every plane was filled, and planes are the whole length.
    unsafe { result.set_len(len) };
    result
}

fn assert_len(what: &str, found: usize, expected: usize) {
    assert_eq!(found, expected, "{what} has {found} elements, its shape {expected}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(planes: usize, input: [usize; 2], kernel: usize, stride: usize) -> PoolShape {
        PoolShape { planes, input, kernel, stride }
    }

    #[test]
    fn a_small_plane() {
        let shape = shape(1, [2, 4], 2, 2);
        let input = [1.0, 2.0, 7.0, 7.0, 4.0, 3.0, 7.0, 1.0];
        for level in Level::supported() {
            let (output, places) = forward_at(level, &shape, &input);
            assert_eq!((output.as_slice(), places.as_slice()), (&[4.0, 7.0][..], &[2, 0][..]));
        }
        assert_eq!(
            backward(&shape, &[2, 0], &[10.0, 20.0]),
            [0.0, 0.0, 20.0, 0.0, 10.0, 0.0, 0.0, 0.0]
        );
    }

    #[test]
    fn odd_sizes_and_overlaps_agree_with_a_plain_search() {
        for (input, kernel, stride) in [
            ([5, 7], 2, 2),
            ([2, 2], 2, 2),
            ([28, 28], 2, 2),
            ([9, 9], 3, 2),
            ([8, 11], 3, 1),
            ([4, 4], 1, 3),
            ([16, 16], 16, 1),
        ] {
            let shape = shape(3, input, kernel, stride);
            let values: Vec<f32> = (0..shape.input_len()).map(|i| (i * 31 % 17) as f32).collect();
            let [rows, columns] = shape.output();
            let gradient: Vec<f32> = (0..shape.output_len()).map(|i| i as f32 + 1.0).collect();
            let (mut output, mut places, mut back) = (vec![], vec![], vec![0.0; values.len()]);
            for plane in 0..3 {
                for row in 0..rows {
                    for column in 0..columns {
                        let at = |place: usize| {
                            (plane * input[0] + row * stride + place / kernel) * input[1]
                                + column * stride
                                + place % kernel
                        };
                        let mut best = 0;
                        for place in 1..kernel * kernel {
                            if values[at(place)] > values[at(best)] {
                                best = place;
                            }
                        }
                        back[at(best)] += gradient[output.len()];
                        output.push(values[at(best)]);
                        places.push(best as u8);
                    }
                }
            }
            for level in Level::supported() {
                assert_eq!(forward_at(level, &shape, &values), (output.clone(), places.clone()));
            }
            assert_eq!(backward(&shape, &places, &gradient), back);
        }
    }

    #[test]
    fn nan_wins() {
        for kernel in [2, 3] {
            for place in 0..kernel * kernel {
                let shape = shape(1, [kernel, kernel], kernel, kernel);
                let mut input = vec![1.0; kernel * kernel];
                input[place] = f32::NAN;
                let (output, places) = forward(&shape, &input);
                assert!(output[0].is_nan());
                assert_eq!(usize::from(places[0]), place);
            }
        }
    }

    #[test]
    #[should_panic(expected = "kernel of 3 is larger than the input of 2")]
    fn kernel_beyond_the_input_panics() {
        let _ = shape(1, [4, 2], 3, 1).output();
    }
}
