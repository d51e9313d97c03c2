//! Ties, copies, numbers that are none, other types, wrong sizes.

use super::cases::{CLOSENESSES, case, middle, sides, triplets};
use super::host::{Case, Point, rows};
use super::judge::{close, loss, run, same_rows, sets, upload};
use super::judge::{floats, ints};
use crate::common::{numbers, on_each_device, plain, values};
use burn::tensor::{DType, Device, Tensor};
use crossbatch_kernels::program::{
    Body, Closeness, NegativeRule, PairProgram, PositiveRule, Term, TripletRule,
};
use crossbatch_kernels::{pair_rows, pair_rows_reference};

on_each_device!(
    ties_are_not_strict,
    copies_have_no_distance,
    what_is_no_number_shows_in_its_rows_only,
    references_of_half_the_width,
    views_are_read_in_their_own_order,
);

/// Each number a multiple of 1/8, so that products and squared distances are exact in any order and many are equal.
fn coarse(case: &Case, seed: u64) -> Point {
    let round = |count: usize, seed: u64, to: f32| -> Vec<f64> {
        let values = numbers(count, seed).into_iter();
        values.map(|value| f64::from((value * to).round() / to)).collect()
    };
    let shift = f64::from(middle(case.program.closeness));
    Point {
        anchors: round(case.batch * case.dim, seed, 8.0),
        references: round(case.capacity * case.dim, seed + 1, 8.0),
        thresholds: round(case.batch * 2, seed + 2, 16.0).iter().map(|t| t / 2.0 + shift).collect(),
    }
}

fn ties_are_not_strict(device: &Device) {
    for closeness in [Closeness::Dot, Closeness::SquaredDistance] {
        let all = [sides(closeness), triplets(closeness)].concat();
        // A GPU compiles each.
        let step = if *device == plain() { 1 } else { 61 };
        for (index, program) in all.into_iter().enumerate().step_by(step) {
            let (case, _) = case(program, [6, 3, 80], 300 + index as u64);
            let point = coarse(&case, 400 + index as u64);
            let expected = rows(&case, &point, &point);
            same_rows(&case, &run(&case, &upload(&case, &point, device)), &expected, 2e-5);
        }
    }
}

/// Anchors that are copies of references: a distance of 0, and a gradient of 0 from it.
fn copies_have_no_distance(device: &Device) {
    let plain_side = Term::Linear { offset: 0.0 };
    for closeness in CLOSENESSES {
        let body = Body::Sides {
            positive: plain_side,
            positives: PositiveRule::ALL,
            negative: plain_side,
            negatives: NegativeRule::ALL,
        };
        let (mut case, mut point) = case(PairProgram { closeness, body }, [5, 24, 5], 8);
        case.own = vec![-1; 5];
        case.weights = None;
        // Equal rows only, the same on both sides.
        for row in 0..5 {
            case.reference_labels[row] = row as i32 % 2;
            case.labels[row] = 0;
            let copy = point.anchors[..24].to_vec();
            point.anchors[row * 24..(row + 1) * 24].copy_from_slice(&copy);
            point.references[row * 24..(row + 1) * 24].copy_from_slice(&copy);
        }
        point.thresholds.fill(0.0);
        let device = device.clone().autodiff();
        let mut inputs = upload(&case, &point, &device);
        inputs.anchors = inputs.anchors.require_grad();
        let found = run(&case, &inputs);
        let gradients = loss(&case, &found).backward();
        let gradient = values(&inputs.anchors.grad(&gradients).expect("anchors are tracked"));
        if closeness != Closeness::Dot {
            assert!(values(&found.positive).iter().all(|value| *value == 0.0));
            assert!(gradient.iter().all(|value| value.abs() < 1e-5), "{gradient:?}");
        }
        same_rows(&case, &found, &rows(&case, &point, &point), 2e-5);
    }
}

/// What comes of a row: its numbers, its gradient.
fn outcome(case: &Case, point: &Point, device: &Device, body: bool) -> (Vec<f64>, Vec<f64>) {
    let device = device.clone().autodiff();
    let mut inputs = upload(case, point, &device);
    inputs.anchors = inputs.anchors.require_grad();
    if body {
        let (anchors, references, thresholds) = sets(case, &inputs);
        let (found, [positive, negative]) =
            pair_rows_reference(anchors, references, thresholds, case.program);
        return (values(&(found.positive + found.negative)), values(&(positive + negative)));
    }
    let found = run(case, &inputs);
    let gradients = loss(case, &found).backward();
    let gradient = values(&inputs.anchors.grad(&gradients).expect("anchors are tracked"));
    (values(&(found.positive + found.negative)), gradient)
}

fn what_is_no_number_shows_in_its_rows_only(device: &Device) {
    // A GPU compiles each.
    let on_cpu = *device == plain();
    let (step, bodies): (_, &[bool]) = if on_cpu { (29, &[false, true]) } else { (149, &[false]) };
    for closeness in CLOSENESSES {
        let all = [sides(closeness), triplets(closeness)].concat();
        for (index, program) in all.into_iter().enumerate().step_by(step) {
            let (mut case, point) = case(program, [5, 7, 40], 600 + 2 * index as u64);
            assert!(case.weights.is_none());
            // Left out by its weight; by itself of anchor 2 only; behind the ones that count.
            let mut weights = vec![1.0; case.capacity];
            weights[11] = 0.0;
            case.weights = Some(weights);
            case.drop_same_image = false;
            case.own = vec![-1, -1, 17, -1, -1];
            case.reference_labels[17] = case.labels[2];
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for &body in bodies {
                    let clean = outcome(&case, &point, device, body);
                    let check = |bad: &[usize], found: (Vec<f64>, Vec<f64>)| {
                        for row in 0..5 {
                            let place = row * 7..(row + 1) * 7;
                            let (found_row, clean_row) = (&found.1[place.clone()], &clean.1[place]);
                            let what = || format!("row {row}, {value}, {case:?}");
                            if bad.contains(&row) {
                                assert!(found.0[row].is_nan(), "{}", what());
                            } else {
                                close(found.0[row], clean.0[row], 1e-6, &what);
                                for (found, clean) in found_row.iter().zip(clean_row) {
                                    close(*found, *clean, 1e-6, &what);
                                }
                            }
                        }
                    };
                    let mut changed = point.clone();
                    changed.anchors[3 * 7 + 2] = value;
                    check(&[3], outcome(&case, &changed, device, body));

                    let mut changed = point.clone();
                    changed.references[11 * 7 + 6] = value;
                    if case.capacity > case.filled {
                        changed.references[case.filled * 7] = value;
                    }
                    check(&[], outcome(&case, &changed, device, body));

                    let mut changed = point.clone();
                    changed.references[17 * 7 + 1] = value;
                    check(&[0, 1, 3, 4], outcome(&case, &changed, device, body));
                }
            }
        }
    }
}

fn references_of_half_the_width(device: &Device) {
    let step = if *device == plain() { 37 } else { 113 };
    for kind in [DType::F16, DType::BF16] {
        if !device.supports_dtype(kind) {
            eprintln!("SKIPPED {kind:?} on {device:?}: it has no such type");
            continue;
        }
        for closeness in CLOSENESSES {
            let all = [sides(closeness), triplets(closeness)].concat();
            for (index, program) in all.into_iter().enumerate().step_by(step) {
                let (case, mut point) = case(program, [7, 33, 90], 700 + index as u64);
                // Rounding once leaves numbers that rounding again does not change.
                let rounded = |point: &Point| {
                    let shape = [case.capacity, case.dim];
                    floats(&point.references, shape, &plain()).cast(kind)
                };
                super::cases::clear(&case, &mut point, |point| {
                    point.references = values(&rounded(point).cast(DType::F32));
                });
                let mut inputs = upload(&case, &point, device);
                inputs.references = inputs.references.cast(kind);
                assert_eq!(inputs.references.dtype(), kind);
                let expected = rows(&case, &point, &point);
                same_rows(&case, &run(&case, &inputs), &expected, 2e-5);
                let (anchors, references, thresholds) = sets(&case, &inputs);
                let (found, _) = pair_rows_reference(anchors, references, thresholds, case.program);
                same_rows(&case, &found, &expected, 2e-5);
            }
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    for closeness in CLOSENESSES {
        let all = [sides(closeness), triplets(closeness)].concat();
        for (index, program) in all.into_iter().enumerate().step_by(31) {
            let (case, point) = case(program, [33, 20, 3_000], 900 + index as u64);
            let run = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| outcome(&case, &point, &plain(), false))
            };
            let one = run(1);
            assert_eq!(one, run(2), "{case:?}");
            assert_eq!(one, run(3), "{case:?}");
        }
    }
}

fn views_are_read_in_their_own_order(device: &Device) {
    let [program, ..] = sides(Closeness::Dot)[..] else { panic!("there are programs") };
    let (case, point) = case(program, [6, 10, 50], 14);
    let inputs = upload(&case, &point, device);
    let expected = rows(&case, &point, &point);
    let turned = |tensor: &Tensor<2>| {
        let copy: Tensor<2> = Tensor::from_data(tensor.clone().transpose().to_data(), device);
        copy.transpose()
    };
    let mut view = inputs.clone();
    view.anchors = turned(&inputs.anchors);
    view.references = turned(&inputs.references);
    view.thresholds = turned(&inputs.thresholds);
    same_rows(&case, &run(&case, &view), &expected, 2e-5);
}

fn hinge() -> PairProgram {
    let body = Body::Triplets { margin: 0.1, rule: TripletRule::All, soft: false };
    PairProgram { closeness: Closeness::Dot, body }
}

#[test]
#[should_panic(expected = "9 filled references in 8 rows")]
fn names_the_rows_that_are_not_there() {
    let (case, point) = case(hinge(), [2, 3, 7], 1);
    let (anchors, mut references, thresholds) = sets(&case, &upload(&case, &point, &plain()));
    references.filled = 9;
    let _ = pair_rows(anchors, references, thresholds, case.program);
}

#[test]
#[should_panic(expected = "labels of the references")]
fn names_the_column_of_another_length() {
    let (case, point) = case(hinge(), [2, 3, 7], 1);
    let (anchors, mut references, thresholds) = sets(&case, &upload(&case, &point, &plain()));
    references.labels = ints(&[1, 2], &plain());
    let _ = pair_rows(anchors, references, thresholds, case.program);
}

#[test]
#[should_panic(expected = "only positives stand against the negatives")]
fn names_the_term_of_the_wrong_side() {
    let (mut case, point) = case(hinge(), [2, 3, 7], 1);
    case.program.body = Body::Sides {
        positive: Term::Linear { offset: 0.0 },
        positives: PositiveRule::ALL,
        negative: Term::AgainstNegatives { scale: 1.0 },
        negatives: NegativeRule::ALL,
    };
    let _ = run(&case, &upload(&case, &point, &plain()));
}
