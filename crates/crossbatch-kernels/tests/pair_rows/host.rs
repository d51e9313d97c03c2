//! The rows in plain f64 loops, straight from the description of a program.

use crossbatch_kernels::program::{
    Body, Closeness, EMPTY, FIELDS, NONE, NegativeRule, PairProgram, PositiveRule, Term,
    TripletRule,
};

/// Everything but the numbers that have a gradient.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) batch: usize,
    pub(crate) dim: usize,
    pub(crate) capacity: usize,
    pub(crate) filled: usize,
    pub(crate) labels: Vec<i32>,
    pub(crate) ids: Vec<i32>,
    pub(crate) own: Vec<i32>,
    pub(crate) reference_labels: Vec<i32>,
    pub(crate) reference_ids: Vec<i32>,
    pub(crate) weights: Option<Vec<f32>>,
    pub(crate) drop_same_image: bool,
    pub(crate) program: PairProgram,
}

/// The numbers that have a gradient: `[B, D]`, `[C, D]`, `[B, 2]`.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    pub(crate) anchors: Vec<f64>,
    pub(crate) references: Vec<f64>,
    pub(crate) thresholds: Vec<f64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) positive: f64,
    pub(crate) negative: f64,
    pub(crate) fields: [f64; FIELDS],
    /// References whose closeness is within a hair of where a condition changes, or no distance.
    pub(crate) doubtful: Vec<usize>,
}

/// How near is doubtful.
const HAIR: f64 = 1e-5;

/// Distances below this lose their digits when they are rooted from a difference of squares.
const NEAR: f64 = 0.02;

#[derive(Clone, Copy)]
struct Pair {
    reference: usize,
    x: f64,
    /// The closeness at the point where held factors are taken.
    held: f64,
    weight: f64,
}

pub(crate) fn closeness(kind: Closeness, anchor: &[f64], reference: &[f64]) -> f64 {
    let pairs = || anchor.iter().zip(reference);
    let squared = |shift: f64| pairs().map(|(a, r)| (a - (r - shift)).powi(2)).sum::<f64>();
    match kind {
        Closeness::Dot => pairs().map(|(a, r)| a * r).sum(),
        Closeness::SquaredDistance => -squared(0.0),
        Closeness::Distance => -squared(0.0).sqrt(),
        Closeness::CentredSquaredDistance => {
            -squared(reference.iter().sum::<f64>() / reference.len() as f64)
        }
    }
}

/// All rows at `point`; what a program holds constant is taken at `held`.
pub(crate) fn rows(case: &Case, point: &Point, held: &Point) -> Vec<Row> {
    (0..case.batch).map(|row| one_row(case, row, point, held)).collect()
}

fn one_row(case: &Case, row: usize, point: &Point, held: &Point) -> Row {
    let [mut positives, mut negatives] = [vec![], vec![]];
    for reference in 0..case.filled {
        let weight = case.weights.as_ref().map_or(1.0, |weights| f64::from(weights[reference]));
        if case.own[row] == reference as i32 || weight == 0.0 {
            continue;
        }
        let at = |point: &Point| {
            let part = |rows: &[f64], index: usize| {
                rows[index * case.dim..(index + 1) * case.dim].to_vec()
            };
            let (anchor, reference) =
                (part(&point.anchors, row), part(&point.references, reference));
            closeness(case.program.closeness, &anchor, &reference)
        };
        let pair = Pair { reference, x: at(point), held: at(held), weight };
        if case.labels[row] != case.reference_labels[reference] {
            negatives.push(pair);
        } else if !case.drop_same_image || case.ids[row] != case.reference_ids[reference] {
            positives.push(pair);
        }
    }

    let none = f64::from(NONE);
    let largest = |pairs: &[Pair]| pairs.iter().fold(-none, |most, pair| most.max(pair.x));
    let smallest = |pairs: &[Pair]| pairs.iter().fold(none, |least, pair| least.min(pair.x));
    let sum = |pairs: &[Pair]| pairs.iter().map(|pair| pair.x).sum::<f64>();
    let mut found = Row { positive: 0.0, negative: 0.0, fields: [0.0; FIELDS], doubtful: vec![] };
    found.fields[2..10].copy_from_slice(&[
        positives.len() as f64,
        negatives.len() as f64,
        sum(&positives),
        sum(&negatives),
        smallest(&positives),
        largest(&positives),
        largest(&negatives),
        smallest(&negatives),
    ]);
    let mut doubtful = vec![];
    if case.program.closeness == Closeness::Distance {
        let all = positives.iter().chain(&negatives);
        doubtful.extend(all.filter(|pair| pair.x > -NEAR).map(|pair| pair.reference));
    }
    match case.program.body {
        Body::Sides { positive, positives: rule, negative, negatives: negative_rule } => {
            let [t, held_t] = [point, held].map(|point| point.thresholds[2 * row + 1]);
            let selected =
                select_negatives(&negative_rule, &negatives, &positives, t, &mut doubtful);
            let violations: Vec<_> = selected
                .iter()
                .map(|pair| Violation {
                    u: pair.x - t,
                    held: pair.held - held_t,
                    weight: pair.weight,
                })
                .collect();
            let side = fold(negative, &violations, None);
            found.negative = side.number;
            found.fields[1] = violations.len() as f64;
            found.fields[11] = -side.slope;

            let [t, held_t] = [point, held].map(|point| point.thresholds[2 * row]);
            let selected = select_positives(&rule, &positives, &negatives, t, &mut doubtful);
            let violations: Vec<_> = selected
                .iter()
                .map(|pair| Violation {
                    u: t - pair.x,
                    held: held_t - pair.held,
                    weight: pair.weight,
                })
                .collect();
            let side = fold(positive, &violations, Some(found.negative));
            found.positive = side.number;
            found.fields[0] = violations.len() as f64;
            found.fields[10] = side.slope;
            found.fields[12] = side.coupling;
        }
        Body::Triplets { margin, rule, soft } => {
            let margin = f64::from(margin);
            for p in &positives {
                for n in &negatives {
                    let bounds = match rule {
                        TripletRule::All => vec![],
                        TripletRule::SemiHard => vec![p.x - margin, p.x],
                        TripletRule::Hard => vec![p.x],
                    };
                    let counts = match rule {
                        TripletRule::All => true,
                        TripletRule::SemiHard => p.x - margin < n.x && n.x < p.x,
                        TripletRule::Hard => n.x > p.x,
                    };
                    let violation = n.x - p.x + margin;
                    if bounds.iter().any(|bound| (n.x - bound).abs() < HAIR)
                        || !soft && violation.abs() < HAIR
                    {
                        doubtful.push(n.reference);
                    }
                    if counts && (soft || violation > 0.0) {
                        let value = if soft { violation.exp().ln_1p() } else { violation };
                        found.negative += p.weight * n.weight * value;
                        found.fields[1] += 1.0;
                    }
                }
            }
        }
    }
    found.doubtful = doubtful;
    found
}

/// Keeps the pairs for which all conditions `(x > bound)` and `(x < bound)` hold.
fn select(pairs: &[Pair], above: &[f64], below: &[f64], doubtful: &mut Vec<usize>) -> Vec<Pair> {
    let near = |pair: &&Pair| above.iter().chain(below).any(|bound| (pair.x - bound).abs() < HAIR);
    doubtful.extend(pairs.iter().filter(near).map(|pair| pair.reference));
    let counts = |pair: &&Pair| {
        above.iter().all(|bound| pair.x > *bound) && below.iter().all(|bound| pair.x < *bound)
    };
    pairs.iter().filter(counts).copied().collect()
}

fn extremes(pairs: &[Pair]) -> Option<(f64, f64)> {
    let least = pairs.iter().map(|pair| pair.x).reduce(f64::min)?;
    Some((least, pairs.iter().map(|pair| pair.x).reduce(f64::max)?))
}

fn select_positives(
    rule: &PositiveRule,
    positives: &[Pair],
    negatives: &[Pair],
    threshold: f64,
    doubtful: &mut Vec<usize>,
) -> Vec<Pair> {
    let (mut above, mut below) = (vec![], vec![f64::from(rule.below)]);
    if rule.violating {
        below.push(threshold);
    }
    let extremes = extremes(negatives);
    if let Some(value) = rule.hardest_negative {
        let Some((_, hardest)) = extremes else { return vec![] };
        below.push(hardest + f64::from(value));
    }
    if let Some(value) = rule.easiest_negative {
        let Some((easiest, _)) = extremes else { return vec![] };
        above.push(easiest + f64::from(value));
    }
    select(positives, &above, &below, doubtful)
}

fn select_negatives(
    rule: &NegativeRule,
    negatives: &[Pair],
    positives: &[Pair],
    threshold: f64,
    doubtful: &mut Vec<usize>,
) -> Vec<Pair> {
    let (mut above, mut below) = (vec![f64::from(rule.above)], vec![]);
    if rule.violating {
        above.push(threshold);
    }
    let extremes = extremes(positives);
    if let Some(value) = rule.hardest_positive {
        let Some((hardest, _)) = extremes else { return vec![] };
        above.push(hardest - f64::from(value));
    }
    if let Some((floor, value)) = rule.easiest_positive {
        let easiest = extremes.map_or(f64::NEG_INFINITY, |(_, easiest)| easiest);
        above.push(easiest.max(f64::from(floor)) - f64::from(value));
    }
    if let Some(value) = rule.below_easiest_positive {
        let Some((_, easiest)) = extremes else { return vec![] };
        below.push(easiest - f64::from(value));
    }
    let mut selected = select(negatives, &above, &below, doubtful);
    if let Some(value) = rule.semi_hard {
        let value = f64::from(value);
        selected.retain(|pair| {
            for p in positives {
                if (pair.x - p.x).abs() < HAIR || (pair.x - p.x + value).abs() < HAIR {
                    doubtful.push(pair.reference);
                }
            }
            positives.iter().any(|p| p.x - value < pair.x && pair.x < p.x)
        });
    }
    selected
}

struct Violation {
    u: f64,
    held: f64,
    weight: f64,
}

struct Side {
    number: f64,
    /// The derivative by the sum of the violations.
    slope: f64,
    coupling: f64,
}

fn fold(term: Term, pairs: &[Violation], against: Option<f64>) -> Side {
    let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
    let sum = |value: &dyn Fn(&Violation) -> f64| {
        pairs.iter().map(|pair| pair.weight * value(pair)).sum::<f64>()
    };
    let softplus = |z: f64| if z > 30.0 { z } else { z.exp().ln_1p() };
    let log_sum = |factor: &dyn Fn(&Violation) -> f64| {
        let most = pairs.iter().map(|pair| factor(pair) * pair.u).fold(f64::MIN, f64::max);
        let part = |pair: &Violation| (factor(pair) * pair.u - most).exp();
        let total = sum(&part);
        let slope = sum(&|pair| part(pair) * factor(pair)) / total;
        let number = most + total.ln();
        if pairs.is_empty() { (f64::from(EMPTY), 0.0) } else { (number, slope) }
    };
    let mut coupling = 0.0;
    let (number, slope) = match term {
        Term::Linear { offset } => (sum(&|pair| pair.u + f64::from(offset)), sum(&|_| 1.0)),
        Term::Softplus { scale } => {
            let scale = f64::from(scale);
            (sum(&|pair| softplus(scale * pair.u)), sum(&|pair| scale * sigmoid(scale * pair.u)))
        }
        Term::LogSumExp { scale } => log_sum(&|_| f64::from(scale)),
        Term::Circle { scale, relaxation } => {
            let a = |pair: &Violation| (pair.held + 2.0 * f64::from(relaxation)).max(0.0);
            log_sum(&|pair| f64::from(scale) * a(pair))
        }
        Term::AgainstNegatives { scale } => {
            let scale = f64::from(scale);
            let z = |pair: &Violation| against.expect("a negative side") + scale * pair.u;
            coupling = sum(&|pair| sigmoid(z(pair)));
            (sum(&|pair| softplus(z(pair))), scale * coupling)
        }
        Term::AgainstAll { .. } if pairs.is_empty() => (0.0, 0.0),
        Term::AgainstAll { scale } => {
            let (scale, against) = (f64::from(scale), against.expect("a negative side"));
            let most = pairs.iter().map(|pair| -scale * pair.u).fold(against, f64::max);
            let own = sum(&|pair| (-scale * pair.u - most).exp());
            let all = own + (against - most).exp();
            coupling = (against - most).exp() / all;
            let mean = sum(&|pair| scale * pair.u) / sum(&|_| 1.0);
            (most + all.ln() + mean, scale - scale * own / all)
        }
    };
    Side { number, slope, coupling }
}
