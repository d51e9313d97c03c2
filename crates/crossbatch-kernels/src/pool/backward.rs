//! The autodiff step: keeps the places, not the input.

use super::{PoolOps, PoolOptions};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, Backend, TensorMetadata};

#[derive(Debug)]
struct PoolBackward;

#[derive(Clone, Debug)]
struct State<B: Backend> {
    places: IntTensor<B>,
    size: [usize; 2],
    options: PoolOptions,
}

impl<B: PoolOps> Backward<B, 1> for PoolBackward {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let State { places, size, options } = ops.state;
        if let [Some(parent)] = ops.parents {
            let result = B::max_pool2d_gradient(gradient, places, size, options);
            grads.register::<B>(parent.id, result);
        }
    }
}

impl<B: PoolOps, C: CheckpointStrategy> PoolOps for Autodiff<B, C> {
    fn max_pool2d_forward(
        input: FloatTensor<Self>,
        options: PoolOptions,
    ) -> (FloatTensor<Self>, IntTensor<Self>) {
        let (input, node) = input.into_parts();
        let shape = input.shape();
        let (output, places) = B::max_pool2d_forward(input, options);
        let output = match PoolBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                let state = State { places: places.clone(), size: [shape[2], shape[3]], options };
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (output, places)
    }
}
