//! The CPU kernel: `crossbatch_math::optimizer` on the tensors' own memory.

use super::{AdamStep, OptimizerOps, SgdStep, reference};
use crate::flex::{all_f32, ordered, values, values_mut};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::tensor::TensorData;
use crossbatch_math::optimizer;

/// The tensor, as memory of its own.
fn own(tensor: FlexTensor) -> FlexTensor {
    let mut tensor = ordered(tensor);
    if values_mut(&mut tensor).is_some() {
        return tensor;
    }
    let copy = TensorData::new(values(&tensor).to_vec(), tensor.layout().shape().clone());
    FlexTensor::from_data(copy)
}

/// The elements of a tensor that is [`own`].
fn owned(tensor: &mut FlexTensor) -> &mut [f32] {
    values_mut(tensor).expect("nobody else holds it")
}

impl OptimizerOps for Flex {
    fn adam_step(
        weights: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        square: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&weights, &gradient, &mean, &square]) {
            return reference::adam_step::<Self>(weights, gradient, mean, square, step);
        }
        let gradient = ordered(gradient);
        let [mut weights, mut mean, mut square] = [weights, mean, square].map(own);
        optimizer::adam(
            &step,
            owned(&mut weights),
            values(&gradient),
            owned(&mut mean),
            owned(&mut square),
        );
        (weights, mean, square)
    }

    fn sgd_momentum_step(
        weights: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        velocity: FloatTensor<Self>,
        step: SgdStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&weights, &gradient, &velocity]) {
            return reference::sgd_momentum_step::<Self>(weights, gradient, velocity, step);
        }
        let gradient = ordered(gradient);
        let [mut weights, mut velocity] = [weights, velocity].map(own);
        let state = Some(owned(&mut velocity));
        optimizer::sgd(&step, owned(&mut weights), values(&gradient), state);
        (weights, velocity)
    }

    fn sgd_step(
        weights: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        step: SgdStep,
    ) -> FloatTensor<Self> {
        if !all_f32(&[&weights, &gradient]) {
            return reference::sgd_step::<Self>(weights, gradient, step);
        }
        let gradient = ordered(gradient);
        let mut weights = own(weights);
        optimizer::sgd(&step, owned(&mut weights), values(&gradient), None);
        weights
    }
}
