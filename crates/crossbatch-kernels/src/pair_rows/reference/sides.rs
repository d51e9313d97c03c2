//! Each side by itself: its rule, then its term.

use super::Rows;
use super::pairs::Pairs;
use super::program::{NegativeRule, PositiveRule, Term};
use super::tensor::{above, above_number, below_number, column, largest, smallest};
use super::term::fold;
use super::triplets::each_positive;
use burn::backend::Backend;
use burn::backend::tensor::{BoolTensor, FloatTensor};

/// The fields of [`super::Body::Sides`].
pub(super) struct Sides {
    pub(super) positive: Term,
    pub(super) positives: PositiveRule,
    pub(super) negative: Term,
    pub(super) negatives: NegativeRule,
}

pub(super) fn rows<B: Backend>(
    pairs: &Pairs<B>,
    thresholds: FloatTensor<B>,
    sides: &Sides,
) -> Rows<B> {
    let x = &pairs.closeness;
    let u = B::float_sub(x.clone(), column::<B>(&thresholds, 1));
    let selected = select_negatives(pairs, &u, &sides.negatives);
    let negative = fold(sides.negative, pairs, u, selected, None);

    let u = B::float_sub(column::<B>(&thresholds, 0), x.clone());
    let selected = select_positives(pairs, &u, &sides.positives);
    let positive = fold(sides.positive, pairs, u, selected, Some(&negative.number));
    Rows {
        positive: positive.number,
        negative: negative.number,
        positives: positive.count,
        negatives: negative.count,
        positive_by: B::float_neg(positive.by),
        negative_by: negative.by,
        coupling: positive.coupling,
    }
}

fn select_positives<B: Backend>(
    pairs: &Pairs<B>,
    u: &FloatTensor<B>,
    rule: &PositiveRule,
) -> BoolTensor<B> {
    let x = &pairs.closeness;
    let mut selected = pairs.positive.clone();
    let mut and = |condition| selected = B::bool_and(selected.clone(), condition);
    if rule.violating {
        and(above_number::<B>(u.clone(), 0.0));
    }
    if rule.below < f32::INFINITY {
        and(below_number::<B>(x.clone(), rule.below.into()));
    }
    if let Some(value) = rule.hardest_negative {
        let bound = B::float_add_scalar(largest::<B>(x, &pairs.negative), value.into());
        and(above::<B>(bound, x.clone()));
    }
    if let Some(value) = rule.easiest_negative {
        let bound = B::float_add_scalar(smallest::<B>(x, &pairs.negative), value.into());
        and(above::<B>(x.clone(), bound));
    }
    selected
}

fn select_negatives<B: Backend>(
    pairs: &Pairs<B>,
    u: &FloatTensor<B>,
    rule: &NegativeRule,
) -> BoolTensor<B> {
    let x = &pairs.closeness;
    let mut selected = pairs.negative.clone();
    let mut and = |condition| selected = B::bool_and(selected.clone(), condition);
    if rule.violating {
        and(above_number::<B>(u.clone(), 0.0));
    }
    if rule.above > f32::NEG_INFINITY {
        and(above_number::<B>(x.clone(), rule.above.into()));
    }
    if let Some(value) = rule.hardest_positive {
        let bound = B::float_sub_scalar(smallest::<B>(x, &pairs.positive), value.into());
        and(above::<B>(x.clone(), bound));
    }
    if let Some((floor, value)) = rule.easiest_positive {
        let most = B::float_clamp_min(largest::<B>(x, &pairs.positive), floor.into());
        and(above::<B>(x.clone(), B::float_sub_scalar(most, value.into())));
    }
    if let Some(value) = rule.below_easiest_positive {
        let bound = B::float_sub_scalar(largest::<B>(x, &pairs.positive), value.into());
        and(above::<B>(bound, x.clone()));
    }
    if let Some(value) = rule.semi_hard {
        and(semi_hard(pairs, value));
    }
    selected
}

/// Where `p − value < x < p` for some positive at `p` of the row.
fn semi_hard<B: Backend>(pairs: &Pairs<B>, value: f32) -> BoolTensor<B> {
    let x = &pairs.closeness;
    let mut found = below_number::<B>(super::tensor::zeros::<B>(x), 0.0);
    each_positive(pairs, |_, p, _, _| {
        let close = B::bool_and(
            above::<B>(p.clone(), x.clone()),
            above::<B>(x.clone(), B::float_sub_scalar(p, value.into())),
        );
        found = B::bool_or(found.clone(), close);
    });
    found
}
