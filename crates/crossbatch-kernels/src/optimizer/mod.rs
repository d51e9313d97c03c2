//! Optimiser steps: one reading of each parameter, its gradient and its state, in place where nobody else holds them.

mod flex;
mod reference;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::Tensor;

pub use crossbatch_math::optimizer::{AdamStep, SgdStep};

/// A step of Adam or AdamW; see [`AdamStep`].
///
/// On the CPU the new tensors are the old ones' memory where nothing else holds it.
///
/// # Shapes
///
/// All four alike, without autodiff; the new weights, mean and mean of squares come back.
///
/// # Panics
///
/// If shapes differ or a tensor is tracked by autodiff.
///
/// # Example
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use crossbatch_kernels::{AdamStep, adam_step};
///
/// let device = Device::flex();
/// let zeros = || Tensor::<1>::zeros([1], &device);
/// let step = AdamStep {
///     rate: 0.1, beta_1: 0.9, beta_2: 0.999, epsilon: 1e-8, decay: 0.0, decoupled: false, time: 1,
/// };
/// let gradient = Tensor::<1>::from_data([3.0], &device);
/// let [weights, ..] = adam_step(step, zeros(), gradient, zeros(), zeros());
/// // The first step is the learning rate, whatever the gradient's size.
/// assert!((weights.into_scalar::<f32>() + 0.1).abs() < 1e-6);
/// ```
#[must_use]
pub fn adam_step<const D: usize>(
    step: AdamStep,
    weights: Tensor<D>,
    gradient: Tensor<D>,
    mean: Tensor<D>,
    square: Tensor<D>,
) -> [Tensor<D>; 3] {
    check(&weights, &[("gradient", &gradient), ("mean", &mean), ("square", &square)]);
    let (weights, mean, square) = <Dispatch as OptimizerOps>::adam_step(
        weights.into_dispatch(),
        gradient.into_dispatch(),
        mean.into_dispatch(),
        square.into_dispatch(),
        step,
    );
    [weights, mean, square].map(Tensor::from_dispatch)
}

/// A step of stochastic gradient descent with momentum; see [`SgdStep`]. The new weights and velocity come back.
///
/// # Panics
///
/// As [`adam_step`].
#[must_use]
pub fn sgd_momentum_step<const D: usize>(
    step: SgdStep,
    weights: Tensor<D>,
    gradient: Tensor<D>,
    velocity: Tensor<D>,
) -> [Tensor<D>; 2] {
    check(&weights, &[("gradient", &gradient), ("velocity", &velocity)]);
    let (weights, velocity) = <Dispatch as OptimizerOps>::sgd_momentum_step(
        weights.into_dispatch(),
        gradient.into_dispatch(),
        velocity.into_dispatch(),
        step,
    );
    [weights, velocity].map(Tensor::from_dispatch)
}

/// A step of stochastic gradient descent without momentum; see [`SgdStep`]. The new weights come back.
///
/// # Panics
///
/// As [`adam_step`].
#[must_use]
pub fn sgd_step<const D: usize>(
    step: SgdStep,
    weights: Tensor<D>,
    gradient: Tensor<D>,
) -> Tensor<D> {
    check(&weights, &[("gradient", &gradient)]);
    Tensor::from_dispatch(<Dispatch as OptimizerOps>::sgd_step(
        weights.into_dispatch(),
        gradient.into_dispatch(),
        step,
    ))
}

fn check<const D: usize>(weights: &Tensor<D>, others: &[(&str, &Tensor<D>)]) {
    let shape = weights.dims();
    for (name, tensor) in others {
        assert_eq!(tensor.dims(), shape, "{name} has another shape than the weights");
    }
}

/// The backend side of this module's functions. Shapes are checked by them; an optimiser works below autodiff.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu")
)]
pub trait OptimizerOps: Backend {
    /// New weights, mean and mean of squares.
    #[fusion(default)]
    fn adam_step(
        weights: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        square: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        reference::adam_step::<Self>(weights, gradient, mean, square, step)
    }

    /// New weights and velocity.
    #[fusion(default)]
    fn sgd_momentum_step(
        weights: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        step: SgdStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        reference::sgd_momentum_step::<Self>(weights, gradient, velocity, step)
    }

    /// New weights.
    #[fusion(default)]
    fn sgd_step(
        weights: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: SgdStep,
    ) -> FloatTensor<Self> {
        reference::sgd_step::<Self>(weights, gradient, step)
    }
}
