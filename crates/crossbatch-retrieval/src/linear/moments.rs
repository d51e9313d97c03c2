//! Sums and second moments of many rows.

use crossbatch_math::gram::add_gram;
use rayon::prelude::*;

use crate::Vectors;

/// Rows summed together before their sum is added to the others'. Part of the result: another number is another rounding.
const CHUNK: usize = 1024;

/// The sum of rows and the sum of their outer products.
#[derive(Debug, Clone)]
pub(crate) struct Moments {
    pub(crate) rows: usize,
    pub(crate) dim: usize,
    /// `[dim]`
    pub(crate) sum: Vec<f64>,
    /// `[dim, dim]`
    pub(crate) gram: Vec<f64>,
}

impl Moments {
    /// The moments of all rows, each changed by `prepare` first. The number of threads changes nothing.
    pub(crate) fn of(vectors: &Vectors, prepare: impl Fn(&mut [f64]) + Sync) -> Self {
        let (rows, dim) = (vectors.len(), vectors.dim());
        let mut total = Self { rows, dim, sum: vec![0.0; dim], gram: vec![0.0; dim * dim] };
        let part = |first: usize| {
            let stored = vectors.rows(first..(first + CHUNK).min(rows));
            let mut values: Vec<f64> = stored.iter().map(|&value| f64::from(value)).collect();
            values.chunks_exact_mut(dim).for_each(&prepare);
            let mut sum = vec![0.0; dim];
            for row in values.chunks_exact(dim) {
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            let mut gram = vec![0.0; dim * dim];
            add_gram(&values, dim, &mut gram);
            (sum, gram)
        };
        // A few chunks at a time, so that their matrices do not add up.
        let firsts: Vec<usize> = (0..rows).step_by(CHUNK).collect();
        for together in firsts.chunks(2 * rayon::current_num_threads().max(1)) {
            let parts: Vec<_> = together.par_iter().map(|&first| part(first)).collect();
            for (sum, gram) in parts {
                total.sum.iter_mut().zip(sum).for_each(|(total, part)| *total += part);
                total.gram.iter_mut().zip(gram).for_each(|(total, part)| *total += part);
            }
        }
        total
    }

    /// Bytes that making them takes, at most.
    pub(crate) fn bytes(dim: usize) -> usize {
        let part = 8 * dim * (dim + CHUNK + 1);
        (2 * rayon::current_num_threads() + 1) * part
    }

    /// The mean row.
    pub(crate) fn mean(&self) -> Vec<f64> {
        self.sum.iter().map(|sum| sum / self.rows.max(1) as f64).collect()
    }

    /// The covariance matrix, with the number of rows as divisor.
    pub(crate) fn covariance(&self) -> Vec<f64> {
        let (mean, rows) = (self.mean(), self.rows.max(1) as f64);
        let entry = |at: usize| self.gram[at] / rows - mean[at / self.dim] * mean[at % self.dim];
        (0..self.gram.len()).map(entry).collect()
    }
}
