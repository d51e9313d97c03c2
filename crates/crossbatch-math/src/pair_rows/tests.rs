//! The stream against the same sums written out in f64.

use super::program::*;
use super::*;
use half::{bf16, f16};

/// Numbers that look random, from -1 to 1.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Unit rows.
fn rows(count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let mut next = noise(seed);
    let mut values: Vec<f32> = (0..count * dim).map(|_| next()).collect();
    for row in values.chunks_exact_mut(dim) {
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.iter_mut().for_each(|x| *x /= norm);
    }
    values
}

struct Case {
    dim: usize,
    anchors: Vec<f32>,
    codes: Vec<i32>,
    thresholds: Vec<f32>,
    references: Vec<f32>,
    labels: Vec<i32>,
    ids: Vec<i32>,
    weights: Option<Vec<f32>>,
    drop_same_image: bool,
}

impl Case {
    fn new(batch: usize, filled: usize, dim: usize, classes: i32, seed: u64) -> Self {
        let mut next = noise(seed + 7);
        let references = rows(filled, dim, seed);
        let mut anchors = rows(batch, dim, seed + 1);
        let labels: Vec<i32> = (0..filled).map(|j| (j as i32 * 7 + 3) % classes).collect();
        let mut codes = Vec::new();
        for i in 0..batch {
            let own = if i % 3 == 0 && i < filled { i as i32 } else { -1 };
            let label = if own >= 0 { labels[i] } else { i as i32 % (classes + 1) };
            codes.extend([label, i as i32 % 5, own]);
            // Some anchors are a reference, to the bit.
            if i % 4 == 1 && i < filled {
                anchors[i * dim..][..dim].copy_from_slice(&references[i * dim..][..dim]);
            }
        }
        Self {
            dim,
            anchors,
            codes,
            thresholds: (0..batch * 2).map(|_| 0.2 * next()).collect(),
            references,
            labels,
            ids: (0..filled).map(|j| j as i32 % 5).collect(),
            weights: None,
            drop_same_image: false,
        }
    }

    /// Takes each anchor's mean off its numbers.
    fn centre(&mut self) {
        for row in self.anchors.chunks_exact_mut(self.dim) {
            let mean = row.iter().sum::<f32>() / row.len() as f32;
            row.iter_mut().for_each(|x| *x -= mean);
        }
    }

    fn problem(&self, program: PairProgram) -> Problem<'_> {
        Problem {
            program,
            dim: self.dim,
            anchors: &self.anchors,
            codes: &self.codes,
            thresholds: &self.thresholds,
            references: Bank::F32(&self.references),
            labels: &self.labels,
            ids: &self.ids,
            weights: self.weights.as_deref(),
            filled: self.labels.len(),
            drop_same_image: self.drop_same_image,
            screen: None,
        }
    }

    fn screen(&self) -> Screen {
        let mut screen = Screen::new(self.labels.len(), self.dim);
        for (slot, row) in self.references.chunks_exact(self.dim).enumerate() {
            screen.write(slot, row, None);
        }
        screen
    }

    fn closeness(&self, kind: Closeness, anchor: usize, reference: usize) -> f64 {
        let a = &self.anchors[anchor * self.dim..][..self.dim];
        let r = &self.references[reference * self.dim..][..self.dim];
        let mean = |row: &[f32]| {
            if kind == Closeness::CentredSquaredDistance {
                row.iter().map(|x| f64::from(*x)).sum::<f64>() / row.len() as f64
            } else {
                0.0
            }
        };
        let (mean_a, mean_r) = (mean(a), mean(r));
        let pairs =
            || a.iter().zip(r).map(|(a, r)| (f64::from(*a) - mean_a, f64::from(*r) - mean_r));
        let squared: f64 = pairs().map(|(a, r)| (a - r) * (a - r)).sum();
        match kind {
            Closeness::Dot => pairs().map(|(a, r)| a * r).sum(),
            Closeness::Distance => -squared.sqrt(),
            _ => -squared,
        }
    }
}

/// Values, counts, and the derivative of each number by each pair's closeness, from the words of `program`.
struct Expected {
    values: [f64; 2],
    counts: [f64; 2],
    /// By reference: of the positive number (the negative one held), and of the negative one.
    slopes: Vec<[f64; 2]>,
    coupling: f64,
}

fn expected(case: &Case, program: PairProgram, anchor: usize) -> Expected {
    let filled = case.labels.len();
    let x: Vec<f64> = (0..filled).map(|j| case.closeness(program.closeness, anchor, j)).collect();
    let weight = |j: usize| case.weights.as_ref().map_or(1.0, |w| f64::from(w[j]));
    let [label, id, own] = [0, 1, 2].map(|c| case.codes[anchor * 3 + c]);
    let live = |j: &usize| own != *j as i32 && weight(*j) > 0.0;
    let positives: Vec<usize> = (0..filled)
        .filter(live)
        .filter(|j| case.labels[*j] == label && !(case.drop_same_image && case.ids[*j] == id))
        .collect();
    let negatives: Vec<usize> =
        (0..filled).filter(live).filter(|j| case.labels[*j] != label).collect();
    let max = |of: &[usize]| of.iter().map(|j| x[*j]).fold(f64::from(-NONE), f64::max);
    let min = |of: &[usize]| of.iter().map(|j| x[*j]).fold(f64::from(NONE), f64::min);
    let mut out = Expected {
        values: [0.0; 2],
        counts: [0.0; 2],
        slopes: vec![[0.0; 2]; filled],
        coupling: 0.0,
    };
    let (t_p, t_n) =
        (f64::from(case.thresholds[anchor * 2]), f64::from(case.thresholds[anchor * 2 + 1]));
    match program.body {
        Body::Triplets { margin, rule, soft } => {
            let margin = f64::from(margin);
            for &p in &positives {
                for &n in &negatives {
                    let holds = match rule {
                        TripletRule::All => true,
                        TripletRule::SemiHard => x[p] - margin < x[n] && x[n] < x[p],
                        TripletRule::Hard => x[n] > x[p],
                    };
                    let z = x[n] - x[p] + margin;
                    if !holds || (!soft && z <= 0.0) {
                        continue;
                    }
                    let w = weight(p) * weight(n);
                    let (value, slope) = if soft {
                        ((1.0 + z.exp()).ln(), 1.0 / (1.0 + (-z).exp()))
                    } else {
                        (z, 1.0)
                    };
                    out.values[1] += w * value;
                    out.counts[1] += 1.0;
                    out.slopes[n][1] += w * slope;
                    out.slopes[p][1] -= w * slope;
                }
            }
        }
        Body::Sides { positive, positives: p_rule, negative, negatives: n_rule } => {
            let chosen_n: Vec<usize> = negatives
                .iter()
                .copied()
                .filter(|&j| {
                    let x = x[j];
                    let none = positives.is_empty();
                    !(n_rule.violating && x <= t_n)
                        && x > f64::from(n_rule.above)
                        && n_rule
                            .hardest_positive
                            .is_none_or(|v| !none && x > min(&positives) - f64::from(v))
                        && n_rule.easiest_positive.is_none_or(|(floor, v)| {
                            x > max(&positives).max(f64::from(floor)) - f64::from(v)
                        })
                        && n_rule
                            .below_easiest_positive
                            .is_none_or(|v| !none && x < max(&positives) - f64::from(v))
                        && n_rule.semi_hard.is_none_or(|v| {
                            positives.iter().any(|p| {
                                self::within(x, case.closeness(program.closeness, anchor, *p), v)
                            })
                        })
                })
                .collect();
            let chosen_p: Vec<usize> = positives
                .iter()
                .copied()
                .filter(|&j| {
                    let x = x[j];
                    !(p_rule.violating && x >= t_p)
                        && x < f64::from(p_rule.below)
                        && p_rule
                            .hardest_negative
                            .is_none_or(|v| x < max(&negatives) + f64::from(v))
                        && p_rule
                            .easiest_negative
                            .is_none_or(|v| x > min(&negatives) + f64::from(v))
                })
                .collect();
            let side = |chosen: &[usize], kind: Term, sign: f64, against: f64| {
                let u = |j: usize| if sign > 0.0 { x[j] - t_n } else { t_p - x[j] };
                let mut slopes = vec![0.0; filled];
                let mut value = 0.0;
                let mut coupling = 0.0;
                match kind {
                    Term::Linear { offset } => {
                        for &j in chosen {
                            value += weight(j) * (u(j) + f64::from(offset));
                            slopes[j] = sign * weight(j);
                        }
                    }
                    Term::Softplus { scale } | Term::AgainstNegatives { scale } => {
                        for &j in chosen {
                            let e = against + f64::from(scale) * u(j);
                            value += weight(j) * (e.max(0.0) + (-e.abs()).exp().ln_1p());
                            let sigmoid = 1.0 / (1.0 + (-e).exp());
                            slopes[j] = sign * weight(j) * f64::from(scale) * sigmoid;
                            coupling += weight(j) * sigmoid;
                        }
                    }
                    Term::LogSumExp { .. } | Term::Circle { .. } => {
                        let pace = |j: usize| match kind {
                            Term::Circle { scale, relaxation } => {
                                f64::from(scale) * (u(j) + 2.0 * f64::from(relaxation)).max(0.0)
                            }
                            Term::LogSumExp { scale } => f64::from(scale),
                            _ => unreachable!(),
                        };
                        let total: f64 =
                            chosen.iter().map(|&j| weight(j) * (pace(j) * u(j)).exp()).sum();
                        value = if chosen.is_empty() { f64::from(EMPTY) } else { total.ln() };
                        for &j in chosen {
                            slopes[j] = sign * pace(j) * weight(j) * (pace(j) * u(j)).exp() / total;
                        }
                    }
                    Term::AgainstAll { .. } if chosen.is_empty() => {}
                    Term::AgainstAll { scale } => {
                        let scale = f64::from(scale);
                        let weights: f64 = chosen.iter().map(|&j| weight(j)).sum();
                        let exp = |j: usize| weight(j) * (-scale * u(j)).exp();
                        let total = against.exp() + chosen.iter().map(|&j| exp(j)).sum::<f64>();
                        let mean = chosen.iter().map(|&j| weight(j) * scale * u(j)).sum::<f64>();
                        value = total.ln() + mean / weights;
                        coupling = against.exp() / total;
                        for &j in chosen {
                            slopes[j] = sign * scale * (weight(j) / weights - exp(j) / total);
                        }
                    }
                }
                if !kind.is_against() {
                    coupling = 0.0;
                }
                (value, slopes, coupling)
            };
            let (value_n, slopes_n, _) = side(&chosen_n, negative, 1.0, 0.0);
            let against = if positive.is_against() { value_n } else { 0.0 };
            let (value_p, slopes_p, coupling) = side(&chosen_p, positive, -1.0, against);
            out.values = [value_p, value_n];
            out.counts = [chosen_p.len() as f64, chosen_n.len() as f64];
            out.slopes = slopes_p.into_iter().zip(slopes_n).map(|(p, n)| [p, n]).collect();
            out.coupling = coupling;
        }
    }
    out
}

fn within(x: f64, p: f64, value: f32) -> bool {
    p - f64::from(value) < x && x < p
}

/// Derivative of a pair's closeness by the anchor (or, the other way round, by the reference).
fn derivative(case: &Case, kind: Closeness, anchor: usize, reference: usize) -> Vec<f64> {
    let a = &case.anchors[anchor * case.dim..][..case.dim];
    let r = &case.references[reference * case.dim..][..case.dim];
    let d = -case.closeness(Closeness::Distance, anchor, reference);
    a.iter()
        .zip(r)
        .map(|(a, r)| {
            let (a, r) = (f64::from(*a), f64::from(*r));
            match kind {
                Closeness::Dot => r,
                Closeness::Distance if d == 0.0 => 0.0,
                Closeness::Distance => (r - a) / d,
                _ => 2.0 * (r - a),
            }
        })
        .collect()
}

#[track_caller]
fn close(found: f32, expected: f64, what: &str) {
    near(found, expected, expected.abs(), what);
}

/// Close in comparison with `size`: of a sum, the sum of its terms' sizes.
#[track_caller]
fn near(found: f32, expected: f64, size: f64, what: &str) {
    let bound = 1e-4 * (1.0 + size);
    assert!((f64::from(found) - expected).abs() <= bound, "{what}: {found}, not {expected}");
}

/// How far the nearest pair is from a condition that could fall either way.
fn check(case: &Case, program: PairProgram, what: &str) {
    let problem = case.problem(program);
    let batch = problem.batch();
    let screen = case.screen();
    let screened = Problem { screen: Some(&screen), ..problem };
    let ways =
        Level::supported().into_iter().flat_map(|level| [(level, problem), (level, screened)]);
    for (level, problem) in ways {
        let rows = forward_at(&problem, level);
        for anchor in 0..batch {
            let expected = expected(case, program, anchor);
            let screened = if problem.screen.is_some() { "screened" } else { "" };
            let what = format!("{what} {screened} {program:?} {level:?} anchor {anchor}");
            close(rows.values[anchor * 2], expected.values[0], &format!("{what} positive"));
            close(rows.values[anchor * 2 + 1], expected.values[1], &format!("{what} negative"));
            close(rows.field(anchor, POSITIVES), expected.counts[0], &format!("{what} positives"));
            close(rows.field(anchor, NEGATIVES), expected.counts[1], &format!("{what} negatives"));
            close(rows.field(anchor, COUPLING), expected.coupling, &format!("{what} coupling"));
            if program.closeness == Closeness::CentredSquaredDistance {
                continue;
            }
            let mut gradients = [vec![(0.0f64, 0.0f64); case.dim], vec![(0.0, 0.0); case.dim]];
            for (reference, slopes) in expected.slopes.iter().enumerate() {
                let by_anchor = derivative(case, program.closeness, anchor, reference);
                for side in 0..2 {
                    for ((sum, size), d) in gradients[side].iter_mut().zip(&by_anchor) {
                        *sum += slopes[side] * d;
                        *size += (slopes[side] * d).abs();
                    }
                }
            }
            for (side, found) in [&rows.positive, &rows.negative].into_iter().enumerate() {
                for k in 0..case.dim {
                    let at = format!("{what} gradient {side} {k}");
                    let (sum, size) = gradients[side][k];
                    near(found[anchor * case.dim + k], sum, size, &at);
                }
            }
        }
    }
    if program.closeness != Closeness::CentredSquaredDistance {
        check_references(case, program, what);
    }
}

fn check_references(case: &Case, program: PairProgram, what: &str) {
    let problem = case.problem(program);
    let rows = forward(&problem);
    let upstream: Vec<f32> = (0..problem.batch() * 2).map(|i| 0.5 + (i % 3) as f32).collect();
    let found = reference_gradient(&problem, &upstream, &rows);
    let mut sums = vec![(0.0f64, 0.0f64); problem.filled * case.dim];
    for anchor in 0..problem.batch() {
        let expected = expected(case, program, anchor);
        for (reference, slopes) in expected.slopes.iter().enumerate() {
            let slope = slopes[0] * f64::from(upstream[anchor * 2])
                + slopes[1] * f64::from(upstream[anchor * 2 + 1]);
            let by_anchor = derivative(case, program.closeness, anchor, reference);
            for (k, d) in by_anchor.into_iter().enumerate() {
                let a = f64::from(case.anchors[anchor * case.dim + k]);
                // A distance's derivatives by its ends are opposite; the product's are each the other row.
                let d = if program.closeness == Closeness::Dot { a } else { -d };
                let (sum, size) = &mut sums[reference * case.dim + k];
                *sum += slope * d;
                *size += (slope * d).abs();
            }
        }
    }
    for (at, (found, (sum, size))) in found.iter().zip(&sums).enumerate() {
        near(*found, *sum, *size, &format!("{what} {program:?} reference gradient {at}"));
    }
}

const DISTANCES: [Closeness; 4] = [
    Closeness::Dot,
    Closeness::SquaredDistance,
    Closeness::Distance,
    Closeness::CentredSquaredDistance,
];

fn programs() -> Vec<PairProgram> {
    let all_p = PositiveRule::ALL;
    let all_n = NegativeRule::ALL;
    let mut bodies = vec![
        (
            Term::Linear { offset: 0.0 },
            all_p,
            Term::Linear { offset: 0.3 },
            NegativeRule { violating: true, ..all_n },
        ),
        (
            Term::Linear { offset: 0.0 },
            PositiveRule { violating: true, ..all_p },
            Term::Softplus { scale: 3.0 },
            NegativeRule { above: -0.1, ..all_n },
        ),
        (
            Term::LogSumExp { scale: 2.0 },
            PositiveRule { hardest_negative: Some(0.1), ..all_p },
            Term::LogSumExp { scale: 40.0 },
            NegativeRule { hardest_positive: Some(0.1), ..all_n },
        ),
        (Term::AgainstNegatives { scale: 10.0 }, all_p, Term::LogSumExp { scale: 10.0 }, all_n),
        (
            Term::AgainstAll { scale: 8.0 },
            PositiveRule { below: 0.9, ..all_p },
            Term::LogSumExp { scale: 8.0 },
            all_n,
        ),
        (
            Term::Circle { scale: 8.0, relaxation: 0.25 },
            all_p,
            Term::Circle { scale: 8.0, relaxation: 0.25 },
            all_n,
        ),
        (
            Term::Softplus { scale: 2.0 },
            PositiveRule { easiest_negative: Some(0.3), below: 0.9, ..all_p },
            Term::Linear { offset: 0.0 },
            NegativeRule { easiest_positive: Some((0.1, 0.2)), ..all_n },
        ),
        (
            Term::Linear { offset: 0.0 },
            all_p,
            Term::Linear { offset: 0.0 },
            NegativeRule { below_easiest_positive: Some(0.1), semi_hard: Some(0.2), ..all_n },
        ),
    ]
    .into_iter()
    .map(|(positive, positives, negative, negatives)| Body::Sides {
        positive,
        positives,
        negative,
        negatives,
    })
    .collect::<Vec<_>>();
    for rule in [TripletRule::All, TripletRule::SemiHard, TripletRule::Hard] {
        for soft in [false, true] {
            bodies.push(Body::Triplets { margin: 0.2, rule, soft });
        }
    }
    bodies
        .into_iter()
        .flat_map(|body| DISTANCES.map(|closeness| PairProgram { closeness, body }))
        .collect()
}

#[test]
fn every_program_is_the_sum_written_out() {
    for (batch, filled, dim) in [(1, 1, 1), (3, 7, 5), (5, 130, 16), (17, 100, 33), (65, 300, 8)] {
        for program in programs() {
            // With few classes an anchor has many positives, with many it may have none.
            for classes in [3, 90] {
                // A million triplets hold some whose order is decided by rounding.
                if matches!(program.body, Body::Triplets { .. }) && batch > 20 && classes < 10 {
                    continue;
                }
                let seed = (batch * 31 + filled) as u64;
                let mut case = Case::new(batch, filled, dim, classes, seed);
                if program.closeness == Closeness::CentredSquaredDistance {
                    case.centre();
                }
                check(&case, program, "plain");
                case.drop_same_image = true;
                case.weights = Some((0..filled).map(|j| (j % 4) as f32 * 0.5).collect());
                check(&case, program, "weighted");
            }
        }
    }
}

#[test]
fn no_references_give_empty_rows() {
    for program in programs() {
        let case = Case::new(4, 0, 6, 3, 1);
        check(&case, program, "empty");
    }
}

#[test]
fn half_precision_rows_are_read_as_stored() {
    let case = Case::new(9, 200, 20, 12, 5);
    for program in programs() {
        let mut problem = case.problem(program);
        let halves: Vec<f16> = case.references.iter().map(|x| f16::from_f32(*x)).collect();
        let brains: Vec<bf16> = case.references.iter().map(|x| bf16::from_f32(*x)).collect();
        let widened: [Vec<f32>; 2] = [
            halves.iter().map(|x| x.to_f32()).collect(),
            brains.iter().map(|x| x.to_f32()).collect(),
        ];
        for (bank, same) in [Bank::F16(&halves), Bank::Bf16(&brains)].into_iter().zip(&widened) {
            problem.references = Bank::F32(same);
            let expected = forward(&problem);
            problem.references = bank;
            assert_eq!(forward(&problem), expected, "{program:?}");
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let case = Case::new(33, 5000, 24, 40, 3);
    for program in programs() {
        let problem = case.problem(program);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| forward(&problem))
        };
        let bits = |rows: &Rows| {
            [&rows.values, &rows.fields, &rows.positive, &rows.negative]
                .map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        assert_eq!(bits(&run(1)), bits(&run(5)), "{program:?}");
    }
}

#[test]
fn numbers_that_are_none_reach_the_rows_they_touch() {
    for bad in [f32::NAN, f32::INFINITY] {
        for program in programs() {
            let mut case = Case::new(5, 50, 6, 4, 2);
            case.anchors[6 * 2 + 1] = bad;
            let rows = forward(&case.problem(program));
            for anchor in 0..5 {
                assert_eq!(rows.values[anchor * 2].is_nan(), anchor == 2, "{program:?}");
                assert_eq!(rows.values[anchor * 2 + 1].is_nan(), anchor == 2, "{program:?}");
            }
            let mut case = Case::new(5, 50, 6, 4, 2);
            case.references[6 * 20] = bad;
            let rows = forward(&case.problem(program));
            assert!(rows.values.iter().all(|value| value.is_nan()), "{program:?}");
        }
    }
}

/// Rows in families: most pairs are far apart, some close.
fn families(case: &mut Case, closeness: f32) {
    let dim = case.dim;
    let centres = rows(12, dim, 99);
    let mut next = noise(17);
    let mut blend = |rows: &mut [f32], family: &dyn Fn(usize) -> usize| {
        for (i, row) in rows.chunks_exact_mut(dim).enumerate() {
            let centre = &centres[family(i) % 12 * dim..][..dim];
            let share = closeness * (1.0 + 0.2 * next());
            row.iter_mut().zip(centre).for_each(|(x, c)| *x = share * c + (1.0 - share) * *x);
            let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
            row.iter_mut().for_each(|x| *x /= norm);
        }
    };
    blend(&mut case.references, &|i| i * 7);
    blend(&mut case.anchors, &|i| i);
}

#[test]
fn a_screen_passes_over_pairs_and_changes_nothing_but_rounding() {
    for (batch, filled, dim) in [(1, 500, 16), (70, 800, 24)] {
        for mut program in programs() {
            program.closeness = Closeness::Dot;
            for share in [0.0, 0.5] {
                let mut case = Case::new(batch, filled, dim, 60, filled as u64);
                families(&mut case, share);
                case.thresholds = vec![0.45; batch * 2];
                if matches!(program.body, Body::Sides { .. }) {
                    check(&case, program, "families");
                }
                let plain = case.problem(program);
                let screen = case.screen();
                let screened = Problem { screen: Some(&screen), ..plain };
                for level in Level::supported() {
                    let (a, b) = (forward_at(&plain, level), forward_at(&screened, level));
                    for (at, (x, y)) in a.fields.iter().zip(&b.fields).enumerate() {
                        // A sum's rounding grows with its terms.
                        let size =
                            if at % FIELDS == NEGATIVE_SUM { filled as f64 * 0.1 } else { 0.0 };
                        let what = format!("{program:?} {level:?} field {}", at % FIELDS);
                        near(*y, f64::from(*x), size + f64::from(x.abs()), &what);
                    }
                }
            }
        }
    }
    assert!(negatives::SIFTED.load(std::sync::atomic::Ordering::Relaxed) > 500);
}

#[test]
fn a_screen_gives_the_same_bits_for_any_number_of_threads() {
    let mut case = Case::new(33, 7000, 24, 400, 3);
    families(&mut case, 0.5);
    let screen = case.screen();
    for program in programs() {
        let problem = Problem { screen: Some(&screen), ..case.problem(program) };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let rows = pool.install(|| forward(&problem));
            [rows.values, rows.fields, rows.positive, rows.negative]
                .map(|v| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>())
        };
        assert_eq!(run(1), run(3), "{program:?}");
    }
}

#[test]
fn a_screen_stands_back_where_it_must() {
    let mut case = Case::new(5, 900, 8, 40, 2);
    case.references[8 * 700] = f32::NAN;
    let screen = case.screen();
    for program in programs() {
        let rows = forward(&Problem { screen: Some(&screen), ..case.problem(program) });
        assert!(rows.values.iter().all(|value| value.is_nan()), "{program:?}");
    }
    let mut case = Case::new(5, 900, 8, 40, 2);
    case.anchors[8 * 2] = f32::INFINITY;
    let screen = case.screen();
    for program in programs() {
        let rows = forward(&Problem { screen: Some(&screen), ..case.problem(program) });
        for anchor in 0..5 {
            assert_eq!(rows.values[anchor * 2 + 1].is_nan(), anchor == 2, "{program:?}");
        }
    }
}

#[test]
fn a_screen_does_not_hide_an_overflow() {
    // Two products overflow and would cancel in more digits.
    let program = programs()[0];
    let mut case = Case::new(1, 900, 1, 40, 2);
    case.references.fill(0.0);
    (case.references[700], case.references[701]) = (-1.2, 0.9);
    case.anchors[0] = 3e38;
    case.codes = vec![-5, 0, -1];
    let screen = case.screen();
    let plain = forward(&case.problem(program));
    let screened = forward(&Problem { screen: Some(&screen), ..case.problem(program) });
    assert!(plain.values[1].is_nan() && screened.values[1].is_nan());
}

/// Beyond 2^24 references f32 numbers no longer tell neighbours apart.
#[test]
fn a_screen_of_more_references_than_f32_counts() {
    let filled = 10_923 * 1536 + 4;
    let mut next = noise(5);
    let mut references: Vec<f32> = (0..filled).map(|_| 0.3 * next()).collect();
    references[filled - 1] = 0.95;
    let mut labels = vec![0; filled];
    labels[1] = 1;
    let mut screen = Screen::new(filled, 1);
    for (slot, row) in references.chunks_exact(1).enumerate() {
        screen.write(slot, row, None);
    }
    let ids = vec![7; filled];
    let problem = Problem {
        program: programs()[0],
        dim: 1,
        anchors: &[1.0],
        codes: &[1, 0, -1],
        thresholds: &[0.5, 0.5],
        references: Bank::F32(&references),
        labels: &labels,
        ids: &ids,
        weights: None,
        filled,
        drop_same_image: false,
        screen: Some(&screen),
    };
    let rows = forward(&problem);
    assert_eq!((rows.field(0, NEGATIVES), rows.field(0, HARDEST_NEGATIVE)), (1.0, 0.95));
}
