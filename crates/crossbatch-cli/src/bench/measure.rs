//! Medians of interleaved calls, and the memory that a call takes.

use std::time::Instant;

use crossbatch_math::product::{shared_product, shared_rows_times_rows};

use super::step::{Output, Step};
use crate::ALLOCATOR;

/// What was measured of a step.
pub(crate) struct Measured {
    /// Seconds of a call, the median.
    pub(crate) median: f64,
    /// Seconds of the two matrix products, the median.
    pub(crate) products: f64,
    /// Most bytes in use at once during a call, beyond the inputs.
    pub(crate) peak_extra_bytes: usize,
    /// The last call's.
    pub(crate) output: Output,
}

/// Times `calls` calls of the step, in turns with the two products that bound it: `[B, D] x [D, M]` and
/// `[B, M] x [M, D]`, by `gemm` over whole matrices, with the same threads.
pub(crate) fn measure(step: &Step, calls: usize) -> Measured {
    // Also what is kept from the first call on belongs to the step.
    ALLOCATOR.start();
    let mut output = step.call();
    drop(std::mem::replace(&mut output, step.call()));
    let peak_extra_bytes = ALLOCATOR.stop();

    let mut products = Products::new(step);
    products.call();
    let (mut own, mut theirs) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
    for round in 0..calls {
        // Whoever comes second finds other data in the caches, so they take turns at that too.
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let start = Instant::now();
                output = step.call();
                own.push(start.elapsed().as_secs_f64());
            } else {
                let start = Instant::now();
                products.call();
                theirs.push(start.elapsed().as_secs_f64());
            }
        }
    }
    Measured { median: median(own), products: median(theirs), peak_extra_bytes, output }
}

/// The two products with their operands.
struct Products {
    anchors: Vec<f32>,
    bank: Vec<f32>,
    dim: usize,
    /// `[B, M]`
    similarities: Vec<f32>,
    /// `[B, D]`
    gradient: Vec<f32>,
}

impl Products {
    fn new(step: &Step) -> Self {
        let (anchors, bank) = step.matrices();
        let [batch, dim] = step.dims();
        let similarities = vec![0.0; batch * step.entries()];
        let gradient = vec![0.0; batch * dim];
        Self { anchors, bank, dim, similarities, gradient }
    }

    fn call(&mut self) {
        shared_rows_times_rows(&self.anchors, &self.bank, self.dim, &mut self.similarities);
        let entries = self.bank.len() / self.dim;
        shared_product(&self.similarities, &self.bank, entries, &mut self.gradient);
    }
}

/// The value in the middle; the mean of the two there if their number is even.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    (values[middle] + values[values.len().div_ceil(2) - 1]) / 2.0
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 9.0]), 3.0);
        assert_eq!(median(vec![5.0]), 5.0);
    }
}
