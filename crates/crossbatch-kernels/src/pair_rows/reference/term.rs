//! A side's selected pairs, folded into one number a row.

use super::pairs::Pairs;
use super::program::{EMPTY, NONE, Term};
use super::tensor::{above_number, below_number, count, largest, row_sum, with, zeros};
use burn::backend::Backend;
use burn::backend::tensor::{BoolTensor, FloatTensor};

/// One side: its number and count `[B, 1]`, the derivative of the number by the violations `[B, M]`.
pub(super) struct Side<B: Backend> {
    pub(super) number: FloatTensor<B>,
    pub(super) count: FloatTensor<B>,
    pub(super) by: FloatTensor<B>,
    /// The derivative by `against`, `[B, 1]`.
    pub(super) coupling: FloatTensor<B>,
}

/// Folds the violations `u` `[B, M]` where `selected`; `against` `[B, 1]` is the negative side's number.
pub(super) fn fold<B: Backend>(
    term: Term,
    pairs: &Pairs<B>,
    u: FloatTensor<B>,
    selected: BoolTensor<B>,
    against: Option<&FloatTensor<B>>,
) -> Side<B> {
    let count = count::<B>(selected.clone(), &u);
    let mut coupling = zeros::<B>(&count);
    let sum = |values| row_sum::<B>(with::<B>(values, selected.clone(), 0.0));
    let (number, by) = match term {
        Term::Linear { offset } => {
            let ones = B::float_add_scalar(zeros::<B>(&u), 1.0.into());
            (sum(pairs.weigh(B::float_add_scalar(u, offset.into()))), pairs.weigh(ones))
        }
        Term::Softplus { scale } => {
            let (value, slope) = softplus::<B>(B::float_mul_scalar(u, scale.into()));
            (sum(pairs.weigh(value)), B::float_mul_scalar(pairs.weigh(slope), scale.into()))
        }
        Term::AgainstNegatives { scale } => {
            let against = against.expect("a program has a negative side to stand against").clone();
            let exponent = B::float_add(B::float_mul_scalar(u, scale.into()), against);
            let (value, slope) = softplus::<B>(exponent);
            let slope = pairs.weigh(slope);
            coupling = sum(slope.clone());
            (sum(pairs.weigh(value)), B::float_mul_scalar(slope, scale.into()))
        }
        Term::AgainstAll { scale } => {
            let against = against.expect("a program has a negative side to stand against");
            let z = B::float_mul_scalar(u, scale.into());
            let outweighing = log_sum_exp(pairs, B::float_neg(z.clone()), &selected, &count);
            let all = against_all(pairs, z, &selected, &count, outweighing, against);
            coupling = all.coupling;
            (all.number, B::float_mul_scalar(all.by, scale.into()))
        }
        Term::LogSumExp { scale } => {
            let exponent = B::float_mul_scalar(u, scale.into());
            let (number, share) = log_sum_exp(pairs, exponent, &selected, &count);
            (number, B::float_mul_scalar(share, scale.into()))
        }
        Term::Circle { scale, relaxation } => {
            let factor = B::float_add_scalar(u.clone(), (2.0 * relaxation).into());
            let factor = B::float_clamp_min(factor, 0.0.into());
            let factor = B::float_mul_scalar(factor, scale.into());
            let exponent = B::float_mul(factor.clone(), u);
            let (number, share) = log_sum_exp(pairs, exponent, &selected, &count);
            (number, B::float_mul(share, factor))
        }
    };
    Side { number, count, by: with::<B>(by, selected, 0.0), coupling }
}

/// `ln(1 + exp(z))` and its derivative, without overflow.
pub(in crate::pair_rows) fn softplus<B: Backend>(
    z: FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    // At most 1.
    let small = B::float_exp(B::float_neg(B::float_abs(z.clone())));
    let value =
        B::float_add(B::float_clamp_min(z.clone(), 0.0.into()), B::float_log1p(small.clone()));
    let upper = B::float_recip(B::float_add_scalar(small.clone(), 1.0.into()));
    let lower = B::float_mul(small, upper.clone());
    (value, B::float_mask_where(upper, below_number::<B>(z, 0.0), lower))
}

/// The logarithm of the weighted sum of exponentials, and each one's share of the sum.
fn log_sum_exp<B: Backend>(
    pairs: &Pairs<B>,
    exponent: FloatTensor<B>,
    selected: &BoolTensor<B>,
    count: &FloatTensor<B>,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let exponent = match &pairs.weights {
        // A weight of 0 is never selected.
        Some(weights) => B::float_add(exponent, B::float_log(weights.clone())),
        None => exponent,
    };
    let exponent = with::<B>(exponent, selected.clone(), -f64::from(NONE));
    let most = largest::<B>(&exponent, selected);
    let parts = B::float_exp(B::float_sub(exponent, most.clone()));
    let parts = with::<B>(parts, selected.clone(), 0.0);
    let any = above_number::<B>(count.clone(), 0.0);
    let sum = with::<B>(row_sum::<B>(parts.clone()), any.clone(), 1.0);
    let number = B::float_add(most, B::float_log(sum.clone()));
    (with::<B>(number, any, EMPTY.into()), B::float_div(parts, sum))
}

struct AgainstAll<B: Backend> {
    number: FloatTensor<B>,
    by: FloatTensor<B>,
    coupling: FloatTensor<B>,
}

/// The logarithm of the sum with the negatives' exponential, plus the mean of `z`; its derivative by `z`.
fn against_all<B: Backend>(
    pairs: &Pairs<B>,
    z: FloatTensor<B>,
    selected: &BoolTensor<B>,
    count: &FloatTensor<B>,
    (own, share): (FloatTensor<B>, FloatTensor<B>),
    against: &FloatTensor<B>,
) -> AgainstAll<B> {
    let any = above_number::<B>(count.clone(), 0.0);
    // ln(exp(own) + exp(against)), from the larger one since the other may be `EMPTY`; and the parts of both.
    let apart = B::float_sub(own.clone(), against.clone());
    let (less, _) = softplus::<B>(B::float_neg(B::float_abs(apart.clone())));
    let larger = B::float_mask_where(own, below_number::<B>(apart.clone(), 0.0), against.clone());
    let all = B::float_add(larger, less);
    let (_, own_part) = softplus::<B>(apart);
    let sum = |values| row_sum::<B>(with::<B>(values, selected.clone(), 0.0));
    let ones = B::float_add_scalar(zeros::<B>(&z), 1.0.into());
    let weight = pairs.weigh(ones);
    let total = with::<B>(sum(weight.clone()), any.clone(), 1.0);
    let mean = B::float_div(sum(pairs.weigh(z)), total.clone());
    let coupling = B::float_add_scalar(B::float_neg(own_part.clone()), 1.0.into());
    AgainstAll {
        number: with::<B>(B::float_add(all, mean), any.clone(), 0.0),
        by: B::float_sub(B::float_div(weight, total), B::float_mul(share, own_part)),
        coupling: with::<B>(coupling, any, 0.0),
    }
}
