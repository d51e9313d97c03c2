//! Every positive of a row with every negative, one positive of each row at a time.

use super::Rows;
use super::pairs::Pairs;
use super::program::TripletRule;
use super::tensor::{above, above_number, count, row_sum, with, zeros};
use super::term::softplus;
use burn::backend::Backend;
use burn::backend::TensorMetadata;
use burn::backend::tensor::{BoolTensor, FloatTensor};
use burn::tensor::read_sync;

/// Runs `visit` for the first positive of every row, the second one, and so on, as often as the row with the most has
/// one: with its place `[B, M]`, closeness `[B, 1]`, weight, and whether there is one (1 or 0).
pub(super) fn each_positive<B: Backend>(
    pairs: &Pairs<B>,
    mut visit: impl FnMut(BoolTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>),
) {
    let x = &pairs.closeness;
    let kind = x.dtype().into();
    let most = B::float_max(count::<B>(pairs.positive.clone(), x));
    let most = read_sync(B::float_into_data(most)).expect("the count of positives can be read");
    let most = most.iter::<f64>().fold(0.0, f64::max) as usize;
    let rank = B::float_cumsum(B::bool_into_float(pairs.positive.clone(), kind), 1);
    let ones = B::float_add_scalar(zeros::<B>(x), 1.0.into());
    for index in 1..=most {
        // Between whole numbers, so that no comparison hangs on equality of floats.
        let here = above_number::<B>(rank.clone(), index as f64 - 0.5);
        let beyond = above_number::<B>(rank.clone(), index as f64 + 0.5);
        let here = B::bool_and(here, B::bool_not(beyond));
        let place = B::bool_and(here, pairs.positive.clone());
        let of_place = |values| row_sum::<B>(with::<B>(values, place.clone(), 0.0));
        let p = of_place(x.clone());
        let weight = of_place(pairs.weigh(ones.clone()));
        let there = of_place(ones.clone());
        // Where the row has no such positive, no closeness is near it.
        let absent =
            B::float_mul_scalar(B::float_sub_scalar(there.clone(), 1.0.into()), 1e30.into());
        visit(place, B::float_add(p, absent), weight, there);
    }
}

pub(super) fn rows<B: Backend>(
    pairs: &Pairs<B>,
    margin: f32,
    rule: TripletRule,
    soft: bool,
) -> Rows<B> {
    let x = &pairs.closeness;
    let none = row_sum::<B>(zeros::<B>(x));
    let (mut number, mut active, mut by) = (none.clone(), none.clone(), zeros::<B>(x));
    each_positive(pairs, |place, p, weight, there| {
        let mut selected = pairs.negative.clone();
        let mut and = |condition| selected = B::bool_and(selected.clone(), condition);
        match rule {
            TripletRule::All => {}
            TripletRule::SemiHard => {
                and(above::<B>(p.clone(), x.clone()));
                and(above::<B>(x.clone(), B::float_sub_scalar(p.clone(), margin.into())));
            }
            TripletRule::Hard => and(above::<B>(x.clone(), p.clone())),
        }
        let violation = B::float_add_scalar(B::float_sub(x.clone(), p), margin.into());
        let (value, slope) = if soft {
            softplus::<B>(violation)
        } else {
            and(above_number::<B>(violation.clone(), 0.0));
            (violation, B::float_add_scalar(zeros::<B>(x), 1.0.into()))
        };
        let of_triplets = |values| {
            let values = with::<B>(pairs.weigh(values), selected.clone(), 0.0);
            B::float_mul(values, weight.clone())
        };
        let slope = of_triplets(slope);
        let to_place =
            B::float_mul(B::bool_into_float(place, x.dtype().into()), row_sum::<B>(slope.clone()));
        number = B::float_add(number.clone(), row_sum::<B>(of_triplets(value)));
        let counted = B::float_mul(count::<B>(selected.clone(), x), there);
        active = B::float_add(active.clone(), counted);
        by = B::float_sub(B::float_add(by.clone(), slope), to_place);
    });
    Rows {
        positive: none.clone(),
        negative: number,
        positives: none.clone(),
        negatives: active,
        positive_by: zeros::<B>(x),
        negative_by: by,
        coupling: none,
    }
}
