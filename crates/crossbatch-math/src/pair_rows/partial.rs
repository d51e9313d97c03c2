//! What one stretch of the references adds to every anchor.

/// Columns of a [`Partial`], an array over the lanes each.
pub(super) const COLUMNS: usize = 8;
/// Sum of the terms; of a log-sum-exp, of the exponentials less the largest.
pub(super) const VALUE: usize = 0;
/// Largest exponent of a log-sum-exp.
pub(super) const LARGEST: usize = 1;
/// Pairs that count.
pub(super) const COUNT: usize = 2;
/// Sum of the derivatives by the violation.
pub(super) const SLOPE: usize = 3;
/// Sum of the pulls.
pub(super) const PULL: usize = 4;
/// Largest closeness.
pub(super) const MAX: usize = 5;
/// Smallest closeness.
pub(super) const MIN: usize = 6;
/// Sum of the closeness.
pub(super) const SUM: usize = 7;

use super::program::{EMPTY, NONE};

/// Sums over a fixed stretch of the references. Stretches are folded in their order, so that no result hangs on who
/// computed which.
#[derive(Debug)]
pub(super) struct Partial {
    lanes: usize,
    columns: Vec<f32>,
    /// Weighted sums of the references, a row an anchor; empty until a pair counts.
    pub(super) gradient: Vec<f32>,
}

impl Partial {
    pub(super) fn new(lanes: usize) -> Self {
        let mut partial = Self { lanes, columns: vec![0.0; COLUMNS * lanes], gradient: Vec::new() };
        partial.column_mut(LARGEST).fill(EMPTY);
        partial.column_mut(MAX).fill(-NONE);
        partial.column_mut(MIN).fill(NONE);
        partial
    }

    pub(super) fn column(&self, column: usize) -> &[f32] {
        &self.columns[column * self.lanes..][..self.lanes]
    }

    pub(super) fn column_mut(&mut self, column: usize) -> &mut [f32] {
        &mut self.columns[column * self.lanes..][..self.lanes]
    }

    /// The gradient's rows, zeros at first.
    pub(super) fn gradient_mut(&mut self, stride: usize) -> &mut [f32] {
        if self.gradient.is_empty() {
            self.gradient = vec![0.0; self.lanes * stride];
        }
        &mut self.gradient
    }

    /// Takes the next stretch in.
    pub(super) fn fold(&mut self, next: Self, log: bool, stride: usize) {
        // A log-sum-exp's sums are relative to the largest exponent, which may differ.
        let mut keep = vec![1.0f32; self.lanes];
        let mut take = vec![1.0f32; self.lanes];
        if log {
            for lane in 0..self.lanes {
                let (old, new) = (self.column(LARGEST)[lane], next.column(LARGEST)[lane]);
                let largest = old.max(new);
                keep[lane] = (old - largest).exp();
                take[lane] = (new - largest).exp();
                self.column_mut(LARGEST)[lane] = largest;
            }
        }
        for lane in 0..self.lanes {
            for column in [VALUE, SLOPE, PULL] {
                let sum = &mut self.columns[column * self.lanes + lane];
                *sum = *sum * keep[lane] + next.column(column)[lane] * take[lane];
            }
            for column in [COUNT, SUM] {
                self.columns[column * self.lanes + lane] += next.column(column)[lane];
            }
            let max = &mut self.columns[MAX * self.lanes + lane];
            *max = max.max(next.column(MAX)[lane]);
            let min = &mut self.columns[MIN * self.lanes + lane];
            *min = min.min(next.column(MIN)[lane]);
        }
        if next.gradient.is_empty() {
            if log && !self.gradient.is_empty() {
                for (row, keep) in self.gradient.chunks_exact_mut(stride).zip(&keep) {
                    row.iter_mut().for_each(|value| *value *= keep);
                }
            }
            return;
        }
        if self.gradient.is_empty() {
            self.gradient = next.gradient;
            for (row, take) in self.gradient.chunks_exact_mut(stride).zip(&take) {
                row.iter_mut().for_each(|value| *value *= take);
            }
            return;
        }
        let rows = self.gradient.chunks_exact_mut(stride).zip(next.gradient.chunks_exact(stride));
        for ((row, next), (keep, take)) in rows.zip(keep.iter().zip(&take)) {
            for (sum, value) in row.iter_mut().zip(next) {
                *sum = *sum * keep + value * take;
            }
        }
    }
}
