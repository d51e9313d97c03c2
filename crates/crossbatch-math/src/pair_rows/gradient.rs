//! The gradient of the references, for a batch compared with itself: every weight is final once the rows are known.

use super::classes::Classes;
use super::negatives::bounds;
use super::positives::{All, Counts, Positives};
use super::problem::{Problem, Rows};
use super::program::{Body, Closeness, EASIEST_POSITIVE, HARDEST_POSITIVE, POSITIVE_PAIRS, Term};
use super::scalar::{closeness, is_log, pull, squared_norm, term};
use super::stream;
use super::tile::{Widened, dot};
use crate::lanes::{Arithmetic, Level, for_lanes};
use rayon::prelude::*;

/// The gradient of the references, `[filled, dim]`, where `upstream` `[B, 2]` is the gradient of the rows' numbers, the
/// coupling already added to the negative side's, and `rows` is what [`forward`](super::forward) gave (its gradients
/// are not read).
///
/// Work: `2 B M D` operations for the products and `4 D` for each pair that counts, on rayon's current pool.
///
/// # Panics
///
/// If the slices' lengths do not belong together.
#[must_use]
pub fn reference_gradient(problem: &Problem<'_>, upstream: &[f32], rows: &Rows) -> Vec<f32> {
    problem.check();
    assert_eq!(upstream.len(), problem.batch() * 2, "upstream gradients are two an anchor");
    let level = Level::detect();
    let classes = Classes::new(problem);
    let norms = (0..problem.batch())
        .map(|anchor| squared_norm(problem.program.closeness, problem.anchor(anchor)))
        .collect();
    let alls = match problem.program.body {
        Body::Sides { positive: positive @ Term::AgainstAll { .. }, positives: rule, .. } => {
            let positives = Positives::new(problem, &classes, level);
            let all = |anchor| positives.all(anchor, rows, positive, &rule);
            (0..problem.batch()).map(all).collect()
        }
        _ => Vec::new(),
    };
    let triplets = slopes(problem, &classes, rows, level);
    let pairs = Pairs { problem, upstream, rows, norms, triplets, alls };
    let mut out = vec![0.0; problem.filled * problem.dim];
    out.par_chunks_mut(problem.dim).enumerate().with_min_len(8).for_each(|(reference, out)| {
        let pairs = &pairs;
        for_lanes!(level, of_reference(pairs: &Pairs<'_>, reference: usize, out: &mut [f32]));
    });
    out
}

/// Of triplets, each positive's slope by anchor and reference; each anchor's negatives are read off its positives.
struct Triplets {
    lists: super::Lists,
    /// By anchor, sorted by reference.
    slopes: Vec<Vec<(u32, f32)>>,
}

fn slopes(problem: &Problem<'_>, classes: &Classes, rows: &Rows, level: Level) -> Option<Triplets> {
    let needs_lists = match problem.program.body {
        Body::Triplets { .. } => true,
        Body::Sides { negatives, .. } => negatives.semi_hard.is_some(),
    };
    if !needs_lists {
        return None;
    }
    let positives = Positives::new(problem, classes, level);
    let (_, tally, lists) = stream(problem, classes, &positives, rows, level);
    let lists = lists?;
    let slopes = (0..problem.batch())
        .map(|anchor| {
            let mut slopes: Vec<(u32, f32)> = lists
                .slopes(anchor, &tally)
                .map(|(reference, _, slope)| (reference, slope))
                .collect();
            slopes.sort_by_key(|(reference, _)| *reference);
            slopes
        })
        .collect();
    Some(Triplets { lists, slopes })
}

struct Pairs<'a> {
    problem: &'a Problem<'a>,
    upstream: &'a [f32],
    rows: &'a Rows,
    norms: Vec<f32>,
    triplets: Option<Triplets>,
    /// By anchor, for [`Term::AgainstAll`].
    alls: Vec<Option<All>>,
}

#[inline(always)]
fn of_reference<L: Arithmetic>(pairs: &Pairs<'_>, reference: usize, out: &mut [f32]) {
    let problem = pairs.problem;
    let kind = problem.program.closeness;
    let weight = problem.weight(reference);
    if !problem.counts(reference) {
        return;
    }
    let mut widened = Widened::default();
    let row = widened.row(problem.references, problem.dim, reference);
    let norm = squared_norm(kind, row);
    let mut pulls = 0.0;
    for anchor in 0..problem.batch() {
        let same = problem.label(anchor) == problem.labels[reference];
        let is_own = problem.own(anchor) == reference as i32;
        let dropped =
            same && problem.drop_same_image && problem.ids[reference] == problem.id(anchor);
        if is_own || dropped {
            continue;
        }
        let product = dot::<L>(problem.anchor(anchor), row);
        let x = closeness(kind, product, pairs.norms[anchor], norm);
        let slope = if same {
            pairs.positive(anchor, reference, x, weight)
        } else {
            pairs.negative(anchor, x, weight)
        };
        if slope == 0.0 {
            continue;
        }
        let pull = pull(kind, x, slope);
        pulls += pull;
        for (out, number) in out.iter_mut().zip(problem.anchor(anchor)) {
            *out += pull * number;
        }
    }
    if kind != Closeness::Dot {
        for (out, number) in out.iter_mut().zip(row) {
            *out -= pulls * number;
        }
    }
}

impl Pairs<'_> {
    /// Derivative of the whole by the closeness of a positive.
    fn positive(&self, anchor: usize, reference: usize, x: f32, weight: f32) -> f32 {
        let [up_positive, up_negative] = [self.upstream[anchor * 2], self.upstream[anchor * 2 + 1]];
        let Body::Sides { positive, positives, .. } = self.problem.program.body else {
            let Some(triplets) = &self.triplets else { return 0.0 };
            let slopes = &triplets.slopes[anchor];
            let found = slopes.binary_search_by_key(&(reference as u32), |(at, _)| *at);
            return found.map_or(0.0, |at| -up_negative * slopes[at].1);
        };
        let threshold = self.problem.positive_threshold(anchor);
        if !Counts::new(&positives, threshold, self.rows, anchor).hold(x) {
            return 0.0;
        }
        let [value, negatives] = [self.rows.values[anchor * 2], self.rows.values[anchor * 2 + 1]];
        let (power, mut slope) = term(positive, threshold - x, negatives);
        if is_log(positive) {
            slope *= (power - value).exp();
        }
        if let Some(Some(all)) = self.alls.get(anchor) {
            slope *= all.slope(power);
        }
        -up_positive * weight * slope
    }

    /// Derivative of the whole by the closeness of a negative.
    fn negative(&self, anchor: usize, x: f32, weight: f32) -> f32 {
        let up = self.upstream[anchor * 2 + 1];
        let (negative, rule) = match (self.problem.program.body, &self.triplets) {
            (Body::Sides { negative, negatives, .. }, _) => (negative, negatives),
            (Body::Triplets { .. }, Some(triplets)) => {
                let (_, slope, _) = triplets.lists.meet(anchor, x, weight, None);
                return up * slope;
            }
            (Body::Triplets { .. }, None) => return 0.0,
        };
        let threshold = self.problem.negative_threshold(anchor);
        let (above, below) = bounds(
            &rule,
            threshold,
            self.rows.field(anchor, POSITIVE_PAIRS) as usize,
            self.rows.field(anchor, HARDEST_POSITIVE),
            self.rows.field(anchor, EASIEST_POSITIVE),
        );
        if !(x > above && x < below) {
            return 0.0;
        }
        if let (Some(value), Some(triplets)) = (rule.semi_hard, &self.triplets)
            && !triplets.lists.has_within(anchor, x, value)
        {
            return 0.0;
        }
        let (power, mut slope) = term(negative, x - threshold, 0.0);
        if is_log(negative) {
            slope *= (power - self.rows.values[anchor * 2 + 1]).exp();
        }
        up * weight * slope
    }
}
