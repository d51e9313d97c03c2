//! The autodiff step: the gradients are known from the forward pass but for their factor a row, and those of the
//! references, which are computed only where they are wanted.

use super::{PairRowsOps, PairRowsOptions, program};
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Autodiff, AutodiffBackend, Backend, TensorMetadata};
use burn::tensor::Slice;

#[derive(Debug)]
struct PairRowsBackward;

#[derive(Clone, Debug)]
struct State<B: Backend> {
    values: FloatTensor<B>,
    fields: FloatTensor<B>,
    positive: FloatTensor<B>,
    negative: FloatTensor<B>,
    /// What the gradient of the references takes, where they have one.
    pairs: Option<Pairs<B>>,
    options: PairRowsOptions,
}

#[derive(Clone, Debug)]
struct Pairs<B: Backend> {
    anchors: FloatTensor<B>,
    references: FloatTensor<B>,
    thresholds: FloatTensor<B>,
    codes: IntTensor<B>,
    labels: IntTensor<B>,
    ids: IntTensor<B>,
    weights: FloatTensor<B>,
}

/// Columns `[B, n]` of a `[B, m]` tensor.
fn columns<B: Backend>(tensor: &FloatTensor<B>, range: std::ops::Range<usize>) -> FloatTensor<B> {
    let rows = tensor.shape()[0];
    B::float_slice(tensor.clone(), &[Slice::from(0..rows), Slice::from(range)])
}

impl<B: PairRowsOps> Backward<B, 3> for PairRowsBackward {
    type State = State<B>;

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let upstream = grads.consume::<B>(&ops.node);
        let State { values, fields, positive, negative, pairs, options } = ops.state;
        let [to_anchors, to_references, to_thresholds] = ops.parents;

        // The positive side's number may hang on the negative side's.
        let up_positive = columns::<B>(&upstream, 0..1);
        let coupling = columns::<B>(&fields, program::COUPLING..program::COUPLING + 1);
        let up_negative = B::float_add(
            columns::<B>(&upstream, 1..2),
            B::float_mul(up_positive.clone(), coupling),
        );

        if let Some(parent) = to_anchors {
            let gradient = B::float_add(
                B::float_mul(positive, up_positive.clone()),
                B::float_mul(negative, up_negative.clone()),
            );
            grads.register::<B>(parent.id, gradient);
        }
        let upstream = B::float_cat(vec![up_positive, up_negative], 1);
        if let Some(parent) = to_thresholds {
            let slopes =
                columns::<B>(&fields, program::POSITIVE_SLOPE..program::NEGATIVE_SLOPE + 1);
            grads.register::<B>(parent.id, B::float_mul(upstream.clone(), slopes));
        }
        if let (Some(parent), Some(pairs)) = (to_references, pairs) {
            let gradient = B::pair_rows_reference_gradient(
                upstream,
                pairs.anchors,
                pairs.references,
                pairs.thresholds,
                pairs.codes,
                pairs.labels,
                pairs.ids,
                pairs.weights,
                values,
                fields,
                options,
            );
            grads.register::<B>(parent.id, gradient);
        }
    }
}

impl<B: PairRowsOps, C: CheckpointStrategy> PairRowsOps for Autodiff<B, C> {
    fn pair_rows_forward(
        anchors: FloatTensor<Self>,
        references: FloatTensor<Self>,
        thresholds: FloatTensor<Self>,
        codes: IntTensor<Self>,
        labels: IntTensor<Self>,
        ids: IntTensor<Self>,
        weights: FloatTensor<Self>,
        options: PairRowsOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let track_references = references.is_tracked();
        let (anchors, anchor_node) = anchors.into_parts();
        let (references, reference_node) = references.into_parts();
        let (thresholds, threshold_node) = thresholds.into_parts();
        let weights = weights.into_primitive();
        let (values, fields, positive, negative) = B::pair_rows_forward(
            anchors.clone(),
            references.clone(),
            thresholds.clone(),
            codes.clone(),
            labels.clone(),
            ids.clone(),
            weights.clone(),
            options.clone(),
        );
        let tracked = match PairRowsBackward
            .prepare::<C>([anchor_node, reference_node, threshold_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prepared) => {
                let pairs = track_references.then_some(Pairs {
                    anchors,
                    references,
                    thresholds,
                    codes,
                    labels,
                    ids,
                    weights,
                });
                let state = State {
                    values: values.clone(),
                    fields: fields.clone(),
                    positive: positive.clone(),
                    negative: negative.clone(),
                    pairs,
                    options,
                };
                prepared.finish(state, values)
            }
            OpsKind::UnTracked(prepared) => prepared.finish(values),
        };
        let inner = <Self as AutodiffBackend>::from_inner;
        (tracked, inner(fields), inner(positive), inner(negative))
    }
}
