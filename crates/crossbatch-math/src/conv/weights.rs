//! Weights, and other matrices, in the order in which tiles read them.

// Loops by index over constant bounds are what the compiler unrolls into registers.
#![allow(clippy::needless_range_loop)]

use crate::lanes::{self, Lanes, Level, WIDEST};
use rayon::prelude::*;

/// Packed elements that are worth a task of their own.
const TASK: usize = 16 * 1024;

/// Where the weight of a result, a source and a tap lies.
pub(super) struct Weights<'a> {
    pub(super) values: &'a [f32],
    /// Distance of a result's weights from its predecessor's.
    pub(super) result: usize,
    /// Distance of a source's weights from its predecessor's.
    pub(super) source: usize,
}

impl Weights<'_> {
    /// Weights by block of `block` results, then source, then tap, then result; missing results of the last block are zero.
    pub(super) fn pack(
        &self,
        level: Level,
        block: usize,
        results: usize,
        sources: usize,
        taps: &[usize],
    ) -> Vec<f32> {
        let terms = sources * taps.len();
        let mut packed = vec![0.0; results.next_multiple_of(block) * terms];
        if terms == 0 {
            return packed;
        }
        // Weights that already lie in this order, but for results and terms, are a matrix to transpose.
        let in_order = taps.iter().enumerate().all(|(at, tap)| at == *tap)
            && self.source == taps.len()
            && self.result == terms;
        packed
            .par_chunks_exact_mut(block * terms)
            .with_min_len((TASK / (block * terms)).max(1))
            .enumerate()
            .for_each(|(index, packed)| {
                let first = index * block;
                let count = block.min(results - first);
                if in_order {
                    let rows = &self.values[first * terms..results * terms];
                    transpose(level, rows, count, terms, block, packed);
                    return;
                }
                let by_source = packed.chunks_exact_mut(block * taps.len());
                for (source, packed) in by_source.enumerate() {
                    let values = &self.values[first * self.result + source * self.source..];
                    for (tap, packed) in taps.iter().zip(packed.chunks_exact_mut(block)) {
                        if self.result == 1 {
                            packed[..count].copy_from_slice(&values[*tap..][..count]);
                            continue;
                        }
                        for (lane, slot) in packed[..count].iter_mut().enumerate() {
                            *slot = values[lane * self.result + tap];
                        }
                    }
                }
            });
        packed
    }
}

/// Turns `count` rows of `positions` into one block of `block` values a position, zero beyond the rows; `rows` may go on behind
/// them.
pub(super) fn transpose(
    level: Level,
    rows: &[f32],
    count: usize,
    positions: usize,
    block: usize,
    out: &mut [f32],
) {
    lanes::for_lanes!(
        level,
        transpose_body(rows: &[f32], count: usize, positions: usize, block: usize, out: &mut [f32])
    );
}

#[inline(always)]
fn transpose_body<L: Lanes>(
    rows: &[f32],
    count: usize,
    positions: usize,
    block: usize,
    out: &mut [f32],
) {
    assert!(rows.len() >= count * positions && count <= block);
    assert_eq!(out.len(), block * positions);
    let mut square = [0.0f32; WIDEST * WIDEST];
    for first in (0..block).step_by(L::LANES) {
        let wanted = L::LANES.min(block - first);
        for start in (0..positions).step_by(L::LANES) {
            // A square that can be read, be it of rows behind those wanted.
            let whole =
                (first + L::LANES) * positions <= rows.len() && start + L::LANES <= positions;
            if whole && first + L::LANES <= count {
                // SAFETY: both squares lie inside, as checked above; the level was detected.
                #[allow(unsafe_code)]
                unsafe {
                    let from = rows.as_ptr().add(first * positions + start);
                    let to = out.as_mut_ptr().add(start * block + first);
                    L::transpose(from, positions, to, block);
                }
                continue;
            }
            if whole && first + wanted <= count {
                // SAFETY: as above; `square` has room for the widest.
                #[allow(unsafe_code)]
                unsafe {
                    let from = rows.as_ptr().add(first * positions + start);
                    L::transpose(from, positions, square.as_mut_ptr(), L::LANES);
                }
                for position in 0..L::LANES {
                    let to = &mut out[(start + position) * block + first..][..wanted];
                    to.copy_from_slice(&square[position * L::LANES..][..wanted]);
                }
                continue;
            }
            for position in start..positions.min(start + L::LANES) {
                for row in first..first + wanted {
                    out[position * block + row] =
                        if row < count { rows[row * positions + position] } else { 0.0 };
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transpose_has_every_value_in_its_place_and_zeros_beyond() {
        for level in Level::supported() {
            for (block, count) in [(4, 4), (6, 6), (6, 5), (8, 8), (16, 16), (16, 3), (32, 20)] {
                for positions in [1, 7, 8, 9, 16, 33] {
                    for behind in [0, 2 * positions, 20 * positions] {
                        let rows: Vec<f32> =
                            (0..count * positions + behind).map(|at| 1.0 + at as f32).collect();
                        let mut out = vec![f32::NAN; block * positions];
                        transpose(level, &rows, count, positions, block, &mut out);
                        for (at, value) in out.iter().enumerate() {
                            let (position, row) = (at / block, at % block);
                            let expected =
                                if row < count { rows[row * positions + position] } else { 0.0 };
                            assert_eq!(
                                *value, expected,
                                "{level:?}, {count} of {block} x {positions}"
                            );
                        }
                    }
                }
            }
        }
    }
}
