//! The autodiff step.

use super::LayerNormOps;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend};

#[derive(Debug)]
struct LayerNormBackward;

#[derive(Clone, Debug)]
struct State<B: Backend> {
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    mean: FloatTensor<B>,
    inverse: FloatTensor<B>,
}

impl<B: LayerNormOps> Backward<B, 3> for LayerNormBackward {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let State { input, weight, mean, inverse } = ops.state;
        let (to_input, to_weight, to_bias) =
            B::layer_norm_gradients(gradient, input, weight, mean, inverse);
        for (parent, result) in ops.parents.into_iter().zip([to_input, to_weight, to_bias]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, result);
            }
        }
    }
}

impl<B: LayerNormOps, C: CheckpointStrategy> LayerNormOps for Autodiff<B, C> {
    fn layer_norm_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (output, mean, inverse) =
            B::layer_norm_forward(input.clone(), weight.clone(), bias, epsilon);
        let output = match LayerNormBackward
            .prepare::<C>([input_node, weight_node, bias_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) => {
                let (mean, inverse) = (mean.clone(), inverse.clone());
                prepared.finish(State { input, weight, mean, inverse }, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (
            output,
            <Self as AutodiffBackend>::from_inner(mean),
            <Self as AutodiffBackend>::from_inner(inverse),
        )
    }
}
