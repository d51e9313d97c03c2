//! The CPU kernel: `crossbatch_math::gelu` on the tensors' own memory.

use super::{GeluOps, reference};
use crate::flex::{all_f32, ordered, shaped, values};
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use crossbatch_math::gelu;

impl GeluOps for Flex {
    fn gelu_forward(input: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32(&[&input]) {
            return reference::forward::<Self>(input);
        }
        let input = ordered(input);
        shaped(gelu::forward(values(&input)), &input)
    }

    fn gelu_gradient(gradient: FloatTensor<Self>, input: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32(&[&gradient, &input]) {
            return reference::gradient::<Self>(gradient, input);
        }
        let (gradient, input) = (ordered(gradient), ordered(input));
        shaped(gelu::backward(values(&input), values(&gradient)), &input)
    }
}
