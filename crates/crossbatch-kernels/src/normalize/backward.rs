//! The autodiff step: keeps the output and the lengths, not the input.

use super::NormalizeOps;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend};

#[derive(Debug)]
struct NormalizeBackward;

impl<B: NormalizeOps> Backward<B, 1> for NormalizeBackward {
    /// Output and lengths.
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let (output, lengths) = ops.state;
        if let [Some(parent)] = ops.parents {
            let result = B::l2_normalize_gradient(gradient, output, lengths);
            grads.register::<B>(parent.id, result);
        }
    }
}

impl<B: NormalizeOps, C: CheckpointStrategy> NormalizeOps for Autodiff<B, C> {
    fn l2_normalize_forward(rows: FloatTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (rows, node) = rows.into_parts();
        let (output, lengths) = B::l2_normalize_forward(rows);
        let tracked = match NormalizeBackward.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prepared) => {
                prepared.finish((output.clone(), lengths.clone()), output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (tracked, <Self as AutodiffBackend>::from_inner(lengths))
    }
}
