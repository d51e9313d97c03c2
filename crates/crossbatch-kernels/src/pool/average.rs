//! Means of windows: average, adaptive and global pooling are one operation with different windows.

use super::PoolOptions;
use crate::flex::{all_f32, ordered, sizes, tensor, values};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Shape, Tensor};
use crossbatch_math::pool::average::{self, Span};

/// Which windows are averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AverageWindows {
    /// Windows of one size.
    Fixed {
        /// Their size and place.
        options: PoolOptions,
        /// Whether the padding's zeros count.
        count_include_pad: bool,
    },
    /// So many rows and columns of windows, which cover the image.
    Adaptive([usize; 2]),
}

impl AverageWindows {
    /// The windows along both axes of an image.
    fn spans(self, size: [usize; 2]) -> [Vec<Span>; 2] {
        match self {
            Self::Fixed { options, count_include_pad } => size.map(|size| {
                let PoolOptions { kernel, stride, padding, ceil_mode } = options;
                average::spans(size, kernel, stride, padding, ceil_mode, count_include_pad)
            }),
            Self::Adaptive(outputs) => {
                [0, 1].map(|axis: usize| average::adaptive_spans(size[axis], outputs[axis]))
            }
        }
    }
}

pub(super) fn pool(input: Tensor<4>, windows: AverageWindows) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as AveragePoolOps>::average_pool2d_forward(
        input.into_dispatch(),
        windows,
    ))
}

/// The backend side of [`crate::average_pool2d`] and its relatives. Sizes are checked by the functions.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait AveragePoolOps: Backend {
    /// The means.
    #[fusion(default)]
    fn average_pool2d_forward(
        input: FloatTensor<Self>,
        windows: AverageWindows,
    ) -> FloatTensor<Self> {
        reference_forward::<Self>(input, windows)
    }

    /// The gradient of an input of `size` rows and columns.
    #[fusion(default)]
    fn average_pool2d_gradient(
        gradient: FloatTensor<Self>,
        size: [usize; 2],
        windows: AverageWindows,
    ) -> FloatTensor<Self> {
        reference_gradient::<Self>(gradient, size, windows)
    }
}

/// Burn's own pooling.
fn reference_forward<B: Backend>(input: FloatTensor<B>, windows: AverageWindows) -> FloatTensor<B> {
    match windows {
        AverageWindows::Fixed { options, count_include_pad } => {
            let PoolOptions { kernel, stride, padding, ceil_mode } = options;
            B::avg_pool2d(
                input,
                [kernel; 2],
                [stride; 2],
                [padding; 2],
                count_include_pad,
                ceil_mode,
            )
        }
        AverageWindows::Adaptive(size) => B::adaptive_avg_pool2d(input, size),
    }
}

fn reference_gradient<B: Backend>(
    gradient: FloatTensor<B>,
    size: [usize; 2],
    windows: AverageWindows,
) -> FloatTensor<B> {
    let shape = gradient.shape();
    let shape = Shape::new([shape[0], shape[1], size[0], size[1]]);
    // Only the shape of the input matters here.
    let input = B::float_zeros(shape, &gradient.device(), gradient.dtype().into());
    match windows {
        AverageWindows::Fixed { options, count_include_pad } => {
            let PoolOptions { kernel, stride, padding, ceil_mode } = options;
            B::avg_pool2d_backward(
                input,
                gradient,
                [kernel; 2],
                [stride; 2],
                [padding; 2],
                count_include_pad,
                ceil_mode,
            )
        }
        AverageWindows::Adaptive(_) => B::adaptive_avg_pool2d_backward(input, gradient),
    }
}

impl AveragePoolOps for Flex {
    fn average_pool2d_forward(
        input: FloatTensor<Self>,
        windows: AverageWindows,
    ) -> FloatTensor<Self> {
        if !all_f32(&[&input]) {
            return reference_forward::<Self>(input, windows);
        }
        let [batch, channels, height, width] = sizes(&input);
        let [rows, columns] = windows.spans([height, width]);
        let input = ordered(input);
        let output = average::forward(values(&input), [height, width], &rows, &columns);
        tensor(output, [batch, channels, rows.len(), columns.len()])
    }

    fn average_pool2d_gradient(
        gradient: FloatTensor<Self>,
        size: [usize; 2],
        windows: AverageWindows,
    ) -> FloatTensor<Self> {
        if !all_f32(&[&gradient]) {
            return reference_gradient::<Self>(gradient, size, windows);
        }
        let [batch, channels, ..] = sizes(&gradient);
        let [rows, columns] = windows.spans(size);
        let gradient = ordered(gradient);
        let result = average::backward(values(&gradient), size, &rows, &columns);
        tensor(result, [batch, channels, size[0], size[1]])
    }
}

/// Keeps sizes only.
#[derive(Debug)]
struct AveragePoolBackward;

impl<B: AveragePoolOps> Backward<B, 1> for AveragePoolBackward {
    /// Rows and columns of the input, and the windows.
    type State = ([usize; 2], AverageWindows);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (size, windows) = ops.state;
        if let [Some(parent)] = ops.parents {
            let result = B::average_pool2d_gradient(gradient, size, windows);
            grads.register::<B>(parent.id, result);
        }
    }
}

impl<B: AveragePoolOps, C: CheckpointStrategy> AveragePoolOps for Autodiff<B, C> {
    fn average_pool2d_forward(
        input: FloatTensor<Self>,
        windows: AverageWindows,
    ) -> FloatTensor<Self> {
        let (input, node) = input.into_parts();
        let shape = input.shape();
        let output = B::average_pool2d_forward(input, windows);
        match AveragePoolBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => prepared.finish(([shape[2], shape[3]], windows), output),
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    }
}
