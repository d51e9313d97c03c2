//! Between which bounds the closeness of a pair must be for the pair to count: what all rules come to.

use crate::pair_rows::program::{
    EASIEST_NEGATIVE, EASIEST_POSITIVE, HARDEST_NEGATIVE, HARDEST_POSITIVE, NONE, NegativeRule,
    PositiveRule,
};
use crate::pair_rows::reference::tensor;
use burn::backend::ops::FloatTensorOps;
use burn::backend::{TensorMetadata, get_or_init_device_settings};
use burn::tensor::Shape;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

type Ops = CubeBackend;

/// Column `index` of `[B, n]`, as `[B, 1]`.
pub(super) fn column(tensor: &CubeTensor, index: usize) -> CubeTensor {
    tensor::column::<Ops>(tensor, index)
}

pub(super) struct Limits {
    /// `[B, 2]`, of the positive and of the negative side.
    pub(super) thresholds: CubeTensor,
    pub(super) positives: PositiveRule,
    pub(super) negatives: NegativeRule,
    /// `[B, 1]`: what positives stand against.
    pub(super) against: Option<CubeTensor>,
}

impl Limits {
    /// Whether the bounds hang on the extremes of the rows.
    pub(super) fn need_extremes(&self) -> bool {
        let (positives, negatives) = (&self.positives, &self.negatives);
        positives.hardest_negative.is_some()
            || positives.easiest_negative.is_some()
            || negatives.hardest_positive.is_some()
            || negatives.easiest_positive.is_some()
            || negatives.below_easiest_positive.is_some()
    }

    /// The limits in the order in which the kernel reads them, `[B, LIMITS]`.
    pub(super) fn tensor(&self, fields: &CubeTensor) -> CubeTensor {
        let constant = |value: f32| {
            let shape = Shape::new([fields.shape()[0], 1]);
            Ops::float_full(shape, value.into(), &fields.device(), fields.dtype().into())
        };
        let field = |index, plus: f32| Ops::float_add_scalar(column(fields, index), plus.into());
        let threshold = |side| column(&self.thresholds, side);

        let rule = &self.negatives;
        let mut lower = constant(rule.above.max(-NONE));
        if rule.violating {
            lower = larger(lower, threshold(1));
        }
        if let Some(value) = rule.hardest_positive {
            lower = larger(lower, field(HARDEST_POSITIVE, -value));
        }
        if let Some((floor, value)) = rule.easiest_positive {
            let most = larger(field(EASIEST_POSITIVE, 0.0), constant(floor.max(-NONE)));
            lower = larger(lower, Ops::float_sub_scalar(most, value.into()));
        }
        let upper = match rule.below_easiest_positive {
            Some(value) => field(EASIEST_POSITIVE, -value),
            None => constant(NONE),
        };
        let mut columns = vec![lower, upper, threshold(1)];

        let rule = &self.positives;
        let lower = match rule.easiest_negative {
            Some(value) => field(EASIEST_NEGATIVE, value),
            None => constant(-NONE),
        };
        let mut upper = constant(rule.below.min(NONE));
        if rule.violating {
            upper = smaller(upper, threshold(0));
        }
        if let Some(value) = rule.hardest_negative {
            upper = smaller(upper, field(HARDEST_NEGATIVE, value));
        }
        columns.extend([lower, upper, threshold(0)]);
        columns.push(self.against.clone().unwrap_or_else(|| constant(0.0)));
        Ops::float_cat(columns, 1)
    }
}

/// The larger of two numbers, place by place.
fn larger(left: CubeTensor, right: CubeTensor) -> CubeTensor {
    let kind = get_or_init_device_settings::<Ops>(&left.device()).bool_dtype;
    let mask = Ops::float_greater(right.clone(), left.clone(), kind);
    Ops::float_mask_where(left, mask, right)
}

/// The smaller of two numbers, place by place.
fn smaller(left: CubeTensor, right: CubeTensor) -> CubeTensor {
    Ops::float_neg(larger(Ops::float_neg(left), Ops::float_neg(right)))
}
