//! Layers with PyTorch's parameter names, layouts and running statistics.

use burn::{
    module::{Module, Param, RunningState},
    tensor::Tensor,
};
pub use crossbatch_kernels::l2_normalize;
use crossbatch_kernels::{
    BatchNormOptions, ConvOptions, Normalisation, batch_norm_inference, batch_norm_train, conv2d,
    conv2d_norm_inference, layer_norm, layer_norm_channels, linear,
};

use crate::init::Initializer;

/// How a network runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// BatchNorm normalises by the batch's statistics and updates the running ones.
    Train,
    /// BatchNorm normalises by the batch's statistics and leaves the running ones as they are: for
    /// embeddings that are compared with those of a training step but are no step of their own (a
    /// memory's first entries, keys of a momentum twin).
    TrainFrozenStatistics,
    /// BatchNorm normalises by the running statistics.
    Inference,
}

/// 2-d convolution; weight `[out, in / groups, k, k]`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// Weight `[out, in / groups, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// Bias `[out]`, where there is one.
    pub bias: Option<Param<Tensor<1>>>,
    stride: usize,
    padding: usize,
    groups: usize,
}

impl Conv2d {
    /// An odd kernel that keeps the size, PyTorch's default initialisation, no bias.
    pub(crate) fn new(
        init: &mut Initializer<'_>,
        input: usize,
        output: usize,
        kernel: usize,
    ) -> Self {
        let weight = init.uniform([output, input, kernel, kernel], input * kernel * kernel);
        Self { weight, bias: None, stride: 1, padding: kernel / 2, groups: 1 }
    }

    /// `kaiming_normal_` by the outputs (`mode="fan_out"`, for ReLU), no bias, padding of half the kernel.
    pub(crate) fn kaiming(
        init: &mut Initializer<'_>,
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
        groups: usize,
    ) -> Self {
        let fan_out = output * kernel * kernel / groups;
        let shape = [output, input / groups, kernel, kernel];
        let weight = init.normal(shape, (2.0 / fan_out as f64).sqrt());
        Self { weight, bias: None, stride, padding: kernel / 2, groups }
    }

    /// `trunc_normal_` or `normal_` with this deviation, no bias, padding of half the kernel.
    pub(crate) fn normal(
        init: &mut Initializer<'_>,
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
        deviation: f64,
    ) -> Self {
        let weight = init.normal([output, input, kernel, kernel], deviation);
        Self { weight, bias: None, stride, padding: kernel / 2, groups: 1 }
    }

    /// Patches side by side, PyTorch's default initialisation.
    pub(crate) fn patches(
        init: &mut Initializer<'_>,
        [input, output]: [usize; 2],
        patch: usize,
    ) -> Self {
        let fan_in = input * patch * patch;
        let weight = init.uniform([output, input, patch, patch], fan_in);
        let bias = Some(init.uniform([output], fan_in));
        Self { weight, bias, stride: patch, padding: 0, groups: 1 }
    }

    /// Patches side by side, normal with deviation 0.02, biases 0.
    pub(crate) fn blocks(init: &mut Initializer<'_>, channels: [usize; 2], patch: usize) -> Self {
        Self { padding: 0, ..Self::normal(init, channels, patch, patch, 0.02) }.with_zero_bias(init)
    }

    /// Each channel on its own, normal with deviation 0.02, biases 0.
    pub(crate) fn depthwise(init: &mut Initializer<'_>, channels: usize, kernel: usize) -> Self {
        let conv = Self::normal(init, [1, channels], kernel, 1, 0.02).with_zero_bias(init);
        Self { groups: channels, ..conv }
    }

    /// With biases, all 0.
    pub(crate) fn with_zero_bias(self, init: &mut Initializer<'_>) -> Self {
        let bias = Some(init.constant(self.weight.dims()[0], 0.0));
        Self { bias, ..self }
    }

    /// How the kernel moves.
    pub fn options(&self) -> ConvOptions {
        ConvOptions {
            stride: [self.stride; 2],
            padding: [self.padding; 2],
            groups: self.groups,
            ..ConvOptions::default()
        }
    }

    /// `[B, in, H, W]` to `[B, out, H', W']`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let bias = self.bias.as_ref().map(Param::val);
        conv2d(input, self.weight.val(), bias, self.options())
    }
}

/// Batch normalisation over `[B, C, H, W]`, optionally followed by ReLU.
///
/// As in PyTorch the batch is normalised by its biased variance, while the running variance is a
/// moving average of the unbiased one; momentum is 0.1 and epsilon 1e-5 where nothing else is said. A frozen
/// one normalises by its running statistics in every mode, and none of its numbers is trained.
#[derive(Module, Debug)]
pub struct BatchNorm2d {
    /// Scale `[C]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[C]`.
    pub bias: Param<Tensor<1>>,
    /// Moving average of the batches' means `[C]`.
    pub running_mean: RunningState<Tensor<1>>,
    /// Moving average of the batches' unbiased variances `[C]`.
    pub running_var: RunningState<Tensor<1>>,
    relu: bool,
    epsilon: f64,
    momentum: f32,
    frozen: bool,
}

impl BatchNorm2d {
    pub(crate) fn new(init: &mut Initializer<'_>, channels: usize, relu: bool) -> Self {
        let device = init.device().clone();
        Self {
            weight: init.norm_constant(channels, 1.0),
            bias: init.norm_constant(channels, 0.0),
            running_mean: RunningState::with_id(init.id(), Tensor::zeros([channels], &device)),
            running_var: RunningState::with_id(init.id(), Tensor::ones([channels], &device)),
            relu,
            epsilon: 1e-5,
            momentum: 0.1,
            frozen: init.norm_is_frozen(),
        }
    }

    pub(crate) fn with_epsilon(
        init: &mut Initializer<'_>,
        channels: usize,
        relu: bool,
        epsilon: f64,
    ) -> Self {
        Self { epsilon, ..Self::new(init, channels, relu) }
    }

    pub(crate) fn with_momentum(self, momentum: f32) -> Self {
        Self { momentum, ..self }
    }

    pub(crate) fn epsilon(&self) -> f64 {
        self.epsilon
    }

    pub(crate) fn has_relu(&self) -> bool {
        self.relu
    }

    fn options(&self) -> BatchNormOptions {
        BatchNormOptions { epsilon: self.epsilon, relu: self.relu }
    }

    /// `[B, C, H, W]` to the same shape.
    pub fn forward(&self, input: Tensor<4>, mode: Mode) -> Tensor<4> {
        self.run(input, None, mode)
    }

    /// `residual` is added to what [`forward`](Self::forward) gives, before the ReLU.
    pub fn forward_residual(&self, input: Tensor<4>, residual: Tensor<4>, mode: Mode) -> Tensor<4> {
        self.run(input, Some(residual), mode)
    }

    /// What this gives for the output of `conv`, with `residual` added before the ReLU if there is one. Where the running
    /// statistics are used, both are one operation.
    pub fn after(
        &self,
        conv: &Conv2d,
        input: Tensor<4>,
        residual: Option<Tensor<4>>,
        mode: Mode,
    ) -> Tensor<4> {
        if conv.bias.is_some() || !self.uses_running_statistics(mode) {
            return self.run(conv.forward(input), residual, mode);
        }
        let norm = Normalisation {
            weight: self.weight.val(),
            bias: self.bias.val(),
            mean: self.running_mean.value_sync(),
            variance: self.running_var.value_sync(),
            options: self.options(),
        };
        conv2d_norm_inference(input, conv.weight.val(), conv.options(), norm, residual)
    }

    fn uses_running_statistics(&self, mode: Mode) -> bool {
        mode == Mode::Inference || self.frozen
    }

    fn run(&self, input: Tensor<4>, residual: Option<Tensor<4>>, mode: Mode) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        if self.uses_running_statistics(mode) {
            let (mean, variance) = (self.running_mean.value_sync(), self.running_var.value_sync());
            return batch_norm_inference(
                input,
                weight,
                bias,
                mean,
                variance,
                residual,
                self.options(),
            );
        }
        let [batch, _, height, width] = input.dims();
        let count = (batch * height * width) as f32;
        let result = batch_norm_train(input, weight, bias, residual, self.options());
        if mode == Mode::TrainFrozenStatistics {
            return result.output;
        }
        // A single value has no unbiased variance; PyTorch refuses it, we keep the biased one (0).
        let unbiased = result.variance * (count / (count - 1.0).max(1.0));
        let average = |running: &RunningState<Tensor<1>>, value: Tensor<1>| {
            let old = running.value_sync();
            running.update((old * (1.0 - self.momentum) + value.detach() * self.momentum).detach());
        };
        average(&self.running_mean, result.mean);
        average(&self.running_var, unbiased);
        result.output
    }
}

/// Linear layer; weight `[out, in]` as in PyTorch.
#[derive(Module, Debug)]
pub struct Linear {
    /// Weight `[out, in]`.
    pub weight: Param<Tensor<2>>,
    /// Bias `[out]`.
    pub bias: Param<Tensor<1>>,
}

impl Linear {
    pub(crate) fn new(init: &mut Initializer<'_>, input: usize, output: usize) -> Self {
        Self { weight: init.uniform([output, input], input), bias: init.uniform([output], input) }
    }

    /// Weights normal with this deviation, biases 0.
    pub(crate) fn normal(
        init: &mut Initializer<'_>,
        input: usize,
        output: usize,
        deviation: f64,
    ) -> Self {
        Self { weight: init.normal([output, input], deviation), bias: init.constant(output, 0.0) }
    }

    /// `[.., in]` to `[.., out]`.
    pub fn forward<const D: usize>(&self, input: Tensor<D>) -> Tensor<D> {
        linear(input, self.weight.val(), Some(self.bias.val()))
    }
}

/// Layer normalisation over the last dimension.
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// Scale `[D]`.
    pub weight: Param<Tensor<1>>,
    /// Shift `[D]`.
    pub bias: Param<Tensor<1>>,
    epsilon: f64,
}

impl LayerNorm {
    pub(crate) fn new(init: &mut Initializer<'_>, width: usize, epsilon: f64) -> Self {
        Self { weight: init.constant(width, 1.0), bias: init.constant(width, 0.0), epsilon }
    }

    pub(crate) fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// Over the channels of `[B, D, H, W]`.
    pub fn forward_channels(&self, input: Tensor<4>) -> Tensor<4> {
        layer_norm_channels(input, self.weight.val(), self.bias.val(), self.epsilon)
    }

    /// `[.., D]` to the same shape.
    pub fn forward<const R: usize>(&self, input: Tensor<R>) -> Tensor<R> {
        layer_norm(input, self.weight.val(), self.bias.val(), self.epsilon)
    }
}
