//! The kernel that puts the chunks together, in their order: a unit takes one number of an anchor's gradients, so that
//! its loops stay short whatever the size of a row; the first cube of an anchor writes what else is known of it.

use super::plan::{Fold, Metric, Plan, UNITS};
use super::stream::{
    ALONG, BAD, BY, COUNT, LOWEST, MOST, NEGATIVE, NUMBER, POSITIVE, STATE, finite,
};
use crate::pair_rows::program::{
    COUPLING, EMPTY, FIELDS, NEGATIVE_SLOPE, NEGATIVES, POSITIVE_PAIRS, POSITIVE_SLOPE, POSITIVES,
};
use burn_cubecl::cubecl;
use cubecl::prelude::*;

/// A side's numbers of one anchor.
#[derive(CubeType)]
struct Side {
    number: f32,
    count: f32,
    by: f32,
    along: f32,
    /// The largest exponent of all chunks.
    most: f32,
    /// What the gradient is divided by.
    sum: f32,
}

#[cube]
fn side(
    states: &[f32],
    row: usize,
    batch: usize,
    chunks: usize,
    #[comptime] begin: usize,
    #[comptime] fold: Fold,
) -> Side {
    let mut most = LOWEST.runtime();
    if comptime!(fold.logarithmic()) {
        for chunk in 0..chunks {
            most = most.max(states[(chunk * batch + row) * STATE + begin + MOST]);
        }
    }
    let mut number = 0.0f32;
    let mut count = 0.0f32;
    let mut by = 0.0f32;
    let mut along = 0.0f32;
    for chunk in 0..chunks {
        let place = (chunk * batch + row) * STATE + begin;
        let mut ratio = 1.0f32;
        if comptime!(fold.logarithmic()) {
            ratio = (states[place + MOST] - most).exp();
        }
        number += states[place + NUMBER] * ratio;
        count += states[place + COUNT];
        by += states[place + BY] * ratio;
        along += states[place + ALONG] * ratio;
    }
    let mut sum = 1.0f32;
    if comptime!(fold.logarithmic()) {
        sum = select(count > 0.0f32, number, 1.0f32);
        number = select(count > 0.0f32, most + sum.ln(), EMPTY);
        by /= sum;
        along /= sum;
    }
    Side { number, count, by, along, most, sum }
}

/// One number of a side's gradient.
#[cube]
fn gradient(
    states: &[f32],
    partial: &[f32],
    side: &Side,
    anchor: f32,
    row: usize,
    d: usize,
    batch: usize,
    chunks: usize,
    #[comptime] begin: usize,
    #[comptime] fold: Fold,
    #[comptime] plan: Plan,
) -> f32 {
    let mut total = 0.0f32;
    for chunk in 0..chunks {
        let place = chunk * batch + row;
        let mut ratio = 1.0f32;
        if comptime!(fold.logarithmic()) {
            ratio = (states[place * STATE + begin + MOST] - side.most).exp();
        }
        total += partial[place * plan.dim + d] * ratio;
    }
    let total = total / side.sum;
    if comptime!(plan.metric == Metric::Dot) {
        total
    } else {
        let factor = if comptime!(plan.metric == Metric::Root) { 1.0f32 } else { 2.0f32 };
        factor * (total - side.along * select(finite(anchor), anchor, 0.0f32))
    }
}

/// Writes what the pass has: fields `[B, FIELDS]`, values `[B, 2]`, gradients `[B, D]`. Numbers of anchors with a pair
/// that is not finite become `nan`, given by its bits since shaders have no such constant.
#[cube(launch_unchecked, address_type = "dynamic")]
pub(super) fn merge(
    states: &[f32],
    negative_along: &[f32],
    positive_along: &[f32],
    anchors: &[f32],
    fields: &mut [f32],
    values: &mut [f32],
    to_negative: &mut [f32],
    to_positive: &mut [f32],
    batch: u32,
    chunks: u32,
    nan: u32,
    positive_scale: f32,
    #[comptime] plan: Plan,
) {
    let batch = batch as usize;
    let chunks = chunks as usize;
    let row = CUBE_POS_X as usize;
    let d = CUBE_POS_Y as usize * UNITS + UNIT_POS_X as usize;
    let nan = f32::reinterpret(nan);

    let mut bad = 0.0f32;
    for chunk in 0..chunks {
        bad += states[(chunk * batch + row) * STATE + BAD];
    }
    let bad = bad > 0.0f32;
    if comptime!(plan.survey) {
        if d == 0 {
            #[unroll]
            for number in 0..8usize {
                let mut total = states[row * STATE + number];
                for chunk in 1..chunks {
                    let next = states[(chunk * batch + row) * STATE + number];
                    if comptime!(number == 4 || number == 7) {
                        total = total.min(next);
                    } else if comptime!(number == 5 || number == 6) {
                        total = total.max(next);
                    } else {
                        total += next;
                    }
                }
                if comptime!(number > 1) {
                    total = select(bad, nan, total);
                }
                fields[row * FIELDS + POSITIVE_PAIRS + number] = total;
            }
        }
    }
    if comptime!(plan.negative != Fold::None) {
        let side = side(states, row, batch, chunks, NEGATIVE, plan.negative);
        if d == 0 {
            fields[row * FIELDS + NEGATIVES] = select(bad, nan, side.count);
            fields[row * FIELDS + NEGATIVE_SLOPE] = select(bad, nan, -side.by);
            values[row * 2 + 1] = select(bad, nan, side.number);
        }
        if d < plan.dim {
            let value = gradient(
                states,
                negative_along,
                &side,
                anchors[row * plan.dim + d],
                row,
                d,
                batch,
                chunks,
                NEGATIVE,
                plan.negative,
                plan,
            );
            to_negative[row * plan.dim + d] = select(bad, nan, value);
        }
    }
    if comptime!(plan.positive != Fold::None) {
        let side = side(states, row, batch, chunks, POSITIVE, plan.positive);
        if d == 0 {
            let mut coupling = 0.0f32;
            if comptime!(plan.positive == Fold::Against) {
                coupling = -side.by / positive_scale;
            }
            fields[row * FIELDS + POSITIVES] = select(bad, nan, side.count);
            fields[row * FIELDS + POSITIVE_SLOPE] = select(bad, nan, -side.by);
            fields[row * FIELDS + COUPLING] = select(bad, nan, coupling);
            values[row * 2] = select(bad, nan, side.number);
        }
        if d < plan.dim {
            let value = gradient(
                states,
                positive_along,
                &side,
                anchors[row * plan.dim + d],
                row,
                d,
                batch,
                chunks,
                POSITIVE,
                plan.positive,
                plan,
            );
            to_positive[row * plan.dim + d] = select(bad, nan, value);
        }
    }
}
