//! The CPU kernel: `crossbatch_math::pool` on the tensors' own memory.

use super::{PoolOps, PoolOptions, reference};
use crate::flex::{all_f32, ordered, sizes, tensor, values};
use burn::backend::Flex;
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, TensorData};
use crossbatch_math::pool::{self, PoolShape};

/// The largest window whose places fit a byte.
const LARGEST: usize = 16;

fn shape(batch: usize, channels: usize, input: [usize; 2], options: PoolOptions) -> PoolShape {
    let PoolOptions { kernel, stride, padding, ceil_mode } = options;
    PoolShape { planes: batch * channels, input, kernel, stride, padding, ceil_mode }
}

impl PoolOps for Flex {
    fn max_pool2d_forward(
        input: FloatTensor<Self>,
        options: PoolOptions,
    ) -> (FloatTensor<Self>, IntTensor<Self>) {
        if !all_f32(&[&input]) || options.kernel > LARGEST {
            return reference::forward::<Self>(input, options);
        }
        let [batch, channels, height, width] = sizes(&input);
        let shape = shape(batch, channels, [height, width], options);
        let input = ordered(input);
        let (output, places) = pool::forward(&shape, values(&input));
        let [height, width] = shape.output();
        let size = [batch, channels, height, width];
        (tensor(output, size), FlexTensor::from_data(TensorData::new(places, size)))
    }

    fn max_pool2d_gradient(
        gradient: FloatTensor<Self>,
        places: IntTensor<Self>,
        size: [usize; 2],
        options: PoolOptions,
    ) -> FloatTensor<Self> {
        // Places are bytes exactly if `max_pool2d_forward` above made them.
        if places.dtype() != DType::U8 || !all_f32(&[&gradient]) {
            return reference::gradient::<Self>(gradient, places, size, options);
        }
        let [batch, channels, ..] = sizes(&gradient);
        let shape = shape(batch, channels, size, options);
        let gradient = ordered(gradient);
        let places = places.as_slice::<u8>().expect("places are kept as they were made");
        let result = pool::backward(&shape, places, values(&gradient));
        tensor(result, [batch, channels, size[0], size[1]])
    }
}
