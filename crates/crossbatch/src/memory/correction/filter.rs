//! Mean and standard deviation of the network's embeddings, from one batch after the other.

use serde::{Deserialize, Serialize};

/// Options of the filtered statistics.
///
/// Each dimension's mean and standard deviation are scalar Kalman filters (a random walk seen through
/// noise):
///
/// ```text
/// predict   p⁻ = p + q
/// gain      K  = p⁻ / (p⁻ + r)
/// update    x  = x + K (z − x),    p = (1 − K) p⁻          start: x = z, p = r
/// ```
///
/// with `z` the batch's value and
///
/// - `r`, its noise: `σ² / n` for the mean and `σ² / 2n` for the deviation (a normal sample's), `σ` the
///   batch's, and `n` the number of *classes* in the batch, since the images of a class lie together;
/// - `q`, what the network moves in a step: what of the innovations `z − x` the other two do not
///   explain. Their variance is `p + q + r`, so the mean of `(z − x)² − p − r` over all dimensions, and
///   over the last `horizon` batches, is an estimate of `q`; it is kept at `floor` times the mean `r`
///   or above, so that the gain stays between 0 and 1 and the filter never falls asleep.
///
/// The filter's equations are textbook, as the reference is recalled to have them; its noises are not
/// known. Those here are derived: `r` from sampling, `q` by matching the innovations' variance, the
/// usual way (Mehra, "Approaches to adaptive filtering", 1972). Where `r` is estimated too low, `q`
/// takes what is missing and the filter follows the batches more closely.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct KalmanConfig {
    /// Batches over which `q` is estimated. Default 100.
    pub horizon: f64,
    /// Smallest `q` as a share of `r`. Default 1e-4, a gain of at least 1 %.
    pub floor: f64,
}

impl Default for KalmanConfig {
    fn default() -> Self {
        Self { horizon: 100.0, floor: 1e-4 }
    }
}

/// The statistics' state, exact.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CorrectionState {
    /// Mean of each dimension, `[D]`; empty before the first batch.
    pub mean: TrackState,
    /// Standard deviation of each dimension, `[D]`; empty before the first batch.
    pub deviation: TrackState,
}

/// One followed statistic.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrackState {
    /// The estimate `x`, `[D]`.
    pub value: Vec<f64>,
    /// Its variance `p`, `[D]`; empty without a filter.
    pub variance: Vec<f64>,
    /// The process noise `q` before its floor.
    pub drift: f64,
    /// Batches seen.
    pub batches: u64,
}

/// A batch's statistics.
pub(super) struct Measurement {
    pub(super) mean: Vec<f64>,
    pub(super) deviation: Vec<f64>,
    /// How many independent draws the batch is worth.
    pub(super) groups: usize,
}

/// Follows mean and deviation.
#[derive(Debug, Clone)]
pub(super) struct Estimator {
    kalman: Option<KalmanConfig>,
    state: CorrectionState,
}

impl Estimator {
    pub(super) fn moments() -> Self {
        Self { kalman: None, state: CorrectionState::default() }
    }

    pub(super) fn kalman(config: KalmanConfig) -> Self {
        let KalmanConfig { horizon, floor } = config;
        assert!(horizon >= 1.0, "the noise is estimated over at least one batch, got {horizon}");
        assert!(floor > 0.0 && floor.is_finite(), "the noise's floor is above 0, got {floor}");
        Self { kalman: Some(config), state: CorrectionState::default() }
    }

    /// Mean and deviation `[D]`, where anything was measured.
    pub(super) fn statistics(&self) -> Option<(&[f64], &[f64])> {
        let CorrectionState { mean, deviation } = &self.state;
        (mean.batches > 0).then_some((&mean.value[..], &deviation.value[..]))
    }

    pub(super) fn update(&mut self, measured: &Measurement) {
        let CorrectionState { mean, deviation } = &mut self.state;
        let Some(config) = self.kalman else {
            mean.replace(&measured.mean);
            deviation.replace(&measured.deviation);
            return;
        };
        let groups = measured.groups as f64;
        let noise: Vec<f64> = measured
            .deviation
            .iter()
            .map(|deviation| deviation.max(super::SMALLEST).powi(2) / groups)
            .collect();
        mean.filter(&measured.mean, &noise, config);
        let noise: Vec<f64> = noise.iter().map(|noise| noise / 2.0).collect();
        deviation.filter(&measured.deviation, &noise, config);
    }

    pub(super) fn reset(&mut self) {
        self.state = CorrectionState::default();
    }

    pub(super) fn state(&self) -> CorrectionState {
        self.state.clone()
    }

    pub(super) fn restore(&mut self, state: CorrectionState) {
        self.state = state;
    }
}

impl TrackState {
    fn replace(&mut self, measured: &[f64]) {
        self.value = measured.to_vec();
        self.batches += 1;
    }

    /// Takes a measurement with variance `noise` into account; returns the mean gain.
    fn filter(&mut self, measured: &[f64], noise: &[f64], config: KalmanConfig) -> f64 {
        self.batches += 1;
        if self.batches == 1 {
            self.value = measured.to_vec();
            self.variance = noise.to_vec();
            return 1.0;
        }
        let dim = measured.len() as f64;
        let innovations: Vec<f64> =
            measured.iter().zip(&self.value).map(|(measured, value)| measured - value).collect();
        let mean_noise = noise.iter().sum::<f64>() / dim;
        let found = innovations.iter().map(|innovation| innovation * innovation).sum::<f64>() / dim;
        let explained = self.variance.iter().sum::<f64>() / dim + mean_noise;
        // A mean over all batches so far, until there are more than the horizon.
        let share = 1.0 / config.horizon.min((self.batches - 1) as f64);
        self.drift += share * (found - explained - self.drift);
        let process = self.drift.max(config.floor * mean_noise);

        let mut gains = 0.0;
        for (index, innovation) in innovations.iter().enumerate() {
            let predicted = self.variance[index] + process;
            let gain = predicted / (predicted + noise[index]);
            self.value[index] += gain * innovation;
            self.variance[index] = (1.0 - gain) * predicted;
            gains += gain;
        }
        gains / dim
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Normal numbers, by the sum of twelve uniform ones.
    fn normal(state: &mut u64) -> f64 {
        (0..12)
            .map(|_| {
                *state ^= *state << 13;
                *state ^= *state >> 7;
                *state ^= *state << 17;
                (*state >> 11) as f64 / (1u64 << 53) as f64
            })
            .sum::<f64>()
            - 6.0
    }

    #[test]
    fn first_steps_by_hand() {
        let config = KalmanConfig { horizon: 100.0, floor: 0.5 };
        let mut track = TrackState::default();
        track.filter(&[2.0], &[1.0], config);
        assert_eq!((track.value[0], track.variance[0]), (2.0, 1.0));
        // Innovation 1: 1 - (1 + 1) < 0, so q is the floor, 0.5; K = 1.5 / 2.5.
        let gain = track.filter(&[3.0], &[1.0], config);
        assert_eq!(gain, 0.6);
        assert!((track.value[0] - 2.6).abs() < 1e-12 && (track.variance[0] - 0.6).abs() < 1e-12);
        // Innovation 10: q = (−1 + (100 − 1.6)) / 2 = 48.7; K = 49.3 / 50.3.
        let gain = track.filter(&[12.6], &[1.0], config);
        assert!((gain - 49.3 / 50.3).abs() < 1e-12, "{gain}");
    }

    #[test]
    fn a_constant_is_found_and_the_gain_stays_between_0_and_1() {
        let mut track = TrackState::default();
        track.filter(&[5.0, -1.0], &[0.01, 0.04], KalmanConfig::default());
        for _ in 0..2000 {
            let gain = track.filter(&[1.0, 2.0], &[0.01, 0.04], KalmanConfig::default());
            assert!(gain > 0.0 && gain < 1.0, "{gain}");
        }
        assert!((track.value[0] - 1.0).abs() < 1e-6 && (track.value[1] - 2.0).abs() < 1e-6);
    }

    #[test]
    fn noise_is_averaged_out_and_a_drift_is_followed() {
        const DIM: usize = 32;
        let config = KalmanConfig::default();
        for (speed, largest) in [(0.0, 0.25), (0.5, 0.85)] {
            let mut random = 0x9E37_79B9_7F4A_7C15u64;
            let mut truth = [0.0; DIM];
            let mut track = TrackState::default();
            let mut error = 0.0;
            for step in 0..1000 {
                truth.iter_mut().for_each(|value| *value += speed * normal(&mut random));
                let measured = truth.map(|value| value + normal(&mut random));
                track.filter(&measured, &[1.0; DIM], config);
                if step >= 500 {
                    let squares = truth.iter().zip(&track.value).map(|(a, b)| (a - b).powi(2));
                    error += squares.sum::<f64>() / (500 * DIM) as f64;
                }
            }
            // The measurement's own error is 1.
            assert!(error.sqrt() < largest, "speed {speed}: {}", error.sqrt());
        }
    }
}
