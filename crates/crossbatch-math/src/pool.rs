//! Pooling. Here: maxima of windows of planes `[N · C, H, W]`, forward with the place of each maximum, and backward.
//!
//! Traffic bound: each input is read once, and one byte an output remembers where the maximum was.
//! Planes are independent; results are the same for any number of threads.

pub mod average;

use crate::lanes::{Arithmetic, Level, for_lanes, for_level};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements below which work is not shared out.
const SMALL: usize = 16 * 1024;

/// Sizes of a maximum pooling.
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
    /// Rows and columns around the image, from where no maximum comes.
    pub padding: usize,
    /// Whether a last window may reach beyond the padding.
    pub ceil_mode: bool,
}

/// The windows along an axis of `size` places, by PyTorch's rules: in ceil mode a last one that is not whole counts, if it
/// begins before the padding behind the image.
///
/// # Panics
///
/// If the stride is zero, the kernel zero or larger than the padded axis, or the padding more than half of the kernel.
#[must_use]
pub fn windows(
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    ceil_mode: bool,
) -> usize {
    assert!(stride > 0, "stride {stride} must not be zero");
    assert!(padding <= kernel / 2, "padding {padding} is more than half of kernel {kernel}");
    let padded = size + 2 * padding;
    assert!(
        (1..=padded).contains(&kernel),
        "kernel of {kernel} is larger than the padded input of {padded}"
    );
    if !ceil_mode {
        return (padded - kernel) / stride + 1;
    }
    let count = (padded - kernel).div_ceil(stride) + 1;
    if (count - 1) * stride >= size + padding { count - 1 } else { count }
}

impl PoolShape {
    /// Rows and columns of an output plane.
    ///
    /// # Panics
    ///
    /// If the kernel is above 16 (a byte holds a maximum's place), or as [`windows`].
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        assert!(self.kernel <= 16, "kernel {} must be in 1..=16", self.kernel);
        self.input.map(|side| windows(side, self.kernel, self.stride, self.padding, self.ceil_mode))
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
    if output.is_empty() {
        return (output, places);
    }
    output
        .par_chunks_exact_mut(area)
        .zip(places.par_chunks_exact_mut(area))
        .zip(input.par_chunks_exact(height * width))
        .with_min_len(shape.planes_per_task())
        .for_each_init(
            || Bordered::new(shape),
            |bordered, ((output, places), input)| {
                for_lanes!(level, plane(
                    shape: &PoolShape,
                    bordered: &mut Bordered,
                    input: &[f32],
                    output: &mut [f32],
                    places: &mut [u8],
                ));
            },
        );
    (output, places)
}

/// The maxima of a vector of windows of row `row`, from `column` on, and their places as numbers; `above` rows of them lie
/// above the image.
///
/// # Safety
///
/// As [`crate::lanes::Lanes`]; `column` must be at most the blocks' end less a vector.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn search<L: Arithmetic>(
    shape: &PoolShape,
    bordered: &Bordered,
    row: usize,
    above: usize,
    column: usize,
) -> (L, L) {
    let (kernel, stride, part) = (shape.kernel, shape.stride, bordered.part);
    // SAFETY: `first` and each part of a row hold whole blocks, parts `(kernel - 1) / stride` places more; the slices and
    // the caller's word on `column` keep every vector inside.
    unsafe {
        let mut best = L::splat(f32::NEG_INFINITY);
        // Where every value is -inf, the first of the window wins all the same.
        let mut at =
            L::load(bordered.first[column..].as_ptr()).add(L::splat((above * kernel) as f32));
        for y in 0..kernel {
            let line = &bordered.values[(row * stride + y) * stride * part..][..stride * part];
            for x in 0..kernel {
                let from = line[x % stride * part + x / stride + column..].as_ptr();
                let value = L::load(from);
                // NaN wins over numbers, and the first NaN over others.
                let better = value.not_at_most(best) & !best.not_at_most(best);
                best = L::select(better, value, best);
                at = L::select(better, L::splat((y * kernel + x) as f32), at);
            }
        }
        (best, at)
    }
}

/// Columns that are searched together: the lanes of the widest vectors.
const BLOCK: usize = 16;

/// A plane with a border of minus infinity, each row split by the remainder of its columns by the stride, so that one place
/// of neighbouring windows lies side by side and no window needs a check.
struct Bordered {
    values: Vec<f32>,
    /// Places of one remainder of one row.
    part: usize,
    /// The first place of each column's windows that lies inside the image.
    first: Vec<f32>,
}

impl Bordered {
    fn new(shape: &PoolShape) -> Self {
        let [rows, columns] = shape.output();
        let blocks = columns.div_ceil(BLOCK) * BLOCK;
        let part = blocks + (shape.kernel - 1) / shape.stride;
        let height = (rows - 1) * shape.stride + shape.kernel;
        let first = |column: usize| shape.padding.saturating_sub(column * shape.stride) as f32;
        Self {
            values: vec![f32::NEG_INFINITY; height * shape.stride * part],
            part,
            first: (0..blocks).map(first).collect(),
        }
    }

    /// Takes in a plane; the border stays.
    #[inline(always)]
    fn load(&mut self, shape: &PoolShape, input: &[f32]) {
        let (stride, padding, part) = (shape.stride, shape.padding, self.part);
        let rows = self.values.chunks_exact_mut(stride * part).skip(padding);
        for (to, from) in rows.zip(input.chunks_exact(shape.input[1])) {
            if stride == 1 {
                let count = from.len().min(part - padding);
                to[padding..padding + count].copy_from_slice(&from[..count]);
                continue;
            }
            if stride == 2 {
                let (even, odd) = to.split_at_mut(part);
                let (pairs, last) = from.as_chunks::<2>();
                // The first column is even in the border's own counting where the padding is.
                let (here, there) = if padding % 2 == 0 { (even, odd) } else { (odd, even) };
                let (here, there) = (&mut here[padding / 2..], &mut there[padding.div_ceil(2)..]);
                for (to, pair) in here.iter_mut().zip(pairs) {
                    *to = pair[0];
                }
                for (to, pair) in there.iter_mut().zip(pairs) {
                    *to = pair[1];
                }
                if let (Some(to), [last]) = (here.get_mut(pairs.len()), last) {
                    *to = *last;
                }
                continue;
            }
            for offset in 0..stride.min(from.len()) {
                let place = padding + offset;
                let to = &mut to[place % stride * part..][..part];
                let from = from[offset..].iter().step_by(stride);
                for (to, from) in to[place / stride..].iter_mut().zip(from) {
                    *to = *from;
                }
            }
        }
    }
}

/// All windows of one plane.
#[inline(always)]
fn plane<L: Arithmetic>(
    shape: &PoolShape,
    bordered: &mut Bordered,
    input: &[f32],
    output: &mut [f32],
    places: &mut [u8],
) {
    let (kernel, stride, padding) = (shape.kernel, shape.stride, shape.padding);
    let columns = shape.output()[1];
    if kernel == 2 && stride == 2 && padding == 0 && !shape.ceil_mode {
        return pairs(input, shape.input[1], columns, output, places);
    }
    bordered.load(shape, input);
    let lines = output.chunks_exact_mut(columns).zip(places.chunks_exact_mut(columns));
    for (row, (output, places)) in lines.enumerate() {
        let above = padding.saturating_sub(row * stride);
        let blocks = output.chunks_mut(BLOCK).zip(places.chunks_mut(BLOCK));
        for (block, (output, places)) in blocks.enumerate() {
            let (mut best, mut at) = ([0.0; BLOCK], [0.0; BLOCK]);
            for lane in (0..BLOCK).step_by(L::LANES) {
                let column = block * BLOCK + lane;
                // SAFETY: `for_lanes` chose `L` by the processor; `LANES` divides `BLOCK`.
                #[allow(unsafe_code)]
                unsafe {
                    let (most, place) = search::<L>(shape, bordered, row, above, column);
                    most.store(best[lane..].as_mut_ptr());
                    place.store(at[lane..].as_mut_ptr());
                }
            }
            output.copy_from_slice(&best[..output.len()]);
            for (place, at) in places.iter_mut().zip(at) {
                *place = at as u8;
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
    if gradient.is_empty() || shape.input_len() == 0 {
        return vec![0.0; shape.input_len()];
    }
    let mut offsets = [0; 256];
    for (place, offset) in offsets.iter_mut().enumerate() {
        *offset = place / shape.kernel * width + place % shape.kernel;
    }
    let mut result: Vec<f32> = Vec::with_capacity(shape.input_len());
    let level = Level::detect();
    result.spare_capacity_mut()[..shape.input_len()]
        .par_chunks_exact_mut(height * width)
        .zip(places.par_chunks_exact(area))
        .zip(gradient.par_chunks_exact(area))
        .with_min_len(shape.planes_per_task())
        .for_each(|((result, places), gradient)| {
            if shape.kernel == 2 && shape.stride == 2 && shape.padding == 0 && !shape.ceil_mode {
                for_level!(level, share_pairs(
                    gradient: &[f32],
                    places: &[u8],
                    width: usize,
                    columns: usize,
                    result: &mut [MaybeUninit<f32>],
                ));
                return;
            }
            let result = zeroed(result);
            let lines = gradient.chunks_exact(columns).zip(places.chunks_exact(columns));
            for (row, (gradient, places)) in lines.enumerate() {
                // The window's corner; only with the place's offset is it inside the image.
                let corner = (row * shape.stride * width).wrapping_sub(shape.padding * (width + 1));
                for (column, (gradient, place)) in gradient.iter().zip(places).enumerate() {
                    let at = corner
                        .wrapping_add(column * shape.stride)
                        .wrapping_add(offsets[usize::from(*place)]);
                    result[at] += gradient;
                }
            }
        });
    finish(result, shape.input_len())
}

/// The gradient of a plane cut into windows of 2 x 2; writes every element.
#[inline(always)]
fn share_pairs(
    gradient: &[f32],
    places: &[u8],
    width: usize,
    columns: usize,
    result: &mut [MaybeUninit<f32>],
) {
    let zero = MaybeUninit::new(0.0);
    let mut rows = result.chunks_exact_mut(2 * width);
    let lines = gradient.chunks_exact(columns).zip(places.chunks_exact(columns));
    for ((gradient, places), rows) in lines.zip(&mut rows) {
        let (top, bottom) = rows.split_at_mut(width);
        for (line, first) in [(top, 0u8), (bottom, 2)] {
            let (pairs, last) = line.as_chunks_mut::<2>();
            for ((gradient, place), pair) in gradient.iter().zip(places).zip(pairs) {
                // All bits or none: a branch would be guessed wrong half of the time.
                let only = |at: u8| {
                    let mask = u32::from(*place == at).wrapping_neg();
                    f32::from_bits(gradient.to_bits() & mask)
                };
                pair[0].write(only(first));
                pair[1].write(only(first + 1));
            }
            last.fill(zero);
        }
    }
    rows.into_remainder().fill(zero);
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
        PoolShape { planes, input, kernel, stride, padding: 0, ceil_mode: false }
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
    fn padding_and_ceil_mode_agree_with_a_plain_search() {
        for (input, kernel, stride, padding, ceil_mode) in [
            ([7, 6], 3, 2, 1, false),
            ([112, 33], 3, 2, 1, false),
            ([6, 7], 3, 2, 0, true),
            ([14, 14], 3, 1, 1, false),
            ([1, 1], 3, 1, 1, false),
            ([1, 1], 3, 2, 1, true),
            ([5, 4], 2, 2, 1, true),
            ([9, 10], 3, 4, 1, true),
            ([5, 6], 2, 2, 0, true),
        ] {
            let shape = PoolShape { planes: 2, input, kernel, stride, padding, ceil_mode };
            let values: Vec<f32> =
                (0..shape.input_len()).map(|i| -((i * 31 % 17) as f32)).collect();
            let [rows, columns] = shape.output();
            let gradient: Vec<f32> = (0..shape.output_len()).map(|i| i as f32 + 1.0).collect();
            let (mut output, mut back) = (vec![], vec![0.0; values.len()]);
            for plane in 0..2 {
                for row in 0..rows {
                    for column in 0..columns {
                        let mut best: Option<usize> = None;
                        for place in 0..kernel * kernel {
                            let y = row * stride + place / kernel;
                            let x = column * stride + place % kernel;
                            let range = |size: usize| padding..size + padding;
                            if range(input[0]).contains(&y) && range(input[1]).contains(&x) {
                                let at = (plane * input[0] + y - padding) * input[1] + x - padding;
                                if best.is_none_or(|best| values[at] > values[best]) {
                                    best = Some(at);
                                }
                            }
                        }
                        let best = best.expect("every window has a pixel");
                        back[best] += gradient[output.len()];
                        output.push(values[best]);
                    }
                }
            }
            for level in Level::supported() {
                let (found, places) = forward_at(level, &shape, &values);
                assert_eq!(found, output, "{shape:?}");
                assert_eq!(backward(&shape, &places, &gradient), back, "{shape:?}");
            }
        }
    }

    #[test]
    fn minus_infinity_has_a_place_inside() {
        let shape = PoolShape {
            planes: 1,
            input: [2, 2],
            kernel: 3,
            stride: 2,
            padding: 1,
            ceil_mode: false,
        };
        let (output, places) = forward(&shape, &[f32::NEG_INFINITY; 4]);
        assert_eq!((output[0], places[0]), (f32::NEG_INFINITY, 4));
        assert_eq!(backward(&shape, &places, &[1.0]), [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn nan_wins() {
        for kernel in [2, 3] {
            for place in 0..kernel * kernel {
                let shape = shape(1, [kernel, kernel], kernel, kernel);
                let mut input = vec![1.0; kernel * kernel];
                input[place] = f32::NAN;
                for level in Level::supported() {
                    let (output, places) = forward_at(level, &shape, &input);
                    assert!(output[0].is_nan());
                    assert_eq!(usize::from(places[0]), place);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "kernel of 3 is larger than the padded input of 2")]
    fn kernel_beyond_the_input_panics() {
        let _ = shape(1, [4, 2], 3, 1).output();
    }
}
