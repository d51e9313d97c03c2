//! The CPU kernel: `crossbatch_math::conv::normalised` on the tensors' own memory.

use super::{ConvNormOps, ConvNormOptions};
use crate::batch_norm::{BatchNormOps, parameters, statistics};
use crate::conv2d::{Conv2dOps, shape_of};
use crate::flex::{all_f32, ordered, tensor, values};
use burn::backend::Flex;
use burn::backend::tensor::FloatTensor;
use crossbatch_math::batch_norm::{BatchNormShape, Normalisation};
use crossbatch_math::conv;

fn convolve(
    input: FloatTensor<Flex>,
    weight: FloatTensor<Flex>,
    [scale, shift, mean, variance]: [FloatTensor<Flex>; 4],
    residual: Option<FloatTensor<Flex>>,
    options: ConvNormOptions,
) -> FloatTensor<Flex> {
    let more = residual.as_ref().unwrap_or(&input);
    if !all_f32(&[&input, &weight, &scale, &shift, &mean, &variance, more]) {
        let features = Flex::conv2d_forward(input, weight, options.conv);
        let norm = options.norm;
        return match residual {
            Some(residual) => Flex::batch_norm_residual_apply(
                features, scale, shift, mean, variance, residual, norm,
            ),
            None => Flex::batch_norm_apply(features, scale, shift, mean, variance, norm),
        };
    }
    let residual = residual.map(ordered);
    let [input, weight, scale, shift] = [input, weight, scale, shift].map(ordered);
    let shape = shape_of(&input, &weight, options.conv);
    let [height, width] = shape.output();
    let of = BatchNormShape { batch: shape.batch, channels: shape.filters, area: height * width };
    let normalisation = Normalisation::new(
        &of,
        residual.as_ref().map(values),
        &parameters(&scale, &shift, options.norm),
        &statistics(mean, variance),
    );
    let output = conv::normalised(&shape, values(&input), values(&weight), &normalisation);
    tensor(output, [shape.batch, shape.filters, height, width])
}

impl ConvNormOps for Flex {
    fn conv_norm(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: ConvNormOptions,
    ) -> FloatTensor<Self> {
        convolve(input, weight, [scale, shift, mean, variance], None, options)
    }

    fn conv_norm_residual(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: ConvNormOptions,
    ) -> FloatTensor<Self> {
        convolve(input, weight, [scale, shift, mean, variance], Some(residual), options)
    }
}
