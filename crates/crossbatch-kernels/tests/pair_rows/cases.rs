//! Programs and numbers to try them on, the numbers clear of the places where a condition changes.

use super::host::{Case, Point, rows};
use crate::common::numbers;
use crossbatch_kernels::program::{
    Body, Closeness, NegativeRule, PairProgram, PositiveRule, Term, TripletRule,
};

pub(crate) const CLOSENESSES: [Closeness; 4] = [
    Closeness::Dot,
    Closeness::SquaredDistance,
    Closeness::Distance,
    Closeness::CentredSquaredDistance,
];

/// A closeness that about half of the pairs exceed.
pub(crate) fn middle(closeness: Closeness) -> f32 {
    match closeness {
        Closeness::Dot => 0.0,
        Closeness::SquaredDistance | Closeness::CentredSquaredDistance => -2.0,
        Closeness::Distance => -1.4,
    }
}

fn terms() -> Vec<(Term, Term)> {
    let positives = [
        Term::Linear { offset: 0.0 },
        Term::Linear { offset: 0.3 },
        Term::Softplus { scale: 3.0 },
        Term::LogSumExp { scale: 2.0 },
        Term::Circle { scale: 8.0, relaxation: 0.25 },
        Term::AgainstNegatives { scale: 4.0 },
        Term::AgainstAll { scale: 6.0 },
    ];
    let negatives = [
        Term::Linear { offset: 0.2 },
        Term::Softplus { scale: 20.0 },
        Term::LogSumExp { scale: 30.0 },
        Term::Circle { scale: 16.0, relaxation: 0.4 },
    ];
    let mut all = vec![];
    for positive in positives {
        for negative in negatives {
            if !positive.is_against() || matches!(negative, Term::LogSumExp { .. }) {
                all.push((positive, negative));
            }
        }
    }
    all
}

fn rules(closeness: Closeness) -> Vec<(PositiveRule, NegativeRule)> {
    let (p, n) = (PositiveRule::ALL, NegativeRule::ALL);
    let middle = middle(closeness);
    vec![
        (p, n),
        (PositiveRule { violating: true, ..p }, NegativeRule { violating: true, ..n }),
        (PositiveRule { below: middle + 0.1, ..p }, NegativeRule { above: middle - 0.05, ..n }),
        (
            PositiveRule { hardest_negative: Some(-0.1), ..p },
            NegativeRule { hardest_positive: Some(-0.1), ..n },
        ),
        (
            PositiveRule { easiest_negative: Some(0.1), ..p },
            NegativeRule { easiest_positive: Some((middle + 0.1, 0.05)), ..n },
        ),
        (
            PositiveRule { violating: true, hardest_negative: Some(0.1), ..p },
            NegativeRule { below_easiest_positive: Some(0.05), ..n },
        ),
        (
            PositiveRule { below: middle + 0.4, easiest_negative: Some(-0.05), ..p },
            NegativeRule { semi_hard: Some(0.1), ..n },
        ),
        (
            PositiveRule { hardest_negative: Some(0.2), easiest_negative: Some(0.05), ..p },
            NegativeRule {
                violating: true,
                above: middle - 0.3,
                hardest_positive: Some(0.2),
                easiest_positive: Some((middle - 0.4, 0.5)),
                ..n
            },
        ),
    ]
}

/// Every term with every rule.
pub(crate) fn sides(closeness: Closeness) -> Vec<PairProgram> {
    let mut all = vec![];
    for (positive, negative) in terms() {
        for (positives, negatives) in rules(closeness) {
            let body = Body::Sides { positive, positives, negative, negatives };
            all.push(PairProgram { closeness, body });
        }
    }
    all
}

/// Every triplet rule, hard and soft.
pub(crate) fn triplets(closeness: Closeness) -> Vec<PairProgram> {
    let mut all = vec![];
    for rule in [TripletRule::All, TripletRule::SemiHard, TripletRule::Hard] {
        for soft in [false, true] {
            all.push(PairProgram { closeness, body: Body::Triplets { margin: 0.2, rule, soft } });
        }
    }
    all
}

/// Rows of squared length near 1.
fn embeddings(count: usize, dim: usize, seed: u64) -> Vec<f64> {
    let scale = (3.0 / dim as f32).sqrt();
    numbers(count * dim, seed).into_iter().map(|value| f64::from(value * scale)).collect()
}

fn whole(count: usize, below: i32, seed: u64) -> Vec<i32> {
    numbers(count, seed)
        .into_iter()
        .map(|value| ((value + 1.0) / 2.0 * below as f32) as i32 % below)
        .collect()
}

/// Takes the mean of its own numbers from each row.
pub(crate) fn centre(rows: &mut [f64], dim: usize) {
    for row in rows.chunks_mut(dim) {
        let mean = row.iter().sum::<f64>() / dim as f64;
        row.iter_mut().for_each(|value| *value -= mean);
    }
}

/// A case of `[batch, dim, filled]`; what else varies hangs on the seed.
pub(crate) fn case(
    program: PairProgram,
    [batch, dim, filled]: [usize; 3],
    seed: u64,
) -> (Case, Point) {
    let capacity = (filled + seed as usize % 3).max(1);
    let classes = 3 + filled as i32 / 30;
    let labels = whole(batch, classes, seed + 1);
    let reference_labels = whole(capacity, classes, seed + 2);
    // Half of the anchors have themselves among the references.
    let own = (0..batch)
        .map(|row| {
            let slot = (row * 7 + 3) % capacity;
            let there = row % 2 == 0 && slot < filled && labels[row] == reference_labels[slot];
            if there { slot as i32 } else { -1 }
        })
        .collect();
    let weights = (seed % 2 == 1).then(|| {
        numbers(capacity, seed + 3).into_iter().map(|value| (value * 2.0).max(0.0)).collect()
    });
    let case = Case {
        batch,
        dim,
        capacity,
        filled,
        labels,
        ids: whole(batch, 12, seed + 4),
        own,
        reference_labels,
        reference_ids: whole(capacity, 12, seed + 5),
        weights,
        drop_same_image: seed % 4 < 2,
        program,
    };
    let mut anchors = embeddings(batch, dim, seed + 6);
    if program.closeness == Closeness::CentredSquaredDistance {
        centre(&mut anchors, dim);
        anchors.iter_mut().for_each(|value| *value = f64::from(*value as f32));
    }
    let mut references = embeddings(capacity, dim, seed + 7);
    // Every ninth reference is a copy of the one before it.
    for copy in (1..capacity).filter(|index| index % 9 == 4) {
        let (before, rest) = references.split_at_mut(copy * dim);
        rest[..dim].copy_from_slice(&before[(copy - 1) * dim..]);
    }
    let middle = middle(program.closeness);
    let thresholds = numbers(batch * 2, seed + 8)
        .into_iter()
        .map(|value| f64::from(middle + 0.2 * value))
        .collect();
    let mut point = Point { anchors, references, thresholds };
    clear(&case, &mut point, |_| ());
    (case, point)
}

/// Changes references until no condition is in doubt; `follow` changes what hangs on them.
pub(crate) fn clear(case: &Case, point: &mut Point, follow: impl Fn(&mut Point)) {
    for round in 0..200 {
        follow(point);
        let mut doubtful: Vec<usize> =
            rows(case, point, point).into_iter().flat_map(|row| row.doubtful).collect();
        doubtful.sort_unstable();
        doubtful.dedup();
        if doubtful.is_empty() {
            return;
        }
        for reference in doubtful {
            let place = reference * case.dim..(reference + 1) * case.dim;
            let other = embeddings(1, case.dim, 1_000 + round * 5_003 + reference as u64);
            point.references[place].copy_from_slice(&other);
        }
    }
    panic!("no numbers found that are clear of the conditions of {:?}", case.program);
}
