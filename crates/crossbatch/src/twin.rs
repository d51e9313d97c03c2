//! A network's slow twin, whose keys stay comparable with each other.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::tensor::Tensor;

/// A copy of a network whose parameters are the moving average of the network's own:
///
/// ```text
/// θ_twin ← θ_twin + (1 − m) (θ − θ_twin)        ( = m θ_twin + (1 − m) θ )
/// ```
///
/// Entries that the twin computes age slowly: it removes the cause of drift where a
/// [`Correction`](crate::Correction) mends its effect, at the price of a second forward pass and a
/// second copy of the weights.
///
/// # What is averaged
///
/// The parameters that require a gradient, at each [`update`](Self::update). Buffers are not, as in
/// MoCo: BatchNorm's running statistics in the twin are its own and change only where the twin itself
/// is run in training mode. Keys should be normalised by their own batch's statistics, as anchors are,
/// without touching the running ones (`Mode::TrainFrozenStatistics` of `crossbatch-models`). Frozen
/// parameters stay as they were copied.
///
/// The twin has no autodiff: its forward pass builds no graph.
///
/// # Defaults
///
/// None; MoCo takes m = 0.999 (recalled).
///
/// # Example
///
/// ```
/// use burn::module::{Module, Param};
/// use burn::tensor::{Device, Tensor};
/// use crossbatch::MomentumTwin;
///
/// #[derive(Module, Debug)]
/// struct Scale {
///     factor: Param<Tensor<1>>,
/// }
///
/// let device = Device::flex().autodiff();
/// let network = |factor: f32| Scale { factor: Param::from_data([factor], &device) };
/// let first = network(1.0);
/// let mut twin = MomentumTwin::new(&first, 0.75);
/// // A training step moves the network to 5.
/// let moved = Scale { factor: first.factor.map(|old| (old + 4.0).detach().require_grad()) };
/// twin.update(&moved);
/// assert_eq!(twin.network().factor.val().into_scalar::<f32>(), 2.0);
/// ```
///
/// # References
///
/// He et al., "Momentum Contrast for Unsupervised Visual Representation Learning" (CVPR 2020),
/// equation 2, recalled.
#[derive(Debug, Clone)]
pub struct MomentumTwin<M> {
    network: M,
    momentum: f64,
}

impl<M: Module> MomentumTwin<M> {
    /// A twin that starts equal to `network`, running statistics included.
    ///
    /// # Panics
    ///
    /// If `momentum` is not in `[0, 1)`, or nothing in `network` requires a gradient: give the network
    /// that is trained, not its `valid()`.
    pub fn new(network: &M, momentum: f64) -> Self {
        assert!(!trained(network).is_empty(), "no parameter of the network requires a gradient");
        // `valid` makes new running statistics; a clone would share the network's.
        Self::from_network(network.valid(), momentum)
    }

    /// The twin that `network` was saved from.
    ///
    /// # Panics
    ///
    /// If `momentum` is not in `[0, 1)`.
    pub fn from_network(network: M, momentum: f64) -> Self {
        let mut twin = Self { network: network.valid(), momentum: 0.0 };
        twin.set_momentum(momentum);
        twin
    }

    /// Follows `network` by a step; call it after the optimiser's.
    ///
    /// # Panics
    ///
    /// If nothing in `network` requires a gradient, or a parameter has another shape than the twin's.
    pub fn update(&mut self, network: &M) {
        let trained = trained(network);
        assert!(!trained.is_empty(), "no parameter of the network requires a gradient");
        let mut follow = Follow { trained, share: 1.0 - self.momentum };
        self.network = self.network.clone().map(&mut follow);
    }

    /// The twin's network, without autodiff.
    pub fn network(&self) -> &M {
        &self.network
    }

    /// What of the twin stays in a step.
    pub fn momentum(&self) -> f64 {
        self.momentum
    }

    /// Sets what of the twin stays in a step.
    ///
    /// # Panics
    ///
    /// If `momentum` is not in `[0, 1)`.
    pub fn set_momentum(&mut self, momentum: f64) {
        assert!((0.0..1.0).contains(&momentum), "a momentum is in [0, 1), got {momentum}");
        self.momentum = momentum;
    }
}

/// Values of the parameters that require a gradient, flat.
fn trained<M: Module>(network: &M) -> HashMap<ParamId, Tensor<1>> {
    let mut collect = Collect::default();
    network.visit(&mut collect);
    collect.0
}

#[derive(Default)]
struct Collect(HashMap<ParamId, Tensor<1>>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base();
        if value.is_require_grad() {
            let count = value.shape().num_elements();
            self.0.insert(param.id, value.inner().reshape([count]));
        }
    }
}

struct Follow {
    trained: HashMap<ParamId, Tensor<1>>,
    share: f64,
}

impl ModuleMapper for Follow {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(target) = self.trained.remove(&param.id) else { return param };
        param.map(|twin| {
            let target = target.reshape(twin.dims());
            // In this form a twin that is equal stays equal to the bit.
            twin.clone() + (target - twin) * self.share
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::RunningState;
    use burn::tensor::Device;

    #[derive(Module, Debug)]
    struct Network {
        weight: Param<Tensor<2>>,
        frozen: Param<Tensor<1>>,
        running: RunningState<Tensor<1>>,
    }

    fn network(weight: [[f32; 2]; 1], id: u64) -> Network {
        let device = Device::flex().autodiff();
        let weight = Tensor::from_data(weight, &device).require_grad();
        Network {
            weight: Param::initialized(ParamId::from(id), weight),
            frozen: Param::initialized(ParamId::from(id + 1), Tensor::ones([1], &device)),
            running: RunningState::with_id(ParamId::from(id + 2), Tensor::ones([1], &device)),
        }
    }

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().try_to_vec().unwrap()
    }

    #[test]
    fn follows_what_is_trained_and_nothing_else() {
        let mut twin = MomentumTwin::new(&network([[0.0, 8.0]], 1), 0.75);
        let device = Device::flex().autodiff();
        let mut moved = network([[4.0, 0.0]], 1);
        moved.frozen = moved.frozen.map(|_| Tensor::full([1], 7.0, &device));
        moved.running.update(Tensor::full([1], 9.0, &device));
        assert_eq!(values(moved.running.value_sync()), [9.0]);
        twin.update(&moved);
        assert_eq!(values(twin.network().weight.val()), [1.0, 6.0]);
        twin.update(&moved);
        assert_eq!(values(twin.network().weight.val()), [1.75, 4.5]);
        assert_eq!(values(twin.network().frozen.val()), [1.0]);
        assert_eq!(values(twin.network().running.value_sync()), [1.0]);
        assert!(!twin.network().weight.val().is_autodiff());
    }

    #[test]
    fn running_statistics_are_not_shared() {
        let network = network([[0.0, 0.0]], 1);
        let twin = MomentumTwin::new(&network, 0.5);
        let device = Device::flex();
        twin.network().running.update(Tensor::full([1], 3.0, &device));
        assert_eq!(values(twin.network().running.value_sync()), [3.0]);
        assert_eq!(values(network.running.value_sync()), [1.0]);
    }

    #[test]
    fn an_equal_twin_stays_equal_to_the_bit() {
        let network = network([[0.1, -1.0 / 3.0]], 1);
        let mut twin = MomentumTwin::new(&network, 0.999);
        for _ in 0..100 {
            twin.update(&network);
        }
        assert_eq!(values(twin.network().weight.val()), values(network.weight.val()));
    }

    #[test]
    #[should_panic(expected = "requires a gradient")]
    fn a_network_that_is_not_trained_is_refused() {
        let _ = MomentumTwin::new(&network([[0.0, 0.0]], 1).valid(), 0.5);
    }
}
