//! Adam, AdamW and gradient descent as Burn optimisers whose step is one operation over each parameter.
//!
//! Their state has the fields of Burn's own, so that records of either are read by both.

use burn::{
    optim::{
        AdamState, AdaptiveMomentumState, ModuleOptimizer, Optimizer, RecordState, StateSink,
        StateSource, join_path,
    },
    tensor::{Device, Tensor},
};
use crossbatch_kernels::{AdamStep, SgdStep, adam_step, sgd_momentum_step, sgd_step};

use crate::recipe::{OptimizerKind, OptimizerRecipe};

/// The optimiser that a recipe names.
pub fn optimizer(recipe: &OptimizerRecipe) -> ModuleOptimizer {
    match recipe.kind {
        OptimizerKind::Adam | OptimizerKind::Adamw => Adam {
            betas: recipe.betas,
            epsilon: recipe.epsilon,
            decay: recipe.weight_decay as f32,
            decoupled: recipe.kind == OptimizerKind::Adamw,
        }
        .into(),
        OptimizerKind::Sgd => {
            Sgd { momentum: recipe.momentum as f32, decay: recipe.weight_decay as f32 }.into()
        }
    }
}

/// Adam, or with `decoupled` AdamW.
#[derive(Clone)]
struct Adam {
    betas: [f32; 2],
    epsilon: f32,
    decay: f32,
    decoupled: bool,
}

impl Optimizer for Adam {
    type State<const D: usize> = AdamState<D>;

    fn step<const D: usize>(
        &self,
        lr: f64,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let momentum = state.map_or_else(
            || AdaptiveMomentumState::new(0, tensor.zeros_like(), tensor.zeros_like()),
            |state| state.momentum,
        );
        let time = momentum.time + 1;
        let step = AdamStep {
            rate: lr,
            beta_1: self.betas[0],
            beta_2: self.betas[1],
            epsilon: self.epsilon,
            decay: self.decay,
            decoupled: self.decoupled,
            time: u32::try_from(time).unwrap_or(u32::MAX),
        };
        let [tensor, mean, square] =
            adam_step(step, tensor, grad, momentum.moment_1, momentum.moment_2);
        (tensor, Some(AdamState::new(AdaptiveMomentumState::new(time, mean, square))))
    }

    fn to_device<const D: usize>(mut state: Self::State<D>, device: &Device) -> Self::State<D> {
        state.momentum = state.momentum.to_device(device);
        state
    }
}

/// Stochastic gradient descent, with momentum where that is above 0.
#[derive(Clone)]
struct Sgd {
    momentum: f32,
    decay: f32,
}

/// State of [`Sgd`].
#[derive(Clone)]
struct SgdState<const D: usize> {
    /// Where the parameters are heading, with momentum.
    velocity: Option<Tensor<D>>,
}

/// Named as the fields of Burn's state are.
impl<const D: usize> RecordState for SgdState<D> {
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        if let Some(velocity) = &self.velocity {
            out.push_tensor(&join_path(prefix, "momentum"), "velocity", velocity.to_data());
        }
    }

    fn state_unflatten(prefix: &str, source: &mut StateSource, device: &Device) -> Option<Self> {
        let velocity = source.take_tensor(&join_path(prefix, "momentum"), "velocity");
        Some(Self { velocity: velocity.map(|values| Tensor::from_data(values, device)) })
    }
}

impl Optimizer for Sgd {
    type State<const D: usize> = SgdState<D>;

    fn step<const D: usize>(
        &self,
        lr: f64,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let step = SgdStep { rate: lr, momentum: self.momentum, decay: self.decay };
        if self.momentum == 0.0 {
            return (sgd_step(step, tensor, grad), Some(SgdState { velocity: None }));
        }
        let velocity =
            state.and_then(|state| state.velocity).unwrap_or_else(|| tensor.zeros_like());
        let [tensor, velocity] = sgd_momentum_step(step, tensor, grad, velocity);
        (tensor, Some(SgdState { velocity: Some(velocity) }))
    }

    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        SgdState { velocity: state.velocity.map(|velocity| velocity.to_device(device)) }
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        module::{Module, Param},
        optim::{
            AdamConfig, AdamWConfig, GradientsParams, SgdConfig, decay::WeightDecayConfig,
            momentum::MomentumConfig,
        },
    };

    use super::*;

    #[derive(Module, Debug)]
    struct Weights {
        values: Param<Tensor<2>>,
    }

    impl Weights {
        fn new() -> Self {
            let device = Device::flex().autodiff();
            let values = Tensor::from_data([[0.5, -0.25, 2.0], [1.0, -3.0, 0.125]], &device);
            Self { values: Param::from_tensor(values) }
        }

        /// A loss whose gradient changes with the weights.
        fn gradients(&self) -> GradientsParams {
            let values = self.values.val();
            let gradients = (values.clone().powi_scalar(3) + values.sin()).sum().backward();
            GradientsParams::from_grads(gradients, self)
        }

        fn after(mut self, steps: usize, optimizer: &mut ModuleOptimizer) -> Self {
            for _ in 0..steps {
                let gradients = self.gradients();
                self = optimizer.step(0.05, self, gradients);
            }
            self
        }

        fn read(&self) -> Vec<f32> {
            self.values.val().into_data().try_to_vec().unwrap()
        }
    }

    fn recipes() -> [(OptimizerRecipe, ModuleOptimizer); 4] {
        let recipe = |kind, momentum| OptimizerRecipe {
            kind,
            weight_decay: 0.02,
            momentum,
            betas: [0.8, 0.95],
            epsilon: 1e-6,
            ..OptimizerRecipe::default()
        };
        let decay = Some(WeightDecayConfig::new(0.02));
        let adam = AdamConfig::new().with_beta_1(0.8).with_beta_2(0.95).with_epsilon(1e-6);
        let adam_w = AdamWConfig::new().with_beta_1(0.8).with_beta_2(0.95).with_epsilon(1e-6);
        let momentum = MomentumConfig { momentum: 0.7, dampening: 0.0, nesterov: false };
        [
            (recipe(OptimizerKind::Adam, 0.0), adam.with_weight_decay(decay.clone()).init()),
            (recipe(OptimizerKind::Adamw, 0.0), adam_w.with_weight_decay(0.02).init()),
            (
                recipe(OptimizerKind::Sgd, 0.0),
                SgdConfig::new().with_weight_decay(decay.clone()).init(),
            ),
            (
                recipe(OptimizerKind::Sgd, 0.7),
                SgdConfig::new().with_weight_decay(decay).with_momentum(Some(momentum)).init(),
            ),
        ]
    }

    #[test]
    fn they_are_burns_own_and_read_their_records() {
        for (recipe, mut theirs) in recipes() {
            let mut ours = optimizer(&recipe);
            let near = |ours: &Weights, theirs: &Weights| {
                for (a, b) in ours.read().iter().zip(theirs.read()) {
                    assert!((a - b).abs() < 2e-6 * b.abs().max(1.0), "{:?}: {a} {b}", recipe.kind);
                }
            };
            let our_weights = Weights::new().after(5, &mut ours);
            let their_weights = Weights::new().after(5, &mut theirs);
            near(&our_weights, &their_weights);

            let record = theirs.into_bytes().unwrap();
            let mut ours = optimizer(&recipe).from_bytes(record).unwrap();
            near(&their_weights.clone().after(3, &mut ours), &their_weights.after(3, &mut theirs));
        }
    }
}
