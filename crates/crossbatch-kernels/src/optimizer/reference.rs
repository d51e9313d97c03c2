//! The same in Burn's operations, for any device.

use super::{AdamStep, SgdStep};
use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;

fn scaled<B: Backend>(tensor: FloatTensor<B>, factor: f64) -> FloatTensor<B> {
    B::float_mul_scalar(tensor, factor.into())
}

/// The gradient and `decay` of the weights.
fn decayed<B: Backend>(
    gradient: FloatTensor<B>,
    weights: &FloatTensor<B>,
    decay: f32,
) -> FloatTensor<B> {
    if decay == 0.0 {
        return gradient;
    }
    B::float_add(gradient, scaled::<B>(weights.clone(), decay.into()))
}

pub(super) fn adam_step<B: Backend>(
    weights: FloatTensor<B>,
    gradient: FloatTensor<B>,
    mean: FloatTensor<B>,
    square: FloatTensor<B>,
    step: AdamStep,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (beta_1, beta_2) = (f64::from(step.beta_1), f64::from(step.beta_2));
    let coupled = if step.decoupled { 0.0 } else { step.decay };
    let gradient = decayed::<B>(gradient, &weights, coupled);
    let mean = B::float_add(scaled::<B>(mean, beta_1), scaled::<B>(gradient.clone(), 1.0 - beta_1));
    let squared = B::float_mul(gradient.clone(), gradient);
    let square = B::float_add(scaled::<B>(square, beta_2), scaled::<B>(squared, 1.0 - beta_2));

    let power = |beta: f64| 1.0 - beta.powf(f64::from(step.time));
    let root = power(beta_2).sqrt();
    let divisor =
        B::float_add_scalar(B::float_sqrt(square.clone()), (f64::from(step.epsilon) * root).into());
    let change = B::float_div(scaled::<B>(mean.clone(), step.rate * root / power(beta_1)), divisor);
    let stays = if step.decoupled { 1.0 - step.rate * f64::from(step.decay) } else { 1.0 };
    (B::float_sub(scaled::<B>(weights, stays), change), mean, square)
}

pub(super) fn sgd_momentum_step<B: Backend>(
    weights: FloatTensor<B>,
    gradient: FloatTensor<B>,
    velocity: FloatTensor<B>,
    step: SgdStep,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let gradient = decayed::<B>(gradient, &weights, step.decay);
    let velocity = B::float_add(scaled::<B>(velocity, step.momentum.into()), gradient);
    (B::float_sub(weights, scaled::<B>(velocity.clone(), step.rate)), velocity)
}

pub(super) fn sgd_step<B: Backend>(
    weights: FloatTensor<B>,
    gradient: FloatTensor<B>,
    step: SgdStep,
) -> FloatTensor<B> {
    let gradient = decayed::<B>(gradient, &weights, step.decay);
    B::float_sub(weights, scaled::<B>(gradient, step.rate))
}
