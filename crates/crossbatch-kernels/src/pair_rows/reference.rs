//! The rows of a pair loss in ordinary tensor operations over `[B, M]`.
//!
//! A row that has a pair whose closeness is no finite number gets NaN for its numbers, its gradients and all fields
//! but [`program::POSITIVE_PAIRS`] and [`program::NEGATIVE_PAIRS`].

mod pairs;
mod sides;
pub(super) mod tensor;
pub(super) mod term;
mod triplets;

use super::{PairRowsOptions, program};
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::Shape;
use pairs::Pairs;
use program::Body;
use tensor::{column, count, largest, row_sum, smallest, with};

/// What a body makes of the pairs: numbers `[B, 1]`, derivatives by the closeness `[B, M]`.
struct Rows<B: Backend> {
    positive: FloatTensor<B>,
    negative: FloatTensor<B>,
    positives: FloatTensor<B>,
    negatives: FloatTensor<B>,
    /// Of the positive number, the negative one held.
    positive_by: FloatTensor<B>,
    negative_by: FloatTensor<B>,
    coupling: FloatTensor<B>,
}

fn rows<B: Backend>(
    pairs: &Pairs<B>,
    thresholds: FloatTensor<B>,
    options: &PairRowsOptions,
) -> Rows<B> {
    let rows = match options.program.body {
        Body::Sides { positive, positives, negative, negatives } => {
            let side = sides::Sides { positive, positives, negative, negatives };
            sides::rows(pairs, thresholds, &side)
        }
        Body::Triplets { margin, rule, soft } => triplets::rows(pairs, margin, rule, soft),
    };
    Rows {
        positive_by: pairs.spoil_pairs(rows.positive_by),
        negative_by: pairs.spoil_pairs(rows.negative_by),
        ..rows
    }
}

pub(super) fn forward<B: Backend>(
    anchors: FloatTensor<B>,
    references: FloatTensor<B>,
    thresholds: FloatTensor<B>,
    codes: IntTensor<B>,
    labels: IntTensor<B>,
    ids: IntTensor<B>,
    weights: FloatTensor<B>,
    options: PairRowsOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let pairs = Pairs::<B>::new(anchors, references, codes, labels, ids, weights, &options);
    let rows = rows(&pairs, thresholds, &options);
    let sum = |mask| row_sum::<B>(with::<B>(pairs.closeness.clone(), mask, 0.0));
    let slope = |by: &FloatTensor<B>| B::float_neg(row_sum::<B>(by.clone()));
    let (positive, negative) = (&pairs.positive, &pairs.negative);
    // In the order of the columns' numbers.
    let fields = [
        pairs.spoil(rows.positives),
        pairs.spoil(rows.negatives),
        count::<B>(positive.clone(), &pairs.closeness),
        count::<B>(negative.clone(), &pairs.closeness),
        pairs.spoil(sum(positive.clone())),
        pairs.spoil(sum(negative.clone())),
        pairs.spoil(smallest::<B>(&pairs.closeness, positive)),
        pairs.spoil(largest::<B>(&pairs.closeness, positive)),
        pairs.spoil(largest::<B>(&pairs.closeness, negative)),
        pairs.spoil(smallest::<B>(&pairs.closeness, negative)),
        slope(&rows.positive_by),
        slope(&rows.negative_by),
        pairs.spoil(rows.coupling),
    ];
    let values = vec![pairs.spoil(rows.positive), pairs.spoil(rows.negative)];
    (
        B::float_cat(values, 1),
        B::float_cat(fields.into(), 1),
        pairs.to_anchors(rows.positive_by),
        pairs.to_anchors(rows.negative_by),
    )
}

pub(super) fn reference_gradient<B: Backend>(
    upstream: FloatTensor<B>,
    anchors: FloatTensor<B>,
    references: FloatTensor<B>,
    thresholds: FloatTensor<B>,
    codes: IntTensor<B>,
    labels: IntTensor<B>,
    ids: IntTensor<B>,
    weights: FloatTensor<B>,
    _values: FloatTensor<B>,
    _fields: FloatTensor<B>,
    options: PairRowsOptions,
) -> FloatTensor<B> {
    let (shape, kind) = (references.shape(), references.dtype().into());
    let [capacity, dim] = [shape[0], shape[1]];
    let device = references.device();
    if options.filled == 0 {
        return B::float_zeros(Shape::new([capacity, dim]), &device, kind);
    }
    let pairs = Pairs::<B>::new(anchors, references, codes, labels, ids, weights, &options);
    let rows = rows(&pairs, thresholds, &options);
    let by = B::float_add(
        B::float_mul(rows.positive_by, column::<B>(&upstream, 0)),
        B::float_mul(rows.negative_by, column::<B>(&upstream, 1)),
    );
    let gradient = B::float_cast(pairs.to_references(by), kind);
    if options.filled == capacity {
        return gradient;
    }
    let rest = Shape::new([capacity - options.filled, dim]);
    B::float_cat(vec![gradient, B::float_zeros(rest, &device, kind)], 0)
}
