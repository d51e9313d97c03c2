//! Which pairs there are, how close they are, and how gradients by the closeness become gradients by the rows.

use super::super::PairRowsOptions;
use super::program::{Closeness, SAME};
use super::tensor::{above, above_number, below_number, bools, row_sum, with};
use burn::backend::tensor::{BoolTensor, FloatTensor, IntTensor};
use burn::backend::{Backend, TensorMetadata};
use burn::tensor::{IntDType, Shape, Slice};

pub(super) struct Pairs<B: Backend> {
    kind: Closeness,
    /// `[B, D]`, numbers that are not finite made 0.
    anchors: FloatTensor<B>,
    /// `[M, D]`, likewise, and centred if the closeness is of centred rows.
    references: FloatTensor<B>,
    /// `[B, M]`; where it is not finite, some number that is.
    pub(super) closeness: FloatTensor<B>,
    pub(super) positive: BoolTensor<B>,
    pub(super) negative: BoolTensor<B>,
    /// `[1, M]`.
    pub(super) weights: Option<FloatTensor<B>>,
    /// `[B, 1]`: NaN where a pair of the row is not finite, else 0.
    poison: FloatTensor<B>,
}

impl<B: Backend> Pairs<B> {
    pub(super) fn new(
        anchors: FloatTensor<B>,
        references: FloatTensor<B>,
        codes: IntTensor<B>,
        labels: IntTensor<B>,
        ids: IntTensor<B>,
        weights: FloatTensor<B>,
        options: &PairRowsOptions,
    ) -> Self {
        let kind = options.program.closeness;
        let (device, float) = (anchors.device(), anchors.dtype().into());
        let dim = anchors.shape()[1];
        let (references, labels, ids, weights) = if options.filled == 0 {
            // One reference that is left out: devices have no tensors without elements.
            let one = Shape::new([1]);
            let nobody = B::int_zeros(one.clone(), &device, IntDType::I32);
            let references = B::float_zeros(Shape::new([1, dim]), &device, float);
            (references, nobody.clone(), nobody, Some(B::float_zeros(one, &device, float)))
        } else {
            let filled = Slice::from(0..options.filled);
            let rows = [filled, Slice::from(0..dim)];
            (
                B::float_cast(B::float_slice(references, &rows), float),
                B::int_slice(labels, &[filled]),
                B::int_slice(ids, &[filled]),
                options.weighted.then(|| B::float_cast(B::float_slice(weights, &[filled]), float)),
            )
        };
        let count = references.shape()[0];
        let weights = weights.map(|weights| B::float_reshape(weights, Shape::new([1, count])));

        let references = match kind {
            Closeness::CentredSquaredDistance => {
                let mean = B::float_mean_dim(references.clone(), 1);
                B::float_sub(references, mean)
            }
            _ => references,
        };
        let closeness = closeness::<B>(kind, &anchors, &references);
        let (positive, negative) =
            relation::<B>(codes, labels, ids, weights.as_ref(), &closeness, options);

        let pair = B::bool_or(positive.clone(), negative.clone());
        // 0 times a number is 0 if it is finite, else NaN.
        let poison = B::float_mul_scalar(closeness.clone(), 0.0.into());
        let poison = row_sum::<B>(with::<B>(poison, pair, 0.0));
        // Not 0: a distance of 0 has gradient 0, which would hide the poison.
        let closeness = finite::<B>(closeness, -1.0);
        Self {
            kind,
            anchors: finite::<B>(anchors, 0.0),
            references: finite::<B>(references, 0.0),
            closeness,
            positive,
            negative,
            weights,
            poison,
        }
    }

    /// Numbers of rows, NaN where the row is not finite.
    pub(super) fn spoil(&self, rows: FloatTensor<B>) -> FloatTensor<B> {
        B::float_add(rows, self.poison.clone())
    }

    /// Numbers of pairs, NaN at all pairs of rows that are not finite, 0 where there is no pair.
    pub(super) fn spoil_pairs(&self, by: FloatTensor<B>) -> FloatTensor<B> {
        let pair = B::bool_or(self.positive.clone(), self.negative.clone());
        with::<B>(self.spoil(by), pair, 0.0)
    }

    /// The values times the weights of their references.
    pub(super) fn weigh(&self, values: FloatTensor<B>) -> FloatTensor<B> {
        match &self.weights {
            Some(weights) => B::float_mul(values, weights.clone()),
            None => values,
        }
    }

    /// The gradient of the anchors `[B, D]`, where `by` `[B, M]` is that of the closeness.
    pub(super) fn to_anchors(&self, by: FloatTensor<B>) -> FloatTensor<B> {
        let by = self.by_products(by);
        let along = B::float_matmul(by.clone(), self.references.clone());
        match self.kind {
            Closeness::Dot => along,
            _ => B::float_sub(along, B::float_mul(self.anchors.clone(), row_sum::<B>(by))),
        }
    }

    /// The gradient of the references `[M, D]`.
    pub(super) fn to_references(&self, by: FloatTensor<B>) -> FloatTensor<B> {
        let by = B::float_transpose(self.by_products(by));
        let along = B::float_matmul(by.clone(), self.anchors.clone());
        match self.kind {
            Closeness::Dot => along,
            _ => B::float_sub(along, B::float_mul(self.references.clone(), row_sum::<B>(by))),
        }
    }

    /// From the gradient of the closeness to the factor of a difference of rows (of a row, for products).
    fn by_products(&self, by: FloatTensor<B>) -> FloatTensor<B> {
        match self.kind {
            Closeness::Dot => by,
            Closeness::SquaredDistance | Closeness::CentredSquaredDistance => {
                B::float_mul_scalar(by, 2.0.into())
            }
            Closeness::Distance => {
                let apart = below_number::<B>(self.closeness.clone(), 0.0);
                let distance = with::<B>(B::float_neg(self.closeness.clone()), apart.clone(), 1.0);
                with::<B>(B::float_div(by, distance), apart, 0.0)
            }
        }
    }
}

/// `[B, M]`; not finite where one of the two rows is not.
fn closeness<B: Backend>(
    kind: Closeness,
    anchors: &FloatTensor<B>,
    references: &FloatTensor<B>,
) -> FloatTensor<B> {
    let products = B::float_matmul(anchors.clone(), B::float_transpose(references.clone()));
    if kind == Closeness::Dot {
        return products;
    }
    let squares = |rows: &FloatTensor<B>| row_sum::<B>(B::float_mul(rows.clone(), rows.clone()));
    let squares = B::float_add(squares(anchors), B::float_transpose(squares(references)));
    let squared = B::float_sub(squares.clone(), B::float_mul_scalar(products, 2.0.into()));
    // Written so that what is no number stays so.
    let same = above::<B>(B::float_mul_scalar(squares, SAME.into()), squared.clone());
    let squared = B::float_mask_fill(squared, same, 0.0.into());
    B::float_neg(if kind == Closeness::Distance { B::float_sqrt(squared) } else { squared })
}

/// Which pairs are positive and which are negative, `[B, M]`.
fn relation<B: Backend>(
    codes: IntTensor<B>,
    labels: IntTensor<B>,
    ids: IntTensor<B>,
    weights: Option<&FloatTensor<B>>,
    closeness: &FloatTensor<B>,
    options: &PairRowsOptions,
) -> (BoolTensor<B>, BoolTensor<B>) {
    let shape = closeness.shape();
    let [batch, count] = [shape[0], shape[1]];
    let (kind, device) = (bools::<B>(closeness), closeness.device());
    // Tensors of different types would compare wrongly, and without an error, on some devices.
    let code = |index: usize| {
        let column = [Slice::from(0..batch), Slice::from(index..index + 1)];
        B::int_cast(B::int_slice(codes.clone(), &column), IntDType::I32)
    };
    let row = |codes| B::int_cast(B::int_reshape(codes, Shape::new([1, count])), IntDType::I32);
    let places = B::int_arange(0..count as i64, &device, IntDType::I32);

    let mut pair = B::int_not_equal(code(2), row(places), kind);
    if let Some(weights) = weights {
        // Of one shape with the others: not every device spreads truth values.
        let weights = B::float_expand(weights.clone(), shape);
        pair = B::bool_and(pair, above_number::<B>(weights, 0.0));
    }
    let same = B::int_equal(code(0), row(labels), kind);
    let negative = B::bool_and(pair.clone(), B::bool_not(same.clone()));
    let mut positive = B::bool_and(pair, same);
    if options.drop_same_image {
        positive = B::bool_and(positive, B::int_not_equal(code(1), row(ids), kind));
    }
    (positive, negative)
}

/// The values, and `other` where they are NaN or infinite.
fn finite<B: Backend>(values: FloatTensor<B>, other: f64) -> FloatTensor<B> {
    let finite = below_number::<B>(B::float_abs(values.clone()), f64::INFINITY);
    with::<B>(values, finite, other)
}
