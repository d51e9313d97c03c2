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

pub(crate) fn parameters<'a>(
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

pub(crate) fn statistics(mean: FlexTensor, variance: FlexTensor) -> Statistics {
    Statistics {
        mean: values(&ordered(mean)).to_vec(),
        variance: values(&ordered(variance)).to_vec(),
    }
}

fn forward(
    input: FloatTensor<Flex>,
    weight: FloatTensor<Flex>,
    bias: FloatTensor<Flex>,
    residual: Option<FloatTensor<Flex>>,
    options: BatchNormOptions,
) -> (FloatTensor<Flex>, FloatTensor<Flex>, FloatTensor<Flex>) {
    if !all_f32(&[&input, &weight, &bias, residual.as_ref().unwrap_or(&input)]) {
        return reference::forward::<Flex>(input, weight, bias, residual, options);
    }
    let residual = residual.map(ordered);
    let (input, weight, bias) = (ordered(input), ordered(weight), ordered(bias));
    let parameters = parameters(&weight, &bias, options);
    let shape = shape(&input);
    let (output, statistics) =
        batch_norm::forward(&shape, values(&input), residual.as_ref().map(values), &parameters);
    (
        tensor(output, sizes(&input)),
        tensor(statistics.mean, [shape.channels]),
        tensor(statistics.variance, [shape.channels]),
    )
}

fn apply(
    input: FloatTensor<Flex>,
    weight: FloatTensor<Flex>,
    bias: FloatTensor<Flex>,
    mean: FloatTensor<Flex>,
    variance: FloatTensor<Flex>,
    residual: Option<FloatTensor<Flex>>,
    options: BatchNormOptions,
) -> FloatTensor<Flex> {
    let more = residual.as_ref().unwrap_or(&input);
    if !all_f32(&[&input, &weight, &bias, &mean, &variance, more]) {
        return reference::apply::<Flex>(input, weight, bias, mean, variance, residual, options);
    }
    let residual = residual.map(ordered);
    let (input, weight, bias) = (ordered(input), ordered(weight), ordered(bias));
    let parameters = parameters(&weight, &bias, options);
    let statistics = statistics(mean, variance);
    let (shape, residual) = (shape(&input), residual.as_ref().map(values));
    let mut input = input;
    if let Some(place) = values_mut(&mut input) {
        batch_norm::inference_in_place(&shape, place, residual, &parameters, &statistics);
        return input;
    }
    let output = batch_norm::inference(&shape, values(&input), residual, &parameters, &statistics);
    tensor(output, sizes(&input))
}

impl BatchNormOps for Flex {
    fn batch_norm_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        forward(input, weight, bias, None, options)
    }

    fn batch_norm_residual_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        forward(input, weight, bias, Some(residual), options)
    }

    fn batch_norm_apply(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> FloatTensor<Self> {
        apply(input, weight, bias, mean, variance, None, options)
    }

    fn batch_norm_residual_apply(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> FloatTensor<Self> {
        apply(input, weight, bias, mean, variance, Some(residual), options)
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

    fn batch_norm_residual_gradients(
        gradient: FloatTensor<Self>,
        input: FloatTensor<Self>,
        output: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !all_f32(&[&gradient, &input, &output, &weight, &mean, &variance]) {
            return reference::residual_gradients::<Self>(
                gradient, input, output, weight, mean, variance, options,
            );
        }
        let [input, output, weight] = [input, output, weight].map(ordered);
        // No gradient depends on the bias, given the output.
        let parameters = parameters(&weight, &weight, options);
        let statistics = statistics(mean, variance);
        let shape = shape(&input);
        let size = sizes(&input);
        let mut gradient = gradient;
        if values_mut(&mut gradient).is_none() {
            // Somebody else holds it: it must stay as it is.
            gradient = tensor(values(&ordered(gradient)).to_vec(), size);
        }
        let place = values_mut(&mut gradient).expect("a fresh tensor is nobody else's");
        let (to_input, changes) = batch_norm::backward_with_residual(
            &shape,
            values(&input),
            values(&output),
            place,
            &parameters,
            &statistics,
        );
        (
            tensor(to_input, size),
            tensor(changes.weight, [shape.channels]),
            tensor(changes.bias, [shape.channels]),
            gradient,
        )
    }
}
