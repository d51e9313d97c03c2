//! The CPU kernel: `crossbatch_math::attention` on the tensors' own memory.

use super::{AttentionOps, reference};
use crate::flex::{all_f32, ordered, sizes, tensor, values};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use crossbatch_math::attention::{self, AttentionShape};

fn shape(q: &FlexTensor, k: &FlexTensor) -> AttentionShape {
    let [batch, heads, queries, dim] = sizes(q);
    AttentionShape { heads: batch * heads, queries, keys: sizes(k)[2], dim }
}

impl AttentionOps for Flex {
    fn attention_forward(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&q, &k, &v]) {
            return reference::forward::<Self>(q, k, v);
        }
        let [q, k, v] = [q, k, v].map(ordered);
        let [batch, heads, queries, dim] = sizes(&q);
        let (output, logs) = attention::forward(&shape(&q, &k), values(&q), values(&k), values(&v));
        (tensor(output, [batch, heads, queries, dim]), tensor(logs, [batch, heads, queries, 1]))
    }

    fn attention_gradients(
        gradient: FloatTensor<Self>,
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        output: FloatTensor<Self>,
        logs: FloatTensor<Self>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&gradient, &q, &k, &v, &output, &logs]) {
            return reference::gradients::<Self>(gradient, q, k, v, output, logs);
        }
        let [gradient, q, k, v, output, logs] = [gradient, q, k, v, output, logs].map(ordered);
        let found = attention::backward(
            &shape(&q, &k),
            [values(&q), values(&k), values(&v)],
            values(&output),
            values(&logs),
            values(&gradient),
        );
        (tensor(found.q, sizes(&q)), tensor(found.k, sizes(&k)), tensor(found.v, sizes(&v)))
    }
}
