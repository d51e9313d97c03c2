//! Entries of older networks, brought to where the current one would put them.

mod filter;
#[cfg(test)]
mod tests;

use burn::tensor::{DType, Device, Tensor, TensorData};
pub use filter::{CorrectionState, KalmanConfig, TrackState};
use filter::{Estimator, Measurement};
use serde::{Deserialize, Serialize};

use super::bank::{Bank, map_rows};

/// What is done about entries of older networks.
///
/// # Equation
///
/// With mean `μ` and standard deviation `σ` of each dimension of the network's embeddings, at the
/// step of an entry's birth and now:
///
/// ```text
/// z_now = (z − μ_birth) / σ_birth · σ_now + μ_now,    then z_now / ‖z_now‖ for unit vectors
/// ```
///
/// so that the first two moments of old entries match those of the current network. `μ` and `σ` are
/// estimated from the rows that are enqueued.
///
/// # Why this form
///
/// The published method maps the *whole* memory in place at every step: from the memory's own moments
/// to those of the batch. After such a step the memory has the batch's moments, so the next step moves
/// an entry by the difference of two batches' moments, and these differences telescope: but for the
/// fresh rows' share of the memory, an entry has moved from its birth batch's moments to the current
/// batch's, which is the equation above (derived here, for batches that are small beside the memory).
/// Computed from the birth's statistics instead of step by step, rounding never compounds, and a noisy
/// batch leaves no trace in the step after.
///
/// The entry is kept *standardised*, `(z − μ_birth) / σ_birth`: what then depends on the entry's birth
/// is already in it, no table of statistics by birth is needed, and one affine map of the whole memory
/// gives all corrected entries.
///
/// # Choices
///
/// - Corrected entries of unit vectors are brought back to unit length, since losses take dot products
///   for cosines ([`MemoryConfig::unit_length`](crate::MemoryConfig)). The moments then match up to
///   what that changes.
/// - `σ` is the biased standard deviation, at least 1e-4, at birth as now. A dimension without spread
///   is mapped to its current mean; a fresh row is always mapped to itself.
/// - Fewer than two rows measure no spread, and rows that are not finite measure nothing: the
///   statistics stay. Rows enqueued before the first measurement count as born with it.
///
/// # Cost
///
/// A second copy of the memory's embeddings, in the storage type, rewritten at every enqueue: O(M·D),
/// about 20 ms for 60,000 x 512 on two cores.
///
/// # References
///
/// Ajanthan, Ma, van den Hengel, Gould, "Adaptive Cross Batch Normalization for Metric Learning"
/// (2023), arXiv 2303.17127. That the moments are matched and that a Kalman filter is used is from its
/// text; no official code was found, and the equations are recalled or derived, as said here.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// Entries stay as they were written.
    #[default]
    None,
    /// Moments are those of the latest batch (cross-batch normalisation). Noisy where a batch has few
    /// classes: it then moves the memory towards these classes' own mean.
    Moments,
    /// Moments are filtered over batches (adaptive cross-batch normalisation).
    Kalman(KalmanConfig),
}

/// Smallest standard deviation. Standardised values of unit vectors stay below 2e4 by it, which an
/// f16 still holds.
const SMALLEST: f64 = 1e-4;

/// Keeps the statistics, and the corrected copy of the memory.
#[derive(Debug, Clone)]
pub(super) struct Corrector {
    estimator: Estimator,
    unit_length: bool,
    corrected: Tensor<2>,
}

impl Corrector {
    /// None where there is nothing to correct.
    pub(super) fn new(correction: Correction, unit_length: bool, bank: &Bank) -> Option<Self> {
        let estimator = match correction {
            Correction::None => return None,
            Correction::Moments => Estimator::moments(),
            Correction::Kalman(config) => Estimator::kalman(config),
        };
        Some(Self { estimator, unit_length, corrected: bank.embeddings.zeros_like() })
    }

    /// The memory as the current network would have written it; the first rows that are filled.
    pub(super) fn corrected(&self) -> &Tensor<2> {
        &self.corrected
    }

    /// Measures rows `[B, D]` of `classes` different classes. Standardises what the bank holds if
    /// these are the first statistics there are.
    pub(super) fn observe(
        &mut self,
        rows: Tensor<2>,
        classes: usize,
        bank: &mut Bank,
        filled: usize,
    ) {
        let [count, _] = rows.dims();
        if count < 2 {
            return;
        }
        let first = self.estimator.statistics().is_none();
        let Some(measurement) = measure(rows, classes) else { return };
        self.estimator.update(&measurement);
        if first && filled > 0 {
            let raw = bank.embeddings.clone();
            map_rows(&raw, &mut bank.embeddings, filled, |rows| self.standardise(rows));
        }
    }

    /// `(z − μ) / σ` of rows `[B, D]`, or the rows where there are no statistics yet.
    pub(super) fn standardise(&self, rows: Tensor<2>) -> Tensor<2> {
        match self.estimator.statistics() {
            None => rows,
            Some((mean, deviation)) => {
                let device = rows.device();
                let scale = deviation.iter().map(|value| 1.0 / value.max(SMALLEST));
                (rows - row(mean.iter().copied(), &device)) * row(scale, &device)
            }
        }
    }

    /// Computes the corrected copy anew.
    pub(super) fn refresh(&mut self, bank: &Bank, filled: usize) {
        let device = bank.embeddings.device();
        let statistics = self.estimator.statistics().map(|(mean, deviation)| {
            let deviation = deviation.iter().map(|value| value.max(SMALLEST));
            (row(mean.iter().copied(), &device), row(deviation, &device))
        });
        map_rows(&bank.embeddings, &mut self.corrected, filled, |rows| match &statistics {
            None => rows,
            Some((mean, deviation)) => {
                let rows = rows * deviation.clone() + mean.clone();
                if self.unit_length { normalise(rows) } else { rows }
            }
        });
    }

    pub(super) fn reset(&mut self) {
        self.estimator.reset();
    }

    pub(super) fn state(&self) -> CorrectionState {
        self.estimator.state()
    }

    pub(super) fn restore(&mut self, state: CorrectionState) {
        self.estimator.restore(state);
    }
}

/// Mean and deviation of each dimension; None if they are not all finite.
fn measure(rows: Tensor<2>, classes: usize) -> Option<Measurement> {
    let [_, dim] = rows.dims();
    let mean = rows.clone().mean_dim(0);
    let deviation = (rows - mean.clone()).square().mean_dim(0).sqrt();
    let values: Vec<f64> =
        Tensor::cat(vec![mean, deviation], 0).into_data().iter::<f32>().map(f64::from).collect();
    values.iter().all(|value| value.is_finite()).then(|| Measurement {
        mean: values[..dim].to_vec(),
        deviation: values[dim..].to_vec(),
        groups: classes.max(1),
    })
}

fn normalise(rows: Tensor<2>) -> Tensor<2> {
    let length = rows.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    rows / length
}

/// `[1, D]`.
fn row(values: impl Iterator<Item = f64>, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = values.map(|value| value as f32).collect();
    let dim = values.len();
    Tensor::from_data(TensorData::new(values, [1, dim]), (device, DType::F32))
}
