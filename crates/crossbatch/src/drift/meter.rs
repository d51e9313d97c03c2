//! How far the embeddings of fixed images move.

use std::collections::VecDeque;

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Options of a [`DriftMeter`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DriftConfig {
    /// Distances in steps that are reported. Default 10, 100, 1000 (the paper's figure, recalled).
    pub spans: Vec<u64>,
    /// Most records that are kept. Default 256. The bytes are `4 · records · probes · D`.
    pub records: usize,
}

impl Default for DriftConfig {
    fn default() -> Self {
        Self { spans: vec![10, 100, 1000], records: 256 }
    }
}

/// The drift over one span.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Drift {
    /// The span that was asked for, in steps.
    pub span: u64,
    /// Steps between the two records that were compared: within a tenth of `span`.
    pub steps: u64,
    /// Mean over the probes of the squared distance of their embeddings; for unit vectors in
    /// `[0, 4]`, and 2 − 2 cos.
    pub mean_squared: f64,
    /// The largest squared distance of a probe.
    pub largest: f64,
}

/// The slow-drift measure: the same images, embedded again and again.
///
/// # Equation
///
/// ```text
/// D(t; Δt) = mean over probes x of ‖ f(x; θ_t) − f(x; θ_{t−Δt}) ‖²
/// ```
///
/// The caller embeds a fixed set of images at some steps and records them, always in the same order
/// and the same mode: in inference mode the drift is that of the weights and running statistics, in
/// training mode (on a fixed batch) that of what the memory holds. Record at steps whose distances
/// include the spans; a span is compared with the record closest to it, if one lies within a tenth.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch::{DriftConfig, DriftMeter};
///
/// let device = Device::flex();
/// let mut meter = DriftMeter::new(DriftConfig { spans: vec![10], ..DriftConfig::default() });
/// assert!(meter.record(0, Tensor::from_data([[1.0, 0.0]], &device)).is_empty());
/// let drift = meter.record(10, Tensor::from_data([[0.6, 0.8]], &device));
/// // A cosine of 0.6: 2 - 1.2.
/// assert!((drift[0].mean_squared - 0.8).abs() < 1e-6);
/// ```
///
/// # References
///
/// "Cross-Batch Memory for Embedding Learning" (CVPR 2020), section 3.1; definition recalled.
#[derive(Debug, Clone, PartialEq)]
pub struct DriftMeter {
    config: DriftConfig,
    state: DriftState,
}

/// The records of a [`DriftMeter`], for checkpoints.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct DriftState {
    /// Step and embeddings (row-major) of each record, oldest first.
    pub records: VecDeque<(u64, Vec<f32>)>,
    /// Numbers in an embedding; 0 before the first record.
    pub dim: usize,
}

impl DriftMeter {
    /// A meter without records.
    ///
    /// # Panics
    ///
    /// If a span is 0, there is none, or fewer than two records are kept.
    pub fn new(config: DriftConfig) -> Self {
        assert!(!config.spans.is_empty(), "a drift needs at least one span");
        assert!(config.spans.iter().all(|&span| span > 0), "a span is at least one step");
        assert!(config.records >= 2, "a drift is between two records, {} are kept", config.records);
        Self { config, state: DriftState::default() }
    }

    /// Records the probes' embeddings at `step` and compares them with earlier ones: an entry for each
    /// span that has something to compare with, in the spans' order.
    ///
    /// # Shapes
    ///
    /// - `embeddings`: `[P, D]`, always the same images in the same order
    ///
    /// # Panics
    ///
    /// If steps do not rise, or the shape is not that of earlier records, or is empty.
    pub fn record(&mut self, step: u64, embeddings: Tensor<2>) -> Vec<Drift> {
        let [probes, dim] = embeddings.dims();
        assert!(probes > 0 && dim > 0, "probes {probes} x {dim} are empty");
        let values: Vec<f32> = embeddings.into_data().iter::<f32>().collect();
        if let Some((last, older)) = self.state.records.back() {
            assert!(step > *last, "step {step} is recorded after step {last}");
            let known = (older.len() / self.state.dim, self.state.dim);
            assert_eq!((probes, dim), known, "the shape of the probes changed");
        }
        self.state.dim = dim;
        let spans = self.config.spans.iter();
        let found = spans.filter_map(|&span| self.compare(span, step, &values)).collect();

        self.state.records.push_back((step, values));
        let longest = self.config.spans.iter().max().expect("there are spans");
        let needed = longest + longest / 10;
        while self.state.records.len() > self.config.records
            || self.state.records.front().is_some_and(|(old, _)| step - old > needed)
        {
            self.state.records.pop_front();
        }
        found
    }

    fn compare(&self, span: u64, step: u64, values: &[f32]) -> Option<Drift> {
        let (old, older) =
            self.state.records.iter().min_by_key(|(old, _)| (step - old).abs_diff(span))?;
        let steps = step - old;
        if steps.abs_diff(span) > span / 10 {
            return None;
        }
        let dim = self.state.dim;
        let distances = values.chunks_exact(dim).zip(older.chunks_exact(dim)).map(|(new, old)| {
            let differences = new.iter().zip(old).map(|(new, old)| f64::from(new - old));
            differences.map(|difference| difference * difference).sum::<f64>()
        });
        let (sum, largest) = distances.fold((0.0, 0.0f64), |(sum, largest), distance| {
            (sum + distance, largest.max(distance))
        });
        let probes = values.len() / dim;
        Some(Drift { span, steps, mean_squared: sum / probes as f64, largest })
    }

    /// The records, for a checkpoint.
    pub fn state(&self) -> &DriftState {
        &self.state
    }

    /// Puts records back.
    ///
    /// # Panics
    ///
    /// If they are not records of one shape at rising steps.
    pub fn restore(&mut self, state: DriftState) {
        let DriftState { records, dim } = &state;
        let shape = records.front().map_or(0, |(_, values)| values.len());
        assert!(records.is_empty() || *dim > 0 && shape % dim == 0, "{shape} numbers of {dim}");
        assert!(records.iter().all(|(_, values)| values.len() == shape), "records of two shapes");
        let steps = records.iter().map(|(step, _)| step);
        assert!(steps.is_sorted_by(|old, new| old < new), "the records' steps do not rise");
        self.state = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn probes(values: [[f32; 2]; 2]) -> Tensor<2> {
        Tensor::from_data(values, &Device::flex())
    }

    #[test]
    fn compares_with_the_record_a_span_ago() {
        let mut meter = DriftMeter::new(DriftConfig { spans: vec![10, 20], records: 9 });
        assert!(meter.record(100, probes([[0.0, 0.0], [0.0, 0.0]])).is_empty());
        let drift = meter.record(110, probes([[1.0, 0.0], [0.0, 3.0]]));
        let first = Drift { span: 10, steps: 10, mean_squared: 5.0, largest: 9.0 };
        assert_eq!(drift, [first]);
        let drift = meter.record(120, probes([[1.0, 1.0], [0.0, 3.0]]));
        assert_eq!(drift[0], Drift { span: 10, steps: 10, mean_squared: 0.5, largest: 1.0 });
        assert_eq!(drift[1], Drift { span: 20, steps: 20, mean_squared: 5.5, largest: 9.0 });
    }

    #[test]
    fn a_record_a_little_off_serves_and_says_so() {
        let mut meter = DriftMeter::new(DriftConfig { spans: vec![100], records: 9 });
        meter.record(0, probes([[0.0; 2]; 2]));
        assert_eq!(meter.record(95, probes([[1.0; 2]; 2]))[0].steps, 95);
        assert!(meter.record(150, probes([[1.0; 2]; 2])).is_empty());
    }

    #[test]
    fn history_is_bounded_by_span_and_by_count() {
        let mut meter = DriftMeter::new(DriftConfig { spans: vec![10], records: 100 });
        for step in 0..100 {
            meter.record(step, probes([[step as f32; 2]; 2]));
        }
        assert_eq!(meter.state().records.len(), 12);
        let mut meter = DriftMeter::new(DriftConfig { spans: vec![1000], records: 5 });
        for step in 0..100 {
            meter.record(step, probes([[step as f32; 2]; 2]));
        }
        assert_eq!(meter.state().records.len(), 5);
    }

    #[test]
    fn goes_on_from_a_state() {
        let config = DriftConfig { spans: vec![2], records: 5 };
        let mut meter = DriftMeter::new(config.clone());
        for step in 0..4 {
            meter.record(step, probes([[step as f32; 2]; 2]));
        }
        let mut other = DriftMeter::new(config);
        other.restore(meter.state().clone());
        let next = || probes([[9.0; 2]; 2]);
        assert_eq!(other.record(4, next()), meter.record(4, next()));
        assert_eq!(other, meter);
    }
}
