//! The CPU kernel: `crossbatch_math::layer_norm` on the tensors' own memory.

use super::{LayerNormOps, reference};
use crate::flex::{all_f32, ordered, tensor, values};
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use crossbatch_math::layer_norm::{self, LayerNormParameters};

impl LayerNormOps for Flex {
    fn layer_norm_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&input, &weight, &bias]) {
            return reference::forward::<Self>(input, weight, bias, epsilon);
        }
        let [rows, columns] = input.layout().shape().dims::<2>();
        let [input, weight, bias] = [input, weight, bias].map(ordered);
        let parameters =
            LayerNormParameters { weight: values(&weight), bias: values(&bias), epsilon };
        let found = layer_norm::forward(values(&input), &parameters);
        (
            tensor(found.output, [rows, columns]),
            tensor(found.mean, [rows, 1]),
            tensor(found.inverse, [rows, 1]),
        )
    }

    fn layer_norm_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        inverse: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&gradient, &input, &weight, &mean, &inverse]) {
            return reference::gradients::<Self>(gradient, input, weight, mean, inverse);
        }
        let [rows, columns] = input.layout().shape().dims::<2>();
        let [gradient, input, weight, mean, inverse] =
            [gradient, input, weight, mean, inverse].map(ordered);
        let found = layer_norm::backward(
            values(&input),
            values(&gradient),
            values(&weight),
            values(&mean),
            values(&inverse),
        );
        (
            tensor(found.input, [rows, columns]),
            tensor(found.weight, [columns]),
            tensor(found.bias, [columns]),
        )
    }
}
