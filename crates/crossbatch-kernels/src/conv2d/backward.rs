//! The autodiff step: each gradient only where its parent is tracked.

use super::{Conv2dOps, ConvOptions};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};

#[derive(Debug)]
struct Conv2dBackward;

/// What the gradients need: each one needs the other operand.
#[derive(Clone, Debug)]
struct State<B: Backend> {
    input: Option<FloatTensor<B>>,
    weight: Option<FloatTensor<B>>,
    size: [usize; 2],
    kernel: [usize; 2],
    options: ConvOptions,
}

impl<B: Conv2dOps> Backward<B, 2> for Conv2dBackward {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 2>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let State { input, weight, size, kernel, options } = ops.state;
        let [to_input, to_weight] = ops.parents;
        if let (Some(parent), Some(input)) = (to_weight, input) {
            let result = B::conv2d_weight_gradient(input, gradient.clone(), kernel, options);
            grads.register::<B>(parent.id, result);
        }
        if let (Some(parent), Some(weight)) = (to_input, weight) {
            let result = B::conv2d_input_gradient(gradient, weight, size, options);
            grads.register::<B>(parent.id, result);
        }
    }
}

impl<B: Conv2dOps, C: CheckpointStrategy> Conv2dOps for Autodiff<B, C> {
    fn conv2d_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        options: ConvOptions,
    ) -> FloatTensor<Self> {
        let (track_input, track_weight) = (input.is_tracked(), weight.is_tracked());
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        match Conv2dBackward.prepare::<C>([input_node, weight_node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let (input_shape, weight_shape) = (input.shape(), weight.shape());
                let state = State {
                    input: track_weight.then(|| input.clone()),
                    weight: track_input.then(|| weight.clone()),
                    size: [input_shape[2], input_shape[3]],
                    kernel: [weight_shape[2], weight_shape[3]],
                    options,
                };
                prepared.finish(state, B::conv2d_tracked_forward(input, weight, options))
            }
            OpsKind::UnTracked(prepared) => {
                prepared.finish(B::conv2d_forward(input, weight, options))
            }
        }
    }
}
