//! The positives of every anchor: few, and found by label.

use super::classes::Classes;
use super::problem::{Problem, Rows};
use super::program::{
    Body, COUPLING, EASIEST_NEGATIVE, EASIEST_POSITIVE, EMPTY, HARDEST_NEGATIVE, HARDEST_POSITIVE,
    NONE, POSITIVE_PAIRS, POSITIVE_SLOPE, POSITIVE_SUM, POSITIVES, PositiveRule, Term,
};
use super::scalar::{closeness, is_log, pull, squared_norm, term};
use super::tile::{Widened, dot};
use crate::lanes::{Arithmetic, Level, for_lanes};
use rayon::prelude::*;

/// Closenesses that are kept rather than computed again.
const KEPT: usize = 1 << 20;

/// Visits the positives of an anchor, in the order of the references.
pub(super) struct Positives<'a> {
    pub(super) problem: &'a Problem<'a>,
    classes: &'a Classes,
    level: Level,
    /// Closenesses, where they are few.
    kept: Option<Vec<Vec<(u32, f32)>>>,
}

impl<'a> Positives<'a> {
    pub(super) fn new(problem: &'a Problem<'a>, classes: &'a Classes, level: Level) -> Self {
        let mut positives = Self { problem, classes, level, kept: None };
        let total: usize =
            classes.of_anchor.iter().map(|class| classes.members[*class as usize].len()).sum();
        if total <= KEPT {
            let kept = (0..problem.batch())
                .into_par_iter()
                .map(|anchor| {
                    let mut list = Vec::new();
                    positives.visit(anchor, &mut |reference, x| list.push((reference, x)));
                    list
                })
                .collect();
            positives.kept = Some(kept);
        }
        positives
    }

    /// Calls `body` with each positive of an anchor and its closeness.
    pub(super) fn visit(&self, anchor: usize, body: &mut dyn FnMut(u32, f32)) {
        if let Some(kept) = &self.kept {
            kept[anchor].iter().for_each(|(reference, x)| body(*reference, *x));
            return;
        }
        let this = self;
        for_lanes!(
            self.level,
            visit(this: &Positives<'_>, anchor: usize, body: &mut dyn FnMut(u32, f32))
        );
        return;

        #[inline(always)]
        fn visit<L: Arithmetic>(
            this: &Positives<'_>,
            anchor: usize,
            body: &mut dyn FnMut(u32, f32),
        ) {
            let problem = this.problem;
            let kind = problem.program.closeness;
            let row = problem.anchor(anchor);
            let norm = squared_norm(kind, row);
            let mut widened = Widened::default();
            for &reference in &this.classes.members[this.classes.of_anchor[anchor] as usize] {
                let at = reference as usize;
                let own = problem.own(anchor) == reference as i32;
                if own || problem.drop_same_image && problem.ids[at] == problem.id(anchor) {
                    continue;
                }
                let other = widened.row(problem.references, problem.dim, at);
                let product = dot::<L>(row, other);
                body(reference, closeness(kind, product, norm, squared_norm(kind, other)));
            }
        }
    }

    /// Number, sum, smallest and largest closeness of each anchor's positives.
    pub(super) fn statistics(&self, rows: &mut Rows) {
        let found: Vec<[f32; 4]> = (0..self.problem.batch())
            .into_par_iter()
            .map(|anchor| {
                let mut found = [0.0, 0.0, NONE, -NONE];
                self.visit(anchor, &mut |_, x| {
                    found[0] += 1.0;
                    found[1] += x;
                    found[2] = found[2].min(x);
                    found[3] = found[3].max(x);
                });
                found
            })
            .collect();
        for (anchor, found) in found.into_iter().enumerate() {
            let columns = [POSITIVE_PAIRS, POSITIVE_SUM, HARDEST_POSITIVE, EASIEST_POSITIVE];
            for (column, value) in columns.into_iter().zip(found) {
                *rows.field_mut(anchor, column) = value;
            }
        }
    }

    /// The positive side's numbers and gradients, the negative side's being known.
    pub(super) fn fold(&self, rows: &mut Rows) {
        let Body::Sides { positive, positives, .. } = self.problem.program.body else { return };
        let known = &*rows;
        let sums: Vec<Sums> = (0..self.problem.batch())
            .into_par_iter()
            .map(|anchor| self.fold_anchor(anchor, known, positive, &positives))
            .collect();
        for (anchor, sums) in sums.into_iter().enumerate() {
            rows.values[anchor * 2] = sums.value;
            for (column, value) in
                [(POSITIVES, sums.count), (POSITIVE_SLOPE, sums.slope), (COUPLING, sums.coupling)]
            {
                *rows.field_mut(anchor, column) = value;
            }
            let dim = self.problem.dim;
            rows.positive[anchor * dim..][..dim].copy_from_slice(&sums.gradient);
        }
    }

    fn fold_anchor(&self, anchor: usize, rows: &Rows, kind: Term, rule: &PositiveRule) -> Sums {
        let problem = self.problem;
        let threshold = problem.positive_threshold(anchor);
        let negatives = rows.values[anchor * 2 + 1];
        let counts = Counts::new(rule, threshold, rows, anchor);
        let mut sums = Sums { gradient: vec![0.0; problem.dim], ..Sums::default() };

        // A log-sum-exp is relative to its largest exponent.
        let mut largest = EMPTY;
        if is_log(kind) {
            self.visit(anchor, &mut |_, x| {
                if counts.hold(x) {
                    largest = largest.max(term(kind, threshold - x, negatives).0);
                }
            });
        }
        let all = self.all(anchor, rows, kind, rule);
        let mut widened = Widened::default();
        let mut pulls = 0.0;
        self.visit(anchor, &mut |reference, x| {
            if !counts.hold(x) {
                return;
            }
            let weight = problem.weight(reference as usize);
            let (mut value, mut slope) = term(kind, threshold - x, negatives);
            if is_log(kind) {
                value = (value - largest).exp();
                slope *= value;
            }
            if let Some(all) = &all {
                slope *= all.slope(value);
                value /= all.weight;
            }
            sums.count += 1.0;
            sums.value += weight * value;
            sums.slope += weight * slope;
            if let Term::AgainstNegatives { scale } = kind {
                sums.coupling += weight * slope / scale;
            }
            // The violation falls with the closeness.
            let pull = -pull(problem.program.closeness, x, weight * slope);
            pulls += pull;
            let row = widened.row(problem.references, problem.dim, reference as usize);
            for (sum, number) in sums.gradient.iter_mut().zip(row) {
                *sum += pull * number;
            }
        });
        if is_log(kind) {
            let total = sums.value;
            sums.value = if sums.count > 0.0 { largest + total.ln() } else { EMPTY };
            let share = if sums.count > 0.0 { 1.0 / total } else { 0.0 };
            sums.slope *= share;
            pulls *= share;
            sums.gradient.iter_mut().for_each(|value| *value *= share);
        }
        if let Some(all) = &all {
            sums.value += all.log_sum;
            sums.coupling = (negatives - all.log_sum).exp();
        }
        if problem.program.closeness != super::program::Closeness::Dot {
            for (sum, number) in sums.gradient.iter_mut().zip(problem.anchor(anchor)) {
                *sum -= pulls * number;
            }
        }
        sums
    }

    /// What an anchor's positives share in [`Term::AgainstAll`]; none for another term, or without a positive.
    pub(super) fn all(
        &self,
        anchor: usize,
        rows: &Rows,
        kind: Term,
        rule: &PositiveRule,
    ) -> Option<All> {
        let Term::AgainstAll { scale } = kind else { return None };
        let threshold = self.problem.positive_threshold(anchor);
        let negatives = rows.values[anchor * 2 + 1];
        let counts = Counts::new(rule, threshold, rows, anchor);
        let mut largest = negatives;
        let mut weight = 0.0;
        self.visit(anchor, &mut |reference, x| {
            if counts.hold(x) {
                largest = largest.max(-scale * (threshold - x));
                weight += self.problem.weight(reference as usize);
            }
        });
        let mut sum = (negatives - largest).exp();
        self.visit(anchor, &mut |reference, x| {
            if counts.hold(x) {
                let share = (-scale * (threshold - x) - largest).exp();
                sum += self.problem.weight(reference as usize) * share;
            }
        });
        (weight > 0.0).then(|| All { log_sum: largest + sum.ln(), weight })
    }
}

/// What an anchor's positives share in [`Term::AgainstAll`].
pub(super) struct All {
    /// `ln(exp(N) + Σ w exp(−scale · u))`.
    log_sum: f32,
    /// `Σ w`.
    weight: f32,
}

impl All {
    /// Derivative of the number by a positive's `w · scale · u`, given its `scale · u`.
    pub(super) fn slope(&self, exponent: f32) -> f32 {
        self.weight.recip() - (-exponent - self.log_sum).exp()
    }
}

#[derive(Default)]
struct Sums {
    value: f32,
    count: f32,
    slope: f32,
    coupling: f32,
    gradient: Vec<f32>,
}

/// A rule's conditions on one anchor's positives.
pub(super) struct Counts {
    above: f32,
    below: f32,
}

impl Counts {
    pub(super) fn new(rule: &PositiveRule, threshold: f32, rows: &Rows, anchor: usize) -> Self {
        let mut below = rule.below;
        let mut above = f32::NEG_INFINITY;
        if rule.violating {
            below = below.min(threshold);
        }
        if let Some(value) = rule.hardest_negative {
            below = below.min(rows.field(anchor, HARDEST_NEGATIVE) + value);
        }
        if let Some(value) = rule.easiest_negative {
            above = rows.field(anchor, EASIEST_NEGATIVE) + value;
        }
        Self { above, below }
    }

    pub(super) fn hold(&self, x: f32) -> bool {
        x > self.above && x < self.below
    }
}
