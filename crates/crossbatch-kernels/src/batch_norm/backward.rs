//! The autodiff step of training; inference differentiates through its reference body.

use super::{BatchNormOps, BatchNormOptions, reference};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, AutodiffBackend, Backend};

#[derive(Debug)]
struct BatchNormBackward;

#[derive(Clone, Debug)]
struct State<B: Backend> {
    input: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    options: BatchNormOptions,
}

impl<B: BatchNormOps> Backward<B, 3> for BatchNormBackward {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let state = ops.state;
        let (to_input, to_weight, to_bias) = B::batch_norm_gradients(
            gradient,
            state.input,
            state.weight,
            state.bias,
            state.mean,
            state.variance,
            state.options,
        );
        for (parent, result) in ops.parents.into_iter().zip([to_input, to_weight, to_bias]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, result);
            }
        }
    }
}

impl<B: BatchNormOps, C: CheckpointStrategy> BatchNormOps for Autodiff<B, C> {
    fn batch_norm_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let (input, input_node) = input.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let (bias, bias_node) = bias.into_parts();
        let (output, mean, variance) =
            B::batch_norm_forward(input.clone(), weight.clone(), bias.clone(), options);
        let output = match BatchNormBackward
            .prepare::<C>([input_node, weight_node, bias_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) => {
                let state = State {
                    input,
                    weight,
                    bias,
                    mean: mean.clone(),
                    variance: variance.clone(),
                    options,
                };
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        };
        (
            output,
            <Self as AutodiffBackend>::from_inner(mean),
            <Self as AutodiffBackend>::from_inner(variance),
        )
    }

    fn batch_norm_apply(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> FloatTensor<Self> {
        let tracked =
            [&input, &weight, &bias, &mean, &variance].iter().any(|tensor| tensor.is_tracked());
        if tracked {
            return reference::apply::<Self>(input, weight, bias, mean, variance, options);
        }
        <Self as AutodiffBackend>::from_inner(B::batch_norm_apply(
            input.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            mean.into_primitive(),
            variance.into_primitive(),
            options,
        ))
    }
}
