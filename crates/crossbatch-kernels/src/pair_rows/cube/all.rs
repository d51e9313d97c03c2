//! Positives against all pairs, from two folds of the positives that the kernels have: with `z = scale · u`,
//! `ln(exp(N) + Σ w exp(−z)) + Σ w z / Σ w` is a log-sum-exp and a linear side of each row.

use super::call::Call;
use super::limits::{Limits, column};
use super::plan::{Numbers, Plan};
use crate::pair_rows::program::{COUPLING, FIELDS, POSITIVE_SLOPE, POSITIVES, Term};
use crate::pair_rows::reference::{tensor, term};
use burn::backend::ops::FloatTensorOps;
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;

type Ops = CubeBackend;

/// Puts the positive side of [`Term::AgainstAll`] into a call that has the negative side.
pub(super) fn against_all(call: &mut Call, plan: Plan, limits: &Limits, scale: f32) {
    let limits = limits.tensor(&call.fields);
    let fold = |term| {
        let numbers = Numbers::from(term);
        let side = call.with_positive(numbers);
        side.pass(Plan { positive: numbers.fold, ..plan }, limits.clone());
        side
    };
    let outweighing = fold(Term::LogSumExp { scale: -scale });
    let linear = fold(Term::Linear { offset: 0.0 });

    let negatives = column(&call.values, 1);
    let own = column(&outweighing.values, 0);
    let count = column(&linear.fields, POSITIVES);
    let none = tensor::below_number::<Ops>(count.clone(), 0.5);
    let unless_none = |values, other: f64| Ops::float_mask_fill(values, none.clone(), other.into());
    // NaN in rows that are spoilt, which no comparison may hide; else 0.
    let poison = Ops::float_mul_scalar(negatives.clone(), 0.0.into());

    // From the larger one, since the other may be `EMPTY`; and the parts of both.
    let apart = Ops::float_sub(own.clone(), negatives.clone());
    let (less, _) = term::softplus::<Ops>(Ops::float_neg(Ops::float_abs(apart.clone())));
    let below = tensor::below_number::<Ops>(apart.clone(), 0.0);
    let all = Ops::float_add(Ops::float_mask_where(own, below, negatives), less);
    let (_, own_part) = term::softplus::<Ops>(apart);

    // The derivative of a linear side by its threshold is the sum of the weights.
    let weight = unless_none(column(&linear.fields, POSITIVE_SLOPE), 1.0);
    let by_linear = Ops::float_mul_scalar(Ops::float_recip(weight), scale.into());
    let mean = Ops::float_mul(column(&linear.values, 0), by_linear.clone());
    let number = unless_none(Ops::float_add(all, mean), 0.0);
    let coupling = Ops::float_add_scalar(Ops::float_neg(own_part.clone()), 1.0.into());
    let coupling = unless_none(coupling, 0.0);

    let both = |outweighing, linear| {
        let outweighing = Ops::float_mul(outweighing, own_part.clone());
        Ops::float_add(outweighing, Ops::float_mul(linear, by_linear.clone()))
    };
    let slope =
        both(column(&outweighing.fields, POSITIVE_SLOPE), column(&linear.fields, POSITIVE_SLOPE));
    call.to_positive = both(outweighing.to_positive, linear.to_positive);

    let replaced = |index: usize| match index {
        POSITIVES => count.clone(),
        POSITIVE_SLOPE => slope.clone(),
        COUPLING => Ops::float_add(coupling.clone(), poison.clone()),
        _ => column(&call.fields, index),
    };
    let fields: Vec<CubeTensor> = (0..FIELDS).map(replaced).collect();
    call.fields = Ops::float_cat(fields, 1);
    let values = vec![Ops::float_add(number, poison), column(&call.values, 1)];
    call.values = Ops::float_cat(values, 1);
}
