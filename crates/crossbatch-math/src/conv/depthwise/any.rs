//! Any kernel, stride and dilation.
//!
//! The image of a channel is laid out for the taps (`planes`), and a run of neighbouring positions, row ends and all,
//! is computed at a time; what lies past the end of a row is dropped on the way out.

use crate::conv::after::After;
use crate::conv::planes::Planes;
use crate::conv::scratch::{self, Use};
use crate::conv::shape::ConvShape;
use crate::lanes::{Arithmetic, Level, WIDEST, for_lanes, sum};
use rayon::prelude::*;

/// Vectors that are computed together.
const VECTORS: usize = 4;

/// Taps that are summed together in the weight gradient.
const TAPS: usize = 7;

pub(super) fn forward(
    level: Level,
    shape: &ConvShape,
    input: &[f32],
    weight: &[f32],
    after: After<'_>,
) -> Vec<f32> {
    let [rows, columns] = shape.output();
    let planes = Planes::of_input(shape);
    let area = shape.input[0] * shape.input[1];
    let taps = shape.kernel[0] * shape.kernel[1];
    let mut result = vec![0.0; shape.output_len()];
    result.par_chunks_exact_mut((rows * columns).max(1)).enumerate().for_each(|(image, result)| {
        let channel = image % shape.channels;
        let source = &input[image * area..][..area];
        let weights = &weight[channel * taps..][..taps];
        let bias = after.bias.map_or(0.0, |bias| bias[channel]);
        convolve(level, &planes, source, weights, bias, |flat| {
            let lines = flat.chunks(planes.width());
            for (line, row) in lines.zip(result.chunks_exact_mut(columns)) {
                row.copy_from_slice(&line[..columns]);
            }
        });
        after.finish(image * rows * columns, result);
    });
    result
}

pub(super) fn input_gradient(
    level: Level,
    shape: &ConvShape,
    gradient: &[f32],
    weight: &[f32],
) -> Vec<f32> {
    let [rows, columns] = shape.output();
    let area = shape.input[0] * shape.input[1];
    let taps = shape.kernel[0] * shape.kernel[1];
    let residues: Vec<_> = shape.residues();
    let planes: Vec<Planes> = residues
        .iter()
        .map(|residue| {
            Planes::of_gradient(shape, residue.grid, residue.first_output, residue.residue)
        })
        .collect();
    let mut result = vec![0.0; shape.input_len()];
    result.par_chunks_exact_mut(area.max(1)).enumerate().for_each(|(image, result)| {
        let source = &gradient[image * rows * columns..][..rows * columns];
        let weight = &weight[image % shape.channels * taps..][..taps];
        let mut own = Vec::with_capacity(taps);
        for (residue, planes) in residues.iter().zip(&planes) {
            if planes.kernel_taps.is_empty() {
                continue;
            }
            own.clear();
            own.extend(planes.kernel_taps.iter().map(|tap| weight[*tap]));
            convolve(level, planes, source, &own, 0.0, |flat| {
                let lines = flat.chunks(planes.width()).take(residue.grid[0]);
                for (y, line) in lines.enumerate() {
                    let row = residue.first[0] + y * shape.stride[0];
                    let row = &mut result[row * shape.input[1]..][..shape.input[1]];
                    let pixels = row[residue.first[1]..].iter_mut().step_by(shape.stride[1]);
                    for (pixel, value) in pixels.zip(&line[..residue.grid[1]]) {
                        *pixel = *value;
                    }
                }
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
    let [rows, columns] = shape.output();
    let planes = Planes::of_input(shape);
    let area = shape.input[0] * shape.input[1];
    let taps = shape.kernel[0] * shape.kernel[1];
    let flat_len = ((rows - 1) * planes.width() + columns).next_multiple_of(WIDEST);
    let laid_len = planes.channel_len() + planes.offsets(1).iter().max().unwrap_or(&0) + 2 * WIDEST;
    let mut result = vec![0.0; shape.weight_len()];
    result.par_chunks_exact_mut(taps).enumerate().for_each(|(channel, result)| {
        scratch::with(Use::Planes, laid_len + flat_len, |buffer| {
            let (laid, flat) = buffer.split_at_mut(laid_len);
            // Zeros where the gradient has no position, so that those products add nothing.
            laid.fill(0.0);
            flat.fill(0.0);
            scratch::with(Use::Sums, taps * WIDEST, |sums| {
                sums.fill(0.0);
                for image in 0..shape.batch {
                    let from = image * shape.channels + channel;
                    planes
                        .fill(level, &input[from * area..][..area], &mut laid[..planes.channel_len()]);
                    let own = &gradient[from * rows * columns..][..rows * columns];
                    for (line, row) in
                        flat.chunks_mut(planes.width()).zip(own.chunks_exact(columns))
                    {
                        line[..columns].copy_from_slice(row);
                    }
                    let (laid, flat, taps) = (&*laid, &*flat, planes.taps.as_slice());
                    let sums = &mut *sums;
                    for_lanes!(level, add_products(laid: &[f32], flat: &[f32], taps: &[usize], sums: &mut [f32]));
                }
                let sums = &*sums;
                for_lanes!(level, total(sums: &[f32], result: &mut [f32]));
            });
        });
    });
    result
}

/// Hands the results of all positions, plane rows long, to `take`.
fn convolve(
    level: Level,
    planes: &Planes,
    source: &[f32],
    weights: &[f32],
    bias: f32,
    take: impl FnOnce(&[f32]),
) {
    let [rows, columns] = planes.output;
    if rows * columns == 0 {
        return;
    }
    let used = (rows - 1) * planes.width() + columns;
    let len = used.next_multiple_of(WIDEST);
    let laid_len = planes.channel_len();
    scratch::with(Use::Planes, laid_len + 2 * WIDEST, |laid| {
        planes.fill(level, source, &mut laid[..laid_len]);
        laid[laid_len..].fill(0.0);
        scratch::with(Use::Result, len, |flat| {
            let (laid, taps, out) = (&*laid, planes.taps.as_slice(), &mut *flat);
            for_lanes!(level, run(laid: &[f32], taps: &[usize], weights: &[f32], bias: f32, out: &mut [f32]));
            take(&flat[..used]);
        });
    });
}

#[inline(always)]
fn run<L: Arithmetic>(laid: &[f32], taps: &[usize], weights: &[f32], bias: f32, out: &mut [f32]) {
    let farthest = taps.iter().copied().max().unwrap_or(0);
    assert!(out.len() + farthest <= laid.len() && out.len().is_multiple_of(L::LANES));
    assert_eq!(taps.len(), weights.len());
    let wide = out.len() / (VECTORS * L::LANES) * (VECTORS * L::LANES);
    for first in (0..wide).step_by(VECTORS * L::LANES) {
        tile::<L, VECTORS>(laid, taps, weights, bias, out, first);
    }
    for first in (wide..out.len()).step_by(L::LANES) {
        tile::<L, 1>(laid, taps, weights, bias, out, first);
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn tile<L: Arithmetic, const V: usize>(
    laid: &[f32],
    taps: &[usize],
    weights: &[f32],
    bias: f32,
    out: &mut [f32],
    first: usize,
) {
    // SAFETY: `run` checked that `out` and the farthest tap from its end lie inside the slices, and the level was
    // detected.
    unsafe {
        let mut sums = [L::splat(bias); V];
        for (tap, weight) in taps.iter().zip(weights) {
            let from = laid.as_ptr().add(first + tap);
            let weight = L::splat(*weight);
            for (vector, sum) in sums.iter_mut().enumerate() {
                *sum = sum.add_product(L::load(from.add(vector * L::LANES)), weight);
            }
        }
        for (vector, sum) in sums.iter().enumerate() {
            sum.store(out.as_mut_ptr().add(first + vector * L::LANES));
        }
    }
}

/// Adds the products of the gradient and each tap's pixels to a vector of sums a tap.
#[inline(always)]
fn add_products<L: Arithmetic>(laid: &[f32], flat: &[f32], taps: &[usize], sums: &mut [f32]) {
    let farthest = taps.iter().copied().max().unwrap_or(0);
    assert!(flat.len() + farthest <= laid.len() && flat.len().is_multiple_of(L::LANES));
    assert_eq!(sums.len(), taps.len() * WIDEST);
    let mut groups = taps.chunks_exact(TAPS);
    let mut at = 0;
    for taps in &mut groups {
        products_of::<L, TAPS>(laid, flat, taps, &mut sums[at..]);
        at += TAPS * WIDEST;
    }
    for tap in groups.remainder() {
        products_of::<L, 1>(laid, flat, std::slice::from_ref(tap), &mut sums[at..]);
        at += WIDEST;
    }
}

#[inline(always)]
#[allow(unsafe_code)]
fn products_of<L: Arithmetic, const T: usize>(
    laid: &[f32],
    flat: &[f32],
    taps: &[usize],
    sums: &mut [f32],
) {
    assert!(taps.len() == T && sums.len() >= T * WIDEST);
    // SAFETY: `add_products` checked that every position may be read at every tap; there is a place of `WIDEST`, the
    // widest vector, for each tap's sum; the level was detected.
    unsafe {
        let mut totals = [L::splat(0.0); T];
        for (tap, total) in totals.iter_mut().enumerate() {
            *total = L::load(sums.as_ptr().add(tap * WIDEST));
        }
        for position in (0..flat.len()).step_by(L::LANES) {
            let gradient = L::load(flat.as_ptr().add(position));
            for (tap, total) in taps.iter().zip(&mut totals) {
                let pixels = L::load(laid.as_ptr().add(position + tap));
                *total = total.add_product(gradient, pixels);
            }
        }
        for (tap, total) in totals.iter().enumerate() {
            total.store(sums.as_mut_ptr().add(tap * WIDEST));
        }
    }
}

/// The sum of each tap's vector.
#[inline(always)]
#[allow(unsafe_code)]
fn total<L: Arithmetic>(sums: &[f32], result: &mut [f32]) {
    assert_eq!(sums.len(), result.len() * WIDEST);
    for (sums, result) in sums.chunks_exact(WIDEST).zip(result) {
        // SAFETY: each tap has `WIDEST` elements, the widest vector; the level was detected.
        *result = unsafe { sum(L::load(sums.as_ptr())) };
    }
}
