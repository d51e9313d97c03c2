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

/// The step of a layer with a residual: the output says what the ReLU let through.
#[derive(Debug)]
struct ResidualBackward;

#[derive(Clone, Debug)]
struct ResidualState<B: Backend> {
    input: FloatTensor<B>,
    output: FloatTensor<B>,
    weight: FloatTensor<B>,
    mean: FloatTensor<B>,
    variance: FloatTensor<B>,
    options: BatchNormOptions,
}

impl<B: BatchNormOps> Backward<B, 4> for ResidualBackward {
    type State = ResidualState<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 4>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = grads.consume::<B>(&ops.node);
        let ResidualState { input, output, weight, mean, variance, options } = ops.state;
        let (to_input, to_weight, to_bias, to_residual) = B::batch_norm_residual_gradients(
            gradient, input, output, weight, mean, variance, options,
        );
        let results = [to_input, to_weight, to_bias, to_residual];
        for (parent, result) in ops.parents.into_iter().zip(results) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, result);
            }
        }
    }
}

/// Output, mean and variance.
type Three<B> = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>);

fn forward<B: BatchNormOps, C: CheckpointStrategy>(
    input: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    residual: Option<FloatTensor<Autodiff<B, C>>>,
    options: BatchNormOptions,
) -> Three<Autodiff<B, C>> {
    let (input, input_node) = input.into_parts();
    let (weight, weight_node) = weight.into_parts();
    let (bias, bias_node) = bias.into_parts();
    let (residual, residual_node) = residual.map(|residual| residual.into_parts()).unzip();
    let layer = (input.clone(), weight.clone(), bias.clone());
    let (output, mean, variance) = match residual {
        Some(residual) => {
            B::batch_norm_residual_forward(layer.0, layer.1, layer.2, residual, options)
        }
        None => B::batch_norm_forward(layer.0, layer.1, layer.2, options),
    };
    let (of_mean, of_variance) = (mean.clone(), variance.clone());
    let output = if let Some(residual_node) = residual_node {
        match ResidualBackward
            .prepare::<C>([input_node, weight_node, bias_node, residual_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) => {
                let state = ResidualState {
                    input,
                    output: output.clone(),
                    weight,
                    mean,
                    variance,
                    options,
                };
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    } else {
        match BatchNormBackward
            .prepare::<C>([input_node, weight_node, bias_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) => {
                let state = State { input, weight, bias, mean, variance, options };
                prepared.finish(state, output)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(output),
        }
    };
    (
        output,
        <Autodiff<B, C> as AutodiffBackend>::from_inner(of_mean),
        <Autodiff<B, C> as AutodiffBackend>::from_inner(of_variance),
    )
}

fn apply<B: BatchNormOps, C: CheckpointStrategy>(
    input: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    mean: FloatTensor<Autodiff<B, C>>,
    variance: FloatTensor<Autodiff<B, C>>,
    residual: Option<FloatTensor<Autodiff<B, C>>>,
    options: BatchNormOptions,
) -> FloatTensor<Autodiff<B, C>> {
    let tracked = [&input, &weight, &bias, &mean, &variance]
        .into_iter()
        .chain(&residual)
        .any(|tensor| tensor.is_tracked());
    if tracked {
        return reference::apply::<Autodiff<B, C>>(
            input, weight, bias, mean, variance, residual, options,
        );
    }
    let [input, weight, bias, mean, variance] =
        [input, weight, bias, mean, variance].map(|tensor| tensor.into_primitive());
    <Autodiff<B, C> as AutodiffBackend>::from_inner(match residual {
        Some(residual) => {
            let residual = residual.into_primitive();
            B::batch_norm_residual_apply(input, weight, bias, mean, variance, residual, options)
        }
        None => B::batch_norm_apply(input, weight, bias, mean, variance, options),
    })
}

impl<B: BatchNormOps, C: CheckpointStrategy> BatchNormOps for Autodiff<B, C> {
    fn batch_norm_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        forward::<B, C>(input, weight, bias, None, options)
    }

    fn batch_norm_residual_forward(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        residual: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        forward::<B, C>(input, weight, bias, Some(residual), options)
    }

    fn batch_norm_apply(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        mean: FloatTensor<Self>,
        variance: FloatTensor<Self>,
        options: BatchNormOptions,
    ) -> FloatTensor<Self> {
        apply::<B, C>(input, weight, bias, mean, variance, None, options)
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
        apply::<B, C>(input, weight, bias, mean, variance, Some(residual), options)
    }
}
