//! PyTorch's default initialisation, from a seeded generator.

use burn::{
    module::{Param, ParamId},
    tensor::{Device, Tensor, TensorData},
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws parameters in order of definition and numbers them.
///
/// Ids are counted, not random, so that an optimiser's saved state finds its parameters again in
/// another process.
pub(crate) struct Initializer<'a> {
    rng: ChaCha8Rng,
    next_id: u64,
    device: &'a Device,
    frozen: bool,
    frozen_norm: bool,
}

impl<'a> Initializer<'a> {
    pub(crate) fn new(seed: u64, device: &'a Device) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            next_id: 1,
            device,
            frozen: false,
            frozen_norm: false,
        }
    }

    /// Whether batch normalisations are frozen, wherever they are.
    pub(crate) fn freeze_norm(&mut self, frozen: bool) {
        self.frozen_norm = frozen;
    }

    /// Whether what is defined from here on is trained.
    pub(crate) fn freeze(&mut self, frozen: bool) {
        self.frozen = frozen;
    }

    /// Whether a batch normalisation that is defined now keeps its statistics, scale and shift.
    pub(crate) fn norm_is_frozen(&self) -> bool {
        self.frozen || self.frozen_norm
    }

    pub(crate) fn id(&mut self) -> ParamId {
        self.next_id += 1;
        ParamId::from(self.next_id - 1)
    }

    /// Uniform in `±1/sqrt(fan_in)`: what `torch.nn.Conv2d` and `torch.nn.Linear` draw by default,
    /// weight and bias alike (`kaiming_uniform_` with `a = sqrt(5)`).
    pub(crate) fn uniform<const D: usize>(
        &mut self,
        shape: [usize; D],
        fan_in: usize,
    ) -> Param<Tensor<D>> {
        let bound = 1.0 / (fan_in as f32).sqrt();
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| (self.rng.random::<f32>() * 2.0 - 1.0) * bound)
            .collect();
        self.parameter(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    /// Normal with mean 0 (Box-Muller): `kaiming_normal_` and its like.
    pub(crate) fn normal<const D: usize>(
        &mut self,
        shape: [usize; D],
        deviation: f64,
    ) -> Param<Tensor<D>> {
        let numbers: usize = shape.iter().product();
        let mut values = Vec::with_capacity(numbers + 1);
        while values.len() < numbers {
            let radius = (-2.0 * (1.0 - self.rng.random::<f64>()).ln()).sqrt() * deviation;
            let (sine, cosine) = (std::f64::consts::TAU * self.rng.random::<f64>()).sin_cos();
            values.extend([(radius * cosine) as f32, (radius * sine) as f32]);
        }
        values.truncate(numbers);
        self.parameter(Tensor::from_data(TensorData::new(values, shape), self.device))
    }

    /// All `value`, as a parameter.
    pub(crate) fn constant(&mut self, len: usize, value: f32) -> Param<Tensor<1>> {
        self.parameter(Tensor::full([len], value, self.device))
    }

    /// All `value`, of any shape.
    pub(crate) fn constant_of<const D: usize>(
        &mut self,
        shape: [usize; D],
        value: f32,
    ) -> Param<Tensor<D>> {
        self.parameter(Tensor::full(shape, value, self.device))
    }

    /// Scale or shift of a batch normalisation, all `value`.
    pub(crate) fn norm_constant(&mut self, len: usize, value: f32) -> Param<Tensor<1>> {
        let frozen = self.frozen;
        self.frozen = self.norm_is_frozen();
        let parameter = self.constant(len, value);
        self.frozen = frozen;
        parameter
    }

    /// Trainable where the device can train and nothing is frozen.
    fn parameter<const D: usize>(&mut self, tensor: Tensor<D>) -> Param<Tensor<D>> {
        let tensor =
            if self.device.is_autodiff() && !self.frozen { tensor.require_grad() } else { tensor };
        Param::initialized(self.id(), tensor)
    }

    pub(crate) fn device(&self) -> &Device {
        self.device
    }
}
