//! Optimiser steps that read each parameter, its gradient and its state once, and write them in place.
//!
//! Every element is computed alone, so results do not hang on the number of threads.

use crate::lanes::{Level, for_level};
use rayon::prelude::*;

/// Elements that one task takes: all its streams together fit the second-level cache.
const CHUNK: usize = 1 << 15;

/// One step of Adam (Kingma & Ba 2015, algorithm 1) or AdamW (Loshchilov & Hutter 2019, algorithm 2).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Learning rate of this step.
    pub rate: f64,
    /// Decay of the gradients' mean.
    pub beta_1: f32,
    /// Decay of the squared gradients' mean.
    pub beta_2: f32,
    /// Added to the root of the squared gradients' mean.
    pub epsilon: f32,
    /// Weight decay.
    pub decay: f32,
    /// Whether the decay acts on the weights themselves (AdamW) or is added to the gradient (Adam).
    pub decoupled: bool,
    /// Number of this step, from 1.
    pub time: u32,
}

/// Takes a step; both means start at 0.
///
/// With `g` the gradient (plus `decay · w` unless decoupled): `m ← β₁ m + (1 − β₁) g`,
/// `v ← β₂ v + (1 − β₂) g²`, `w ← w (1 − rate · decay, if decoupled) − rate · m̂ / (√v̂ + ε)`, where the hats divide by
/// `1 − βᵗ`.
///
/// # Panics
///
/// If lengths differ.
pub fn adam(
    step: &AdamStep,
    weights: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    let count = weights.len();
    assert!(
        [gradient.len(), mean.len(), square.len()] == [count; 3],
        "{count} weights with {} gradients and state of {} and {}",
        gradient.len(),
        mean.len(),
        square.len()
    );
    let constants = AdamConstants::new(step);
    let level = Level::detect();
    let chunks = weights
        .par_chunks_mut(CHUNK)
        .zip(gradient.par_chunks(CHUNK))
        .zip(mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK)));
    chunks.for_each(|((weights, gradient), (mean, square))| {
        let constants = &constants;
        for_level!(
            level,
            adam_chunk(
                constants: &AdamConstants,
                weights: &mut [f32],
                gradient: &[f32],
                mean: &mut [f32],
                square: &mut [f32],
            )
        );
    });
}

/// What does not change from element to element, computed in f64.
struct AdamConstants {
    beta_1: f32,
    beta_2: f32,
    one_less_beta_1: f32,
    one_less_beta_2: f32,
    /// `rate · √(1 − β₂ᵗ) / (1 − β₁ᵗ)`
    rate: f32,
    /// `ε · √(1 − β₂ᵗ)`
    epsilon: f32,
    /// What of a weight is added to its gradient.
    coupled: f32,
    /// What of a weight stays.
    stays: f32,
}

impl AdamConstants {
    fn new(step: &AdamStep) -> Self {
        let power = |beta: f32| 1.0 - f64::from(beta).powf(f64::from(step.time));
        let root = power(step.beta_2).sqrt();
        let decay = f64::from(step.decay);
        Self {
            beta_1: step.beta_1,
            beta_2: step.beta_2,
            one_less_beta_1: 1.0 - step.beta_1,
            one_less_beta_2: 1.0 - step.beta_2,
            rate: (step.rate * root / power(step.beta_1)) as f32,
            epsilon: (f64::from(step.epsilon) * root) as f32,
            coupled: if step.decoupled { 0.0 } else { step.decay },
            stays: if step.decoupled { (1.0 - step.rate * decay) as f32 } else { 1.0 },
        }
    }
}

#[inline(always)]
fn adam_chunk(
    constants: &AdamConstants,
    weights: &mut [f32],
    gradient: &[f32],
    mean: &mut [f32],
    square: &mut [f32],
) {
    let state = mean.iter_mut().zip(square);
    for ((weight, &gradient), (mean, square)) in weights.iter_mut().zip(gradient).zip(state) {
        let gradient = gradient + constants.coupled * *weight;
        *mean = constants.beta_1 * *mean + constants.one_less_beta_1 * gradient;
        *square = constants.beta_2 * *square + constants.one_less_beta_2 * (gradient * gradient);
        let change = constants.rate * *mean / (square.sqrt() + constants.epsilon);
        *weight = constants.stays * *weight - change;
    }
}

/// One step of stochastic gradient descent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdStep {
    /// Learning rate of this step.
    pub rate: f64,
    /// Share of the velocity that stays.
    pub momentum: f32,
    /// Weight decay, added to the gradient.
    pub decay: f32,
}

/// Takes a step: `g` the gradient plus `decay · w`, `velocity ← momentum · velocity + g`, `w ← w − rate · velocity`, as
/// PyTorch does it; without a velocity `w ← w − rate · g`. The velocity starts at 0.
///
/// # Panics
///
/// If lengths differ.
pub fn sgd(step: &SgdStep, weights: &mut [f32], gradient: &[f32], velocity: Option<&mut [f32]>) {
    let count = weights.len();
    assert_eq!(gradient.len(), count, "as many gradients as weights");
    let (rate, decay, momentum) = (step.rate as f32, step.decay, step.momentum);
    let level = Level::detect();
    let chunks = weights.par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK));
    match velocity {
        None => chunks.for_each(|(weights, gradient)| {
            for_level!(
                level,
                plain_chunk(rate: f32, decay: f32, weights: &mut [f32], gradient: &[f32])
            );
        }),
        Some(velocity) => {
            assert_eq!(velocity.len(), count, "as long a velocity as weights");
            chunks.zip(velocity.par_chunks_mut(CHUNK)).for_each(
                |((weights, gradient), velocity)| {
                    for_level!(
                        level,
                        momentum_chunk(
                            rate: f32,
                            decay: f32,
                            momentum: f32,
                            weights: &mut [f32],
                            gradient: &[f32],
                            velocity: &mut [f32],
                        )
                    );
                },
            );
        }
    }
}

#[inline(always)]
fn plain_chunk(rate: f32, decay: f32, weights: &mut [f32], gradient: &[f32]) {
    for (weight, &gradient) in weights.iter_mut().zip(gradient) {
        *weight -= rate * (gradient + decay * *weight);
    }
}

#[inline(always)]
fn momentum_chunk(
    rate: f32,
    decay: f32,
    momentum: f32,
    weights: &mut [f32],
    gradient: &[f32],
    velocity: &mut [f32],
) {
    for ((weight, &gradient), velocity) in weights.iter_mut().zip(gradient).zip(velocity) {
        *velocity = momentum * *velocity + (gradient + decay * *weight);
        *weight -= rate * *velocity;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 2 * CHUNK + 7;

    fn numbers(seed: usize) -> Vec<f32> {
        (0..COUNT).map(|index| ((index * 37 + seed * 101) % 211) as f32 / 105.0 - 1.0).collect()
    }

    #[test]
    fn adam_is_its_definition_in_f64() {
        for decoupled in [false, true] {
            let (mut weights, mut mean, mut square) =
                (numbers(1), vec![0.0; COUNT], vec![0.0; COUNT]);
            let mut exact: Vec<[f64; 3]> =
                weights.iter().map(|&weight| [f64::from(weight), 0.0, 0.0]).collect();
            for time in 1..=4 {
                let step = AdamStep {
                    rate: 0.01,
                    beta_1: 0.9,
                    beta_2: 0.999,
                    epsilon: 1e-8,
                    decay: 0.05,
                    decoupled,
                    time,
                };
                let gradient = numbers(time as usize + 1);
                adam(&step, &mut weights, &gradient, &mut mean, &mut square);
                let (beta_1, beta_2) = (f64::from(step.beta_1), f64::from(step.beta_2));
                let decay = f64::from(step.decay);
                for ([w, m, v], &g) in exact.iter_mut().zip(&gradient) {
                    let g = f64::from(g) + if decoupled { 0.0 } else { decay * *w };
                    *m = beta_1 * *m + (1.0 - beta_1) * g;
                    *v = beta_2 * *v + (1.0 - beta_2) * g * g;
                    let m_hat = *m / (1.0 - beta_1.powi(time as i32));
                    let v_hat = *v / (1.0 - beta_2.powi(time as i32));
                    if decoupled {
                        *w *= 1.0 - step.rate * decay;
                    }
                    *w -= step.rate * m_hat / (v_hat.sqrt() + f64::from(step.epsilon));
                }
            }
            for (found, [expected, ..]) in weights.iter().zip(&exact) {
                // A gradient near 0 is all rounding under Adam's division: a share of the step, 0.01.
                assert!((f64::from(*found) - expected).abs() < 2e-6, "{found} {expected}");
            }
        }
    }

    #[test]
    fn descent_by_hand() {
        let step = SgdStep { rate: 0.5, momentum: 0.5, decay: 0.25 };
        let (mut weights, mut velocity) = ([4.0], [0.0]);
        sgd(&step, &mut weights, &[1.0], Some(&mut velocity));
        assert_eq!((weights, velocity), ([3.0], [2.0]));
        sgd(&step, &mut weights, &[0.25], Some(&mut velocity));
        assert_eq!((weights, velocity), ([2.0], [2.0]));
        sgd(&step, &mut weights, &[0.5], None);
        assert_eq!(weights, [1.5]);
    }

    #[test]
    fn threads_change_nothing() {
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (mut weights, mut velocity) = (numbers(3), numbers(4));
                let step = SgdStep { rate: 0.1, momentum: 0.9, decay: 1e-4 };
                sgd(&step, &mut weights, &numbers(5), Some(&mut velocity));
                weights
            })
        };
        assert_eq!(run(1), run(3));
    }
}
