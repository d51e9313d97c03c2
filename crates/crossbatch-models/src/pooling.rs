//! A map of features to one row.

use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use crossbatch_kernels::{global_average_pool, global_max_pool};
use serde::{Deserialize, Serialize};

use crate::{cost::Tally, init::Initializer, onnx::Graph};

/// How the features `[B, F, h, w]` of a backbone become rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pooling {
    /// Every feature of every place, `[B, F h w]`; for `conv4` only.
    Flatten,
    /// The class token, of vision transformers only.
    ClassToken,
    /// The mean of each channel.
    Average,
    /// The maximum of each channel.
    Max,
    /// The generalised mean `(mean xᵖ)^(1/p)` of each channel, with one `p` that is trained, 3 at first (Radenović, Tolias,
    /// Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018). Features below 1e-6 count as 1e-6.
    Gem,
    /// The sum of mean and maximum.
    AverageMax,
}

impl Pooling {
    /// As in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Flatten => "flatten",
            Self::ClassToken => "class-token",
            Self::Average => "average",
            Self::Max => "max",
            Self::Gem => "gem",
            Self::AverageMax => "average-max",
        }
    }
}

/// A pooling with what it trains.
#[derive(Module, Debug)]
pub(crate) struct Pool {
    /// Exponent `[1]` of the generalised mean.
    p: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: Pooling,
}

impl Pool {
    pub(crate) fn new(init: &mut Initializer<'_>, kind: Pooling) -> Self {
        Self { p: (kind == Pooling::Gem).then(|| init.constant(1, 3.0)), kind }
    }

    /// `[B, F, h, w]` to `[B, F]`, or `[B, F h w]`.
    pub(crate) fn forward(&self, features: Tensor<4>) -> Tensor<2> {
        // A class token comes as a map of one place.
        match (self.kind, &self.p) {
            (Pooling::Flatten, _) => features.flatten(1, 3),
            (Pooling::Max, _) => global_max_pool(features),
            (Pooling::AverageMax, _) => {
                global_average_pool(features.clone()) + global_max_pool(features)
            }
            (Pooling::Gem, Some(p)) => {
                let p = p.val();
                let powers = features.clamp_min(1e-6).log() * p.clone().reshape([1, 1, 1, 1]);
                (global_average_pool(powers.exp()).log() / p.reshape([1, 1])).exp()
            }
            (Pooling::Average | Pooling::ClassToken | Pooling::Gem, _) => {
                global_average_pool(features)
            }
        }
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, features: &str) -> String {
        let average =
            |graph: &mut Graph, input: &str| graph.node("GlobalAveragePool", &[input], &[]);
        let maximum = |graph: &mut Graph| graph.node("GlobalMaxPool", &[features], &[]);
        let pooled = match (self.kind, &self.p) {
            (Pooling::Flatten, _) => features.to_owned(),
            (Pooling::Max, _) => maximum(graph),
            (Pooling::AverageMax, _) => {
                let (mean, maximum) = (average(graph, features), maximum(graph));
                graph.node("Add", &[&mean, &maximum], &[])
            }
            (Pooling::Gem, Some(p)) => {
                let p = graph.parameter(p);
                let least = graph.number(1e-6);
                let features = graph.node("Max", &[features, &least], &[]);
                let powers = graph.node("Pow", &[&features, &p], &[]);
                let mean = average(graph, &powers);
                let root = graph.node("Reciprocal", &[&p], &[]);
                graph.node("Pow", &[&mean, &root], &[])
            }
            (Pooling::Average | Pooling::ClassToken | Pooling::Gem, _) => average(graph, features),
        };
        graph.node("Flatten", &[&pooled], &[])
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        match self.kind {
            Pooling::Flatten => tally.flatten(),
            _ => tally.global_pool(),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    /// `[1, 2, 2, 2]`: a channel of 1, 2, 3, 4, and one of 0, 0, 0, 2.
    fn features(device: &Device) -> Tensor<4> {
        Tensor::from_data([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 2.0]]]], device)
    }

    fn pool(kind: Pooling, device: &Device) -> Pool {
        Pool::new(&mut Initializer::new(0, device), kind)
    }

    fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    #[track_caller]
    fn close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((f64::from(*a) - b).abs() < 2e-5, "{found:?}, expected {expected:?}");
        }
    }

    #[test]
    fn values_by_hand() {
        let device = Device::flex();
        for (kind, expected) in [
            (Pooling::Average, [2.5, 0.5]),
            (Pooling::Max, [4.0, 2.0]),
            (Pooling::AverageMax, [6.5, 2.5]),
            // Cubes 1, 8, 27, 64, their mean 25; and the mean of 0, 0, 0, 8.
            (Pooling::Gem, [25f64.cbrt(), 2f64.cbrt()]),
        ] {
            close(&numbers(pool(kind, &device).forward(features(&device))), &expected);
        }
        let flat = numbers(pool(Pooling::Flatten, &device).forward(features(&device)));
        close(&flat, &[1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0, 2.0]);
    }

    #[test]
    fn gradients_of_the_generalised_mean_by_hand() {
        let device = Device::flex().autodiff();
        let pool = pool(Pooling::Gem, &device);
        let features = features(&device).require_grad();
        let gradients = pool.forward(features.clone()).sum().backward();
        // With y = (mean x³)^⅓: dy/dx = x² / (4 y²). A feature that counts as 1e-6 has none.
        let found = numbers(features.grad(&gradients).unwrap());
        let at = |x: f64, y: f64| x * x / (4.0 * y * y);
        let (first, second) = (25f64.cbrt(), 2f64.cbrt());
        let expected = [
            at(1.0, first),
            at(2.0, first),
            at(3.0, first),
            at(4.0, first),
            0.0,
            0.0,
            0.0,
            at(2.0, second),
        ];
        close(&found, &expected);
        // dy/dp = y (Σ xᵖ ln x / (p Σ xᵖ) − ln(mean xᵖ) / p²).
        let exponent = |values: &[f64], y: f64| {
            let sum: f64 = values.iter().map(|x| x.powi(3)).sum();
            let weighted: f64 = values.iter().map(|x| x.powi(3) * x.ln()).sum();
            y * (weighted / (3.0 * sum) - (sum / 4.0).ln() / 9.0)
        };
        let expected =
            exponent(&[1.0, 2.0, 3.0, 4.0], first) + exponent(&[1e-6, 1e-6, 1e-6, 2.0], second);
        let found = numbers(pool.p.as_ref().unwrap().val().grad(&gradients).unwrap());
        close(&found, &[expected]);
    }
}
