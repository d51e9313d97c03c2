//! The same tensor on both sides, each row left out for itself.

use super::cases::{CLOSENESSES, case, centre, clear, sides, triplets};
use super::host::{Case, Point};
use super::judge::{Numbers, direction};
use super::judge::{close, floats, loss, moved, product, run, same_rows, slope};
use crate::common::{on_each_device, plain, values};
use burn::tensor::{Device, Tensor};
use crossbatch_kernels::program::{Closeness, PairProgram};

on_each_device!(gradients_of_both_sides);

fn in_batch(program: PairProgram, batch: usize, dim: usize, seed: u64) -> (Case, Point) {
    let (mut case, mut point) = case(program, [batch, dim, batch], seed);
    case.capacity = batch;
    case.filled = batch;
    case.own = (0..batch as i32).collect();
    case.reference_labels = case.labels.clone();
    case.reference_ids = case.ids.clone();
    case.weights = case.weights.map(|weights| weights[..batch].to_vec());
    point.references.truncate(batch * dim);
    clear(&case, &mut point, |point| point.anchors = point.references.clone());
    (case, point)
}

fn judge(case: &Case, point: &Point, device: &Device) {
    let centred = case.program.closeness == Closeness::CentredSquaredDistance;
    let device = device.clone().autodiff();
    let leaf = floats(&point.anchors, [case.batch, case.dim], &device).require_grad();
    let thresholds: Tensor<2> = floats(&point.thresholds, [case.batch, 2], &device);
    let rows = if centred { leaf.clone() - leaf.clone().mean_dim(1) } else { leaf.clone() };
    let numbers = Numbers { anchors: rows.clone(), references: rows, thresholds };
    let found = run(case, &numbers);

    let at = |rows: &[f64]| {
        let mut rows = rows.to_vec();
        if centred {
            centre(&mut rows, case.dim);
        }
        Point { anchors: rows.clone(), references: rows, thresholds: point.thresholds.clone() }
    };
    let point = at(&point.anchors);
    same_rows(case, &found, &super::host::rows(case, &point, &point), 3e-5);
    let gradients = loss(case, &found).backward();
    let gradient = values(&leaf.grad(&gradients).expect("the rows are tracked"));
    let way = direction(case, case.batch, 51);
    let expected = slope(case, &point, &|point, step| at(&moved(&point.anchors, &way, step)));
    let what = || format!("gradient of the rows of {case:?}");
    close(product(&gradient, &way), expected, 6e-4, &what);
}

fn gradients_of_both_sides(device: &Device) {
    // A GPU compiles each.
    let step = if *device == plain() { 11 } else { 101 };
    let mut seed = 0;
    for kind in CLOSENESSES {
        let all = [sides(kind), triplets(kind)].concat();
        for program in all.into_iter().skip(3).step_by(step) {
            seed += 1;
            let (case, point) = in_batch(program, 12, 6, seed);
            judge(&case, &point, device);
        }
    }
}
