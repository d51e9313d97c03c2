//! The kernel that reads the references: some anchors against one chunk of them.
//!
//! A tile is 64 references. Each unit takes the products of one of them with all anchors of the cube, from slices of the
//! tile in shared memory. Then each unit takes some of the tile's pairs of one anchor: whether they count, their share
//! of the sums, and the factor that the reference has in the anchor's gradient. Last, each unit adds the references that
//! have a factor, times it, to its own columns of the gradients; of a tile in which no pair counts, nothing is read
//! again.
//!
//! Logarithms of sums keep the largest exponent so far and scale what they have when it grows.

use super::plan::{Fold, Metric, Plan, SLICE, UNITS};
use crate::pair_rows::program::SAME;
use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// Numbers that a chunk leaves for each anchor: the fields from [`super::program::POSITIVE_PAIRS`] to
/// [`super::program::EASIEST_NEGATIVE`] in their order, then these.
pub(super) const STATE: usize = 19;
/// Above 0 if a pair is not finite.
pub(super) const BAD: usize = 8;
/// Where the numbers of the negative side begin.
pub(super) const NEGATIVE: usize = 9;
/// Where the numbers of the positive side begin.
pub(super) const POSITIVE: usize = 14;
/// Of a side: the largest exponent.
pub(super) const MOST: usize = 0;
/// The sum.
pub(super) const NUMBER: usize = 1;
/// The pairs.
pub(super) const COUNT: usize = 2;
/// The sum of the derivatives by the closeness.
pub(super) const BY: usize = 3;
/// The sum of the factors of the references in the gradient.
pub(super) const ALONG: usize = 4;

/// Columns of an anchor's limits: of the negative side the bounds of the closeness (both excluded) and the threshold.
pub(super) const LIMITS: usize = 7;
/// The same of the positive side; the last column is what it stands against.
pub(super) const POSITIVE_LIMITS: usize = 3;

/// Lower than any exponent.
pub(super) const LOWEST: f32 = -1e30;
/// The extremes of nothing.
const NONE: f32 = f32::MAX;
const LEAST: f32 = f32::MIN;
/// From one row of the tile to the next, so that units read different banks.
const STRIDE: usize = SLICE + 1;

/// Whether the bits are those of a number. By the bits, since shaders may take for granted that all are.
#[cube]
pub(super) fn finite(value: f32) -> bool {
    (u32::reinterpret(value) & 0x7f80_0000u32) != 0x7f80_0000u32
}

/// `ln(1 + exp(z))`.
#[cube]
fn softplus(z: f32) -> f32 {
    z.max(0.0f32) + (-z.abs()).exp().log1p()
}

#[cube]
fn sigmoid(z: f32) -> f32 {
    let small = (-z.abs()).exp();
    let upper = 1.0f32 / (1.0f32 + small);
    select(z < 0.0f32, small * upper, upper)
}

/// The factor of the violation in the exponent.
#[cube]
fn steepness(u: f32, scale: f32, shift: f32, #[comptime] fold: Fold) -> f32 {
    if comptime!(fold == Fold::Circle) { scale * (u + shift).max(0.0f32) } else { scale }
}

/// The exponent of a pair in a sum whose logarithm is taken.
#[cube]
fn exponent(
    u: f32,
    weight: f32,
    scale: f32,
    shift: f32,
    #[comptime] fold: Fold,
    #[comptime] weighted: bool,
) -> f32 {
    let exponent = u * steepness(u, scale, shift, fold);
    if comptime!(weighted) { exponent + weight.ln() } else { exponent }
}

/// A pair's share of the side's sum, and its derivative by the violation; of a logarithm before the division by the sum.
#[cube]
fn share(
    u: f32,
    weight: f32,
    most: f32,
    against: f32,
    scale: f32,
    shift: f32,
    #[comptime] fold: Fold,
    #[comptime] weighted: bool,
) -> (f32, f32) {
    if comptime!(fold == Fold::Linear) {
        (weight * (u + shift), weight)
    } else if comptime!(fold.logarithmic()) {
        let part = (exponent(u, weight, scale, shift, fold, weighted) - most).exp();
        (part, part * steepness(u, scale, shift, fold))
    } else {
        // Of `Fold::Softplus` `against` is 0.
        let z = against + scale * u;
        (weight * softplus(z), weight * scale * sigmoid(z))
    }
}

/// From what the products of a pair came to, to its closeness.
#[cube]
fn closeness(raw: f32, #[comptime] metric: Metric) -> f32 {
    if comptime!(metric == Metric::Dot) {
        raw
    } else if comptime!(metric == Metric::Root) {
        -(raw.sqrt())
    } else {
        -raw
    }
}

/// What the reference is multiplied with in the gradient, up to a factor of the metric.
#[cube]
fn along(by: f32, x: f32, #[comptime] metric: Metric) -> f32 {
    if comptime!(metric == Metric::Root) {
        // Where the distance is 0 so is the gradient.
        select(x < 0.0f32, by / select(x < 0.0f32, -x, 1.0f32), 0.0f32)
    } else {
        by
    }
}

/// The numbers of one chunk, `[chunks, B, STATE]`, and its share of the gradients, `[chunks, B, D]`.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn stream<F: Float>(
    anchors: &[f32],
    references: &[F],
    codes: &[i32],
    labels: &[i32],
    ids: &[i32],
    weights: &[f32],
    limits: &[f32],
    states: &mut [f32],
    negative_along: &mut [f32],
    positive_along: &mut [f32],
    batch: u32,
    filled: u32,
    chunk: u32,
    row_stride: u32,
    negative_scale: f32,
    negative_shift: f32,
    positive_scale: f32,
    positive_shift: f32,
    #[comptime] plan: Plan,
    #[define(F)] _kind: ElemType,
) {
    let rows = comptime!(plan.rows);
    let dim = comptime!(plan.dim);
    let lanes = comptime!(UNITS / plan.rows);
    let slices = comptime!(plan.dim.div_ceil(SLICE));
    let padded = comptime!(plan.dim.div_ceil(SLICE) * SLICE);
    let parts = comptime!(plan.dim.div_ceil(UNITS));
    let metric = comptime!(plan.metric);
    let has_negative = comptime!(plan.negative != Fold::None);
    let has_positive = comptime!(plan.positive != Fold::None);
    let negative_log = comptime!(plan.negative.logarithmic());
    let positive_log = comptime!(plan.positive.logarithmic());

    let batch = batch as usize;
    let unit = UNIT_POS_X as usize;
    let first_row = CUBE_POS_X as usize * rows;
    let begin = CUBE_POS_Y as usize * chunk as usize;
    let end = (begin + chunk as usize).min(filled as usize);

    let mut anchor = Shared::<[f32]>::new_slice(comptime!(rows * padded));
    let mut norms = Shared::<[f32]>::new_slice(rows);
    let mut tile = Shared::<[f32]>::new_slice(comptime!(UNITS * STRIDE));
    let mut close = Shared::<[f32]>::new_slice(comptime!(rows * UNITS));
    let mut negative_factor = Shared::<[f32]>::new_slice(comptime!(rows * UNITS));
    let mut positive_factor = Shared::<[f32]>::new_slice(comptime!(rows * UNITS));
    let mut negative_most_of = Shared::<[f32]>::new_slice(UNITS);
    let mut positive_most_of = Shared::<[f32]>::new_slice(UNITS);
    let mut negative_ratio = Shared::<[f32]>::new_slice(rows);
    let mut positive_ratio = Shared::<[f32]>::new_slice(rows);
    let mut hits = Shared::<[u32]>::new_slice(UNITS);

    // The cube's anchors, 0 behind their end and behind the last anchor.
    #[unroll]
    for r in 0..rows {
        for d in range_stepped(unit, padded, UNITS) {
            let there = first_row + r < batch && d < dim;
            let mut value = 0.0f32;
            if there {
                value = anchors[(first_row + r) * dim + d];
            }
            anchor[r * padded + d] = value;
        }
    }
    sync_cube();
    if unit < rows {
        let mut norm = 0.0f32;
        for d in 0..dim {
            let value = anchor[unit * padded + d];
            norm += value * value;
        }
        norms[unit] = norm;
    }

    // The anchor that this unit looks after with others.
    let row = unit / lanes;
    let lane = unit % lanes;
    let there = first_row + row < batch;
    let place = select(there, first_row + row, 0usize);
    let label = codes[place * 3];
    let id = codes[place * 3 + 1];
    let own = codes[place * 3 + 2];
    let negative_lower = limits[place * LIMITS];
    let negative_upper = limits[place * LIMITS + 1];
    let negative_threshold = limits[place * LIMITS + 2];
    let positive_lower = limits[place * LIMITS + POSITIVE_LIMITS];
    let positive_upper = limits[place * LIMITS + POSITIVE_LIMITS + 1];
    let positive_threshold = limits[place * LIMITS + POSITIVE_LIMITS + 2];
    let against = limits[place * LIMITS + POSITIVE_LIMITS + 3];

    let mut positives = 0.0f32;
    let mut negatives = 0.0f32;
    let mut positive_sum = 0.0f32;
    let mut negative_sum = 0.0f32;
    let mut positive_least = NONE.runtime();
    let mut positive_largest = LEAST.runtime();
    let mut negative_largest = LEAST.runtime();
    let mut negative_least = NONE.runtime();
    let mut bad = 0.0f32;
    let mut negative_most = LOWEST.runtime();
    let mut negative_number = 0.0f32;
    let mut negative_count = 0.0f32;
    let mut negative_by = 0.0f32;
    let mut negative_along_sum = 0.0f32;
    let mut positive_most = LOWEST.runtime();
    let mut positive_number = 0.0f32;
    let mut positive_count = 0.0f32;
    let mut positive_by = 0.0f32;
    let mut positive_along_sum = 0.0f32;

    let mut to_negative = Array::<f32>::new(comptime!(rows * parts));
    let mut to_positive = Array::<f32>::new(comptime!(rows * parts));
    #[unroll]
    for index in 0..comptime!(rows * parts) {
        to_negative[index] = 0.0f32;
        to_positive[index] = 0.0f32;
    }
    let mut products = Array::<f32>::new(rows);

    for start in range_stepped(begin, end, UNITS) {
        // Products, a slice of the rows at a time.
        #[unroll]
        for r in 0..rows {
            products[r] = 0.0f32;
        }
        let mut square = 0.0f32;
        let mut sum = 0.0f32;
        for slice in 0..slices {
            for step in 0..SLICE {
                let element = step * UNITS + unit;
                let column = element / SLICE;
                let part = element % SLICE;
                let d = slice * SLICE + part;
                let mut value = 0.0f32;
                if start + column < end && d < dim {
                    value = f32::cast_from(references[(start + column) * row_stride as usize + d]);
                }
                tile[column * STRIDE + part] = value;
            }
            sync_cube();
            for part in 0..SLICE {
                let value = tile[unit * STRIDE + part];
                #[unroll]
                for r in 0..rows {
                    products[r] += value * anchor[r * padded + slice * SLICE + part];
                }
                if comptime!(metric != Metric::Dot) {
                    square += value * value;
                }
                if comptime!(metric == Metric::Centred) {
                    sum += value;
                }
            }
            sync_cube();
        }
        if comptime!(metric == Metric::Centred) {
            square -= sum * sum / f32::cast_from(dim);
        }
        #[unroll]
        for r in 0..rows {
            close[r * UNITS + unit] = if comptime!(metric == Metric::Dot) {
                products[r]
            } else {
                let both = norms[r] + square;
                let squared = both - 2.0f32 * products[r];
                select(squared < SAME * both, 0.0f32, squared)
            };
        }
        sync_cube();

        // The largest exponents, where a logarithm of a sum is taken.
        if comptime!(negative_log || positive_log) {
            let mut negative_new = negative_most;
            let mut positive_new = positive_most;
            for step in 0..rows {
                let column = step * lanes + lane;
                let reference = start + column;
                let raw = close[row * UNITS + column];
                if there && reference < end && finite(raw) {
                    let x = closeness(raw, metric);
                    let same = labels[reference] == label;
                    let mut weight = 1.0f32;
                    if comptime!(plan.weighted) {
                        weight = weights[reference];
                    }
                    let mut counts = weight > 0.0f32 && own != i32::cast_from(reference);
                    if comptime!(plan.drop_same_image) {
                        counts = counts && !(same && ids[reference] == id);
                    }
                    if comptime!(negative_log) {
                        if counts && !same && x > negative_lower && x < negative_upper {
                            let u = x - negative_threshold;
                            negative_new = negative_new.max(exponent(
                                u,
                                weight,
                                negative_scale,
                                negative_shift,
                                plan.negative,
                                plan.weighted,
                            ));
                        }
                    }
                    if comptime!(positive_log) {
                        if counts && same && x > positive_lower && x < positive_upper {
                            let u = positive_threshold - x;
                            positive_new = positive_new.max(exponent(
                                u,
                                weight,
                                positive_scale,
                                positive_shift,
                                plan.positive,
                                plan.weighted,
                            ));
                        }
                    }
                }
            }
            negative_most_of[unit] = negative_new;
            positive_most_of[unit] = positive_new;
            sync_cube();
            for other in 0..lanes {
                negative_new = negative_new.max(negative_most_of[row * lanes + other]);
                positive_new = positive_new.max(positive_most_of[row * lanes + other]);
            }
            if comptime!(negative_log) {
                let ratio = (negative_most - negative_new).exp();
                negative_most = negative_new;
                negative_number *= ratio;
                negative_by *= ratio;
                negative_along_sum *= ratio;
                if lane == 0 {
                    negative_ratio[row] = ratio;
                }
            }
            if comptime!(positive_log) {
                let ratio = (positive_most - positive_new).exp();
                positive_most = positive_new;
                positive_number *= ratio;
                positive_by *= ratio;
                positive_along_sum *= ratio;
                if lane == 0 {
                    positive_ratio[row] = ratio;
                }
            }
        }

        // The pairs' shares.
        for step in 0..rows {
            let column = step * lanes + lane;
            let reference = start + column;
            let raw = close[row * UNITS + column];
            let mut to_negative_pair = 0.0f32;
            let mut to_positive_pair = 0.0f32;
            if there && reference < end {
                let same = labels[reference] == label;
                let mut weight = 1.0f32;
                if comptime!(plan.weighted) {
                    weight = weights[reference];
                }
                let mut counts = weight > 0.0f32 && own != i32::cast_from(reference);
                if comptime!(plan.drop_same_image) {
                    counts = counts && !(same && ids[reference] == id);
                }
                if counts && !finite(raw) {
                    bad = 1.0f32;
                    if same {
                        positives += 1.0f32;
                    } else {
                        negatives += 1.0f32;
                    }
                }
                if counts && finite(raw) {
                    let x = closeness(raw, metric);
                    if same {
                        if comptime!(plan.survey) {
                            positives += 1.0f32;
                            positive_sum += x;
                            positive_least = positive_least.min(x);
                            positive_largest = positive_largest.max(x);
                        }
                        if comptime!(has_positive) {
                            if x > positive_lower && x < positive_upper {
                                let (value, by) = share(
                                    positive_threshold - x,
                                    weight,
                                    positive_most,
                                    against,
                                    positive_scale,
                                    positive_shift,
                                    plan.positive,
                                    plan.weighted,
                                );
                                to_positive_pair = along(-by, x, metric);
                                positive_count += 1.0f32;
                                positive_number += value;
                                positive_by -= by;
                                positive_along_sum += to_positive_pair;
                            }
                        }
                    } else {
                        if comptime!(plan.survey) {
                            negatives += 1.0f32;
                            negative_sum += x;
                            negative_least = negative_least.min(x);
                            negative_largest = negative_largest.max(x);
                        }
                        if comptime!(has_negative) {
                            if x > negative_lower && x < negative_upper {
                                let (value, by) = share(
                                    x - negative_threshold,
                                    weight,
                                    negative_most,
                                    0.0f32,
                                    negative_scale,
                                    negative_shift,
                                    plan.negative,
                                    plan.weighted,
                                );
                                to_negative_pair = along(by, x, metric);
                                negative_count += 1.0f32;
                                negative_number += value;
                                negative_by += by;
                                negative_along_sum += to_negative_pair;
                            }
                        }
                    }
                }
            }
            negative_factor[row * UNITS + column] = to_negative_pair;
            positive_factor[row * UNITS + column] = to_positive_pair;
        }
        sync_cube();

        // The gradients.
        if comptime!(has_negative || has_positive) {
            let mut hit = 0u32;
            #[unroll]
            for r in 0..rows {
                if negative_factor[r * UNITS + unit] != 0.0f32 {
                    hit |= 1u32;
                }
                if positive_factor[r * UNITS + unit] != 0.0f32 {
                    hit |= 2u32;
                }
            }
            hits[unit] = hit;
            if comptime!(negative_log) {
                #[unroll]
                for r in 0..rows {
                    let ratio = negative_ratio[r];
                    #[unroll]
                    for part in 0..parts {
                        to_negative[part * rows + r] *= ratio;
                    }
                }
            }
            if comptime!(positive_log) {
                #[unroll]
                for r in 0..rows {
                    let ratio = positive_ratio[r];
                    #[unroll]
                    for part in 0..parts {
                        to_positive[part * rows + r] *= ratio;
                    }
                }
            }
            sync_cube();
            for column in 0..UNITS {
                let hit = hits[column];
                if hit != 0u32 {
                    #[unroll]
                    for part in 0..parts {
                        let d = part * UNITS + unit;
                        let mut value = 0.0f32;
                        if d < dim {
                            let index = (start + column) * row_stride as usize + d;
                            value = f32::cast_from(references[index]);
                        }
                        // A factor of 0 does not silence what is no number.
                        value = select(finite(value), value, 0.0f32);
                        if comptime!(has_negative) {
                            if hit & 1u32 != 0u32 {
                                #[unroll]
                                for r in 0..rows {
                                    to_negative[part * rows + r] +=
                                        negative_factor[r * UNITS + column] * value;
                                }
                            }
                        }
                        if comptime!(has_positive) {
                            if hit & 2u32 != 0u32 {
                                #[unroll]
                                for r in 0..rows {
                                    to_positive[part * rows + r] +=
                                        positive_factor[r * UNITS + column] * value;
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    // The lanes of an anchor together; the tile is not needed any more.
    tile[unit] = positives;
    tile[UNITS + unit] = negatives;
    tile[2 * UNITS + unit] = positive_sum;
    tile[3 * UNITS + unit] = negative_sum;
    tile[4 * UNITS + unit] = positive_least;
    tile[5 * UNITS + unit] = positive_largest;
    tile[6 * UNITS + unit] = negative_largest;
    tile[7 * UNITS + unit] = negative_least;
    tile[BAD * UNITS + unit] = bad;
    tile[(NEGATIVE + MOST) * UNITS + unit] = negative_most;
    tile[(NEGATIVE + NUMBER) * UNITS + unit] = negative_number;
    tile[(NEGATIVE + COUNT) * UNITS + unit] = negative_count;
    tile[(NEGATIVE + BY) * UNITS + unit] = negative_by;
    tile[(NEGATIVE + ALONG) * UNITS + unit] = negative_along_sum;
    tile[(POSITIVE + MOST) * UNITS + unit] = positive_most;
    tile[(POSITIVE + NUMBER) * UNITS + unit] = positive_number;
    tile[(POSITIVE + COUNT) * UNITS + unit] = positive_count;
    tile[(POSITIVE + BY) * UNITS + unit] = positive_by;
    tile[(POSITIVE + ALONG) * UNITS + unit] = positive_along_sum;
    sync_cube();
    let chunk_rows = CUBE_POS_Y as usize * batch;
    if lane == 0 && there {
        #[unroll]
        for number in 0..STATE {
            let mut total = tile[number * UNITS + row * lanes];
            for other in 1..lanes {
                let next = tile[number * UNITS + row * lanes + other];
                if comptime!(number == 4 || number == 7) {
                    total = total.min(next);
                } else if comptime!(
                    matches!(number, 5 | 6)
                        || number == NEGATIVE + MOST
                        || number == POSITIVE + MOST
                ) {
                    total = total.max(next);
                } else {
                    total += next;
                }
            }
            states[(chunk_rows + first_row + row) * STATE + number] = total;
        }
    }
    #[unroll]
    for r in 0..rows {
        #[unroll]
        for part in 0..parts {
            let d = part * UNITS + unit;
            if first_row + r < batch && d < dim {
                let index = (chunk_rows + first_row + r) * dim + d;
                if comptime!(has_negative) {
                    negative_along[index] = to_negative[part * rows + r];
                }
                if comptime!(has_positive) {
                    positive_along[index] = to_positive[part * rows + r];
                }
            }
        }
    }
}
