//! The CPU kernel: `crossbatch_math::batch_norm` on the tensors' own memory.

use super::{BatchNormOps, BatchNormOptions, reference};
use crate::flex::{all_f32, ordered, sizes, tensor, values, values_mut};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use crossbatch_math::batch_norm::{self, BatchNormParameters, BatchNormShape, Statistics};

fn shape(input: &FlexTensor) -> BatchNormShape {
    let [batch, channels, height, width] = sizes(input);
    BatchNormShape { batch, channels, area: height * width }
}

fn parameters<'a>(
    weight: &'a FlexTensor,
    bias: &'a FlexTensor,
    options: BatchNormOptions,
) -> BatchNormParameters<'a> {
    BatchNormParameters {
        weight: values(weight),
        bias: values(bias),
        epsilon: options.epsilon,
        relu: options.relu,
    }
}

fn statistics(mean: FlexTensor, variance: FlexTensor) -> Statistics {
    Statistics {
        mean: values(&ordered(mean)).to_vec(),
        variance: values(&ordered(variance)).to_vec(),
    }
}

impl BatchNormOps for Flex {
    fn batch_norm_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&input, &weight, &bias]) {
            return reference::forward::<Self>(input, weight, bias, options);
        }
        let (input, weight, bias) = (ordered(input), ordered(weight), ordered(bias));
        let parameters = parameters(&weight, &bias, options);
        let shape = shape(&input);
        let (output, statistics) = batch_norm::forward(&shape, values(&input), &parameters);
        (
            tensor(output, sizes(&input)),
            tensor(statistics.mean, [shape.channels]),
            tensor(statistics.variance, [shape.channels]),
        )
    }

    fn batch_norm_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&gradient, &input, &weight, &bias, &mean, &variance]) {
            return reference::gradients::<Self>(
                gradient, input, weight, bias, mean, variance, options,
            );
        }
        let (input, weight, bias) = (ordered(input), ordered(weight), ordered(bias));
        let parameters = parameters(&weight, &bias, options);
        let statistics = statistics(mean, variance);
        let shape = shape(&input);
        let mut gradient = gradient;
        let (to_input, changes) = if let Some(place) = values_mut(&mut gradient) {
            let pixels = values(&input);
            let changes =
                batch_norm::backward_in_place(&shape, pixels, place, &parameters, &statistics);
            (gradient, changes)
        } else {
            let gradient = ordered(gradient);
            let (to_input, changes) = batch_norm::backward(
                &shape,
                values(&input),
                values(&gradient),
                &parameters,
                &statistics,
            );
            (tensor(to_input, sizes(&input)), changes)
        };
        (to_input, tensor(changes.weight, [shape.channels]), tensor(changes.bias, [shape.channels]))
    }

    fn batch_norm_apply(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> FloatTensor<Self> {
        if !all_f32(&[&input, &weight, &bias, &mean, &variance]) {
            return reference::apply::<Self>(input, weight, bias, mean, variance, options);
        }
        let (input, weight, bias) = (ordered(input), ordered(weight), ordered(bias));
        let parameters = parameters(&weight, &bias, options);
        let statistics = statistics(mean, variance);
        let output =
            batch_norm::inference(&shape(&input), values(&input), &parameters, &statistics);
        tensor(output, sizes(&input))
    }
}
