//! The rows of a pair loss, streamed over the references: nothing of the size anchors x references is kept.
//!
//! The references are read in tiles. A tile's products with the anchors stay in the cache, become closenesses, then
//! (where pairs count) pulls, and are multiplied with the same tile into the gradient; a tile without a pair that counts
//! costs its products alone. Positives are few: they are found by label, and visited one by one.
//!
//! Sums belong to stretches of the references whose length hangs on sizes alone, and are folded in order, so that the
//! result is the same to the bit for any number of threads.

mod block;
mod classes;
mod gradient;
mod negatives;
mod partial;
mod positives;
mod problem;
pub mod program;
mod scalar;
mod screen;
mod sieve;
#[cfg(test)]
mod tests;
mod tile;
mod triplets;

pub use gradient::reference_gradient;
pub use problem::{Bank, Problem, Rows};
pub use screen::Screen;

use crate::lanes::Level;
use classes::Classes;
use negatives::{Fold, Stream, bounds};
use partial::{COUNT, LARGEST, MAX, MIN, PULL, Partial, SLOPE, SUM, VALUE};
use positives::Positives;
use program::{
    Body, Closeness, EASIEST_NEGATIVE, EASIEST_POSITIVE, EMPTY, FIELDS, HARDEST_NEGATIVE,
    HARDEST_POSITIVE, NEGATIVE_PAIRS, NEGATIVE_SLOPE, NEGATIVE_SUM, NEGATIVES, POSITIVE_PAIRS,
    POSITIVE_SUM, TripletRule,
};
use scalar::{is_log, pull, squared_norm};
use tile::{Packed, Widened};
use triplets::{Lists, Tally};

/// Runs a program over all pairs of anchors and references, on rayon's current pool.
///
/// Where a row meets a closeness that is no finite number, both of its numbers are NaN.
///
/// Work: `2 B M D` operations for the products, and as many for the pairs that count; the references are read once.
/// Memory beyond the result: at most about 4 MiB of sums, or `4 · 4 B D` bytes if that is more, and 8 bytes a positive pair
/// up to 8 MiB.
///
/// # Panics
///
/// If the slices' lengths do not belong together, or the program is not valid.
#[must_use]
pub fn forward(problem: &Problem<'_>) -> Rows {
    forward_at(problem, Level::detect())
}

fn forward_at(problem: &Problem<'_>, level: Level) -> Rows {
    problem.check();
    let batch = problem.batch();
    let mut rows = Rows {
        values: vec![0.0; batch * 2],
        fields: vec![0.0; batch * FIELDS],
        positive: vec![0.0; batch * problem.dim],
        negative: vec![0.0; batch * problem.dim],
    };
    let classes = Classes::new(problem);
    let positives = Positives::new(problem, &classes, level);
    positives.statistics(&mut rows);
    let (total, tally, lists) = stream(problem, &classes, &positives, &rows, level);
    finish_negatives(problem, &classes, &total, level, &mut rows);
    if let (Body::Triplets { .. }, Some(lists)) = (problem.program.body, &lists) {
        add_triplet_positives(problem, lists, &tally, &mut rows);
    }
    positives.fold(&mut rows);
    for anchor in 0..batch {
        let sum = rows.field(anchor, POSITIVE_SUM) + rows.field(anchor, NEGATIVE_SUM);
        if !sum.is_finite() {
            rows.values[anchor * 2..][..2].fill(f32::NAN);
        }
    }
    rows
}

/// The sums over all negatives; `rows` has the positives' statistics.
fn stream(
    problem: &Problem<'_>,
    classes: &Classes,
    positives: &Positives<'_>,
    rows: &Rows,
    level: Level,
) -> (Partial, Tally, Option<Lists>) {
    let batch = problem.batch();
    let packed = Packed::new(problem.anchors, problem.dim, level);
    let lists = match problem.program.body {
        Body::Triplets { margin, rule, soft } => Some(Lists::new(positives, rule, margin, soft)),
        Body::Sides { negatives, .. } if negatives.semi_hard.is_some() => {
            Some(Lists::new(positives, TripletRule::All, 0.0, false))
        }
        Body::Sides { .. } => None,
    };
    let fold = match (problem.program.body, &lists) {
        (Body::Sides { negative, .. }, _) => Fold::Side(negative),
        (Body::Triplets { .. }, Some(lists)) => Fold::Triplets(lists),
        (Body::Triplets { .. }, None) => unreachable!("triplets have lists"),
    };
    let mut above = vec![f32::INFINITY; packed.lanes];
    let mut below = vec![f32::INFINITY; packed.lanes];
    for anchor in 0..batch {
        (above[anchor], below[anchor]) = negative_bounds(problem, rows, lists.as_ref(), anchor);
    }
    let bounded = below.iter().any(|below| *below < f32::INFINITY);
    let semi_hard = match problem.program.body {
        Body::Sides { negatives, .. } => negatives.semi_hard.zip(lists.as_ref()),
        Body::Triplets { .. } => None,
    };
    let lane = |value: &dyn Fn(usize) -> f32| {
        (0..packed.lanes).map(|i| if i < batch { value(i) } else { 0.0 }).collect::<Vec<f32>>()
    };
    let own = (0..batch)
        .any(|anchor| strange_own(problem, anchor))
        .then(|| (0..packed.lanes).map(|i| if i < batch { problem.own(i) } else { -1 }).collect());
    let stream = Stream {
        problem,
        classes,
        packed: &packed,
        level,
        fold,
        above,
        below: bounded.then_some(below),
        semi_hard,
        thresholds: lane(&|i| problem.negative_threshold(i)),
        norms: lane(&|i| squared_norm(problem.program.closeness, problem.anchor(i))),
        positive_sums: (0..batch).map(|i| rows.field(i, POSITIVE_SUM)).collect(),
        labels: (0..packed.lanes).map(|i| if i < batch { problem.label(i) } else { -1 }).collect(),
        own,
    };
    let (total, tally) = stream.run();
    (total, tally, lists)
}

/// Outside of these a negative of the anchor does not count.
fn negative_bounds(
    problem: &Problem<'_>,
    rows: &Rows,
    lists: Option<&Lists>,
    anchor: usize,
) -> (f32, f32) {
    match (problem.program.body, lists) {
        (Body::Triplets { .. }, Some(lists)) => lists.bounds(anchor),
        (Body::Triplets { .. }, None) => unreachable!("triplets have lists"),
        (Body::Sides { negatives, .. }, _) => bounds(
            &negatives,
            problem.negative_threshold(anchor),
            rows.field(anchor, POSITIVE_PAIRS) as usize,
            rows.field(anchor, HARDEST_POSITIVE),
            rows.field(anchor, EASIEST_POSITIVE),
        ),
    }
}

/// Whether an anchor's own reference carries another label, so that labels do not keep it from the negatives.
fn strange_own(problem: &Problem<'_>, anchor: usize) -> bool {
    usize::try_from(problem.own(anchor))
        .is_ok_and(|own| own < problem.filled && problem.labels[own] != problem.label(anchor))
}

/// The negative side's numbers, fields and gradients from its sums.
fn finish_negatives(
    problem: &Problem<'_>,
    classes: &Classes,
    total: &Partial,
    level: Level,
    rows: &mut Rows,
) {
    let dim = problem.dim;
    let stride = dim.next_multiple_of(level.lanes());
    let log = matches!(problem.program.body, Body::Sides { negative, .. } if is_log(negative));
    for anchor in 0..problem.batch() {
        let sum = |column| total.column(column)[anchor];
        let (value, share) = match (log, sum(VALUE)) {
            (false, value) => (value, 1.0),
            (true, _) if sum(COUNT) == 0.0 => (EMPTY, 0.0),
            (true, value) => (sum(LARGEST) + value.ln(), 1.0 / value),
        };
        rows.values[anchor * 2 + 1] = value;

        let mut pairs = classes.live - classes.members[classes.of_anchor[anchor] as usize].len();
        if strange_own(problem, anchor) && problem.weight(problem.own(anchor) as usize) > 0.0 {
            pairs -= 1;
        }
        for (column, value) in [
            (NEGATIVES, sum(COUNT)),
            (NEGATIVE_PAIRS, pairs as f32),
            (NEGATIVE_SUM, sum(SUM)),
            (HARDEST_NEGATIVE, sum(MAX)),
            (EASIEST_NEGATIVE, sum(MIN)),
            // The violation falls with the threshold.
            (NEGATIVE_SLOPE, -share * sum(SLOPE)),
        ] {
            *rows.field_mut(anchor, column) = value;
        }
        if total.gradient.is_empty() {
            continue;
        }
        let pulls = if problem.program.closeness == Closeness::Dot { 0.0 } else { sum(PULL) };
        let sums = &total.gradient[anchor * stride..][..dim];
        let out = &mut rows.negative[anchor * dim..][..dim];
        for ((out, sum), number) in out.iter_mut().zip(sums).zip(problem.anchor(anchor)) {
            *out = share * (sum - pulls * number);
        }
    }
}

/// The positives' share of the triplets' gradient.
fn add_triplet_positives(problem: &Problem<'_>, lists: &Lists, tally: &Tally, rows: &mut Rows) {
    let (dim, kind) = (problem.dim, problem.program.closeness);
    let mut widened = Widened::default();
    for anchor in 0..problem.batch() {
        let own = problem.anchor(anchor);
        let out = &mut rows.negative[anchor * dim..][..dim];
        for (reference, x, slope) in lists.slopes(anchor, tally) {
            let pull = -pull(kind, x, slope);
            if pull == 0.0 {
                continue;
            }
            let from = if kind == Closeness::Dot { 0.0 } else { 1.0 };
            let row = widened.row(problem.references, dim, reference as usize);
            for ((out, number), own) in out.iter_mut().zip(row).zip(own) {
                *out += pull * (number - from * own);
            }
        }
    }
}
