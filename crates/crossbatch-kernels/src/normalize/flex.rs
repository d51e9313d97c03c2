//! The CPU kernel: `crossbatch_math::normalize` on the tensors' own memory.

use super::{NormalizeOps, reference};
use crate::flex::{all_f32, ordered, tensor, values};
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use crossbatch_math::normalize;

impl NormalizeOps for Flex {
    fn l2_normalize_forward(rows: FloatTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let [count, dim] = rows.layout().shape().dims::<2>();
        if !all_f32(&[&rows]) || dim == 0 {
            return reference::forward::<Self>(rows);
        }
        let (output, lengths) = normalize::forward(values(&ordered(rows)), dim);
        (tensor(output, [count, dim]), tensor(lengths, [count, 1]))
    }

    fn l2_normalize_gradient(
        gradient: FloatTensor<Self>,
        output: FloatTensor<Self>,
        lengths: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let [count, dim] = output.layout().shape().dims::<2>();
        if !all_f32(&[&gradient, &output, &lengths]) || dim == 0 {
            return reference::gradient::<Self>(gradient, output, lengths);
        }
        let [gradient, output, lengths] = [gradient, output, lengths].map(ordered);
        let result = normalize::backward(values(&output), values(&lengths), values(&gradient), dim);
        tensor(result, [count, dim])
    }
}
