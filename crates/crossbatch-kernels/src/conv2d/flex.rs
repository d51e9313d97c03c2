//! The CPU kernel: `crossbatch_math::conv` on the tensors' own memory.

use super::{Conv2dOps, ConvOptions, reference};
use crate::flex::{all_f32, ordered, sizes, tensor, values};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use crossbatch_math::conv::{self, ConvShape};

fn shape(
    batch: usize,
    [channels, filters]: [usize; 2],
    input: [usize; 2],
    kernel: [usize; 2],
    options: ConvOptions,
) -> ConvShape {
    let ConvOptions { stride, padding, dilation, groups } = options;
    ConvShape { batch, channels, filters, input, kernel, stride, padding, dilation, groups }
}

/// The shape of the convolution of `input` with `weight`.
pub(crate) fn shape_of(input: &FlexTensor, weight: &FlexTensor, options: ConvOptions) -> ConvShape {
    let [batch, channels, height, width] = sizes(input);
    let [filters, _, rows, columns] = sizes(weight);
    shape(batch, [channels, filters], [height, width], [rows, columns], options)
}

/// [`conv::forward`] or [`conv::inference`].
type Forward = fn(&ConvShape, &[f32], &[f32], Option<&[f32]>) -> Vec<f32>;

fn convolve(
    by: Forward,
    input: FlexTensor,
    weight: FlexTensor,
    options: ConvOptions,
) -> FlexTensor {
    if !all_f32(&[&input, &weight]) {
        return reference::forward::<Flex>(input, weight, options);
    }
    let shape = shape_of(&input, &weight, options);
    let (input, weight) = (ordered(input), ordered(weight));
    let output = by(&shape, values(&input), values(&weight), None);
    let [height, width] = shape.output();
    tensor(output, [shape.batch, shape.filters, height, width])
}

impl Conv2dOps for Flex {
    fn conv2d_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        convolve(conv::inference, input, weight, options)
    }

    fn conv2d_tracked_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        convolve(conv::forward, input, weight, options)
    }

    fn conv2d_input_gradient(
        gradient: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        size: [usize; 2],
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        if !all_f32(&[&gradient, &weight]) {
            return reference::input_gradient::<Self>(gradient, weight, size, options);
        }
        let [batch, filters, ..] = sizes(&gradient);
        let [_, group_channels, rows, columns] = sizes(&weight);
        let channels = group_channels * options.groups;
        let shape = shape(batch, [channels, filters], size, [rows, columns], options);
        let (gradient, weight) = (ordered(gradient), ordered(weight));
        let result = conv::input_gradient(&shape, values(&gradient), values(&weight));
        tensor(result, [batch, channels, size[0], size[1]])
    }

    fn conv2d_weight_gradient(
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        kernel: [usize; 2],
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        if !all_f32(&[&input, &gradient]) {
            return reference::weight_gradient::<Self>(input, gradient, kernel, options);
        }
        let [batch, channels, height, width] = sizes(&input);
        let [_, filters, ..] = sizes(&gradient);
        let shape = shape(batch, [channels, filters], [height, width], kernel, options);
        let (input, gradient) = (ordered(input), ordered(gradient));
        let result = conv::weight_gradient(&shape, values(&input), values(&gradient));
        tensor(result, [filters, channels / options.groups, kernel[0], kernel[1]])
    }
}
