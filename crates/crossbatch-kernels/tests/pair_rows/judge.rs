//! A case on a device, judged by the host.

use super::host::{Case, Point, Row, rows};
use crate::common::{numbers, values};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use crossbatch_kernels::program::{Closeness, FIELDS};
use crossbatch_kernels::{Anchors, PairRows, References, pair_rows, pair_rows_reference};

/// The numbers of a point as tensors.
#[derive(Clone)]
pub(crate) struct Numbers {
    pub(crate) anchors: Tensor<2>,
    pub(crate) references: Tensor<2>,
    pub(crate) thresholds: Tensor<2>,
}

pub(crate) fn floats<const D: usize>(
    numbers: &[f64],
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    let numbers: Vec<f32> = numbers.iter().map(|value| *value as f32).collect();
    Tensor::from_data(TensorData::new(numbers, shape), device)
}

pub(crate) fn ints(numbers: &[i32], device: &Device) -> Tensor<1, Int> {
    let data = TensorData::new(numbers.to_vec(), [numbers.len()]);
    Tensor::from_data(data, (device, DType::I32))
}

pub(crate) fn upload(case: &Case, point: &Point, device: &Device) -> Numbers {
    Numbers {
        anchors: floats(&point.anchors, [case.batch, case.dim], device),
        references: floats(&point.references, [case.capacity, case.dim], device),
        thresholds: floats(&point.thresholds, [case.batch, 2], device),
    }
}

pub(crate) fn sets(case: &Case, numbers: &Numbers) -> (Anchors, References, Tensor<2>) {
    let device = &numbers.anchors.device();
    let anchors = Anchors {
        embeddings: numbers.anchors.clone(),
        labels: ints(&case.labels, device),
        ids: ints(&case.ids, device),
        own: ints(&case.own, device),
    };
    let weights = case.weights.as_ref().map(|weights| {
        Tensor::from_data(TensorData::new(weights.clone(), [case.capacity]), device)
    });
    let references = References {
        embeddings: numbers.references.clone(),
        labels: ints(&case.reference_labels, device),
        ids: ints(&case.reference_ids, device),
        weights,
        filled: case.filled,
        screen: None,
        drop_same_image: case.drop_same_image,
    };
    (anchors, references, numbers.thresholds.clone())
}

/// The operation of the device, whatever runs there.
pub(crate) fn run(case: &Case, numbers: &Numbers) -> PairRows {
    let (anchors, references, thresholds) = sets(case, numbers);
    pair_rows(anchors, references, thresholds, case.program)
}

#[track_caller]
pub(crate) fn close(found: f64, expected: f64, tolerance: f64, what: &dyn Fn() -> String) {
    // Sums of many terms and numbers that stand for nothing are as large as they are.
    let right = if expected.abs() > 1e29 {
        found == expected
    } else {
        (found - expected).abs() <= tolerance * (1.0 + expected.abs())
    };
    assert!(right, "{}: {found} against {expected}", what());
}

#[track_caller]
pub(crate) fn same_rows(case: &Case, found: &PairRows, expected: &[Row], tolerance: f64) {
    let [positive, negative, fields] =
        [values(&found.positive), values(&found.negative), values(&found.fields)];
    for (row, expected) in expected.iter().enumerate() {
        let name = |what: &str| format!("{what} of row {row} of {case:?}");
        close(positive[row], expected.positive, tolerance, &|| name("positive"));
        close(negative[row], expected.negative, tolerance, &|| name("negative"));
        for (field, expected) in expected.fields.iter().enumerate() {
            let what = || name(&format!("field {field}"));
            close(fields[row * FIELDS + field], *expected, tolerance, &what);
        }
    }
}

/// What the rows' numbers are multiplied with in a loss: `[B]` for the positive, `[B]` for the negative ones.
pub(crate) fn upstream(case: &Case) -> [Vec<f32>; 2] {
    [numbers(case.batch, 31), numbers(case.batch, 32)]
}

/// The change of the loss per step along a direction.
pub(crate) fn slope(case: &Case, point: &Point, along: &dyn Fn(&Point, f64) -> Point) -> f64 {
    const STEP: f64 = 1e-6;
    let upstream = upstream(case);
    let [above, below] = [STEP, -STEP].map(|step| rows(case, &along(point, step), point));
    let mut total = 0.0;
    for (row, (above, below)) in above.iter().zip(&below).enumerate() {
        total += f64::from(upstream[0][row]) * (above.positive - below.positive);
        total += f64::from(upstream[1][row]) * (above.negative - below.negative);
    }
    total / (2.0 * STEP)
}

pub(crate) fn moved(values: &[f64], direction: &[f64], step: f64) -> Vec<f64> {
    values.iter().zip(direction).map(|(value, way)| value + step * way).collect()
}

/// A direction for rows of `dim` numbers; within the centred rows where the closeness is of such.
pub(crate) fn direction(case: &Case, count: usize, seed: u64) -> Vec<f64> {
    let mut way: Vec<f64> = numbers(count * case.dim, seed).into_iter().map(f64::from).collect();
    if case.program.closeness == Closeness::CentredSquaredDistance {
        super::cases::centre(&mut way, case.dim);
    }
    way
}

pub(crate) fn product(left: &[f64], right: &[f64]) -> f64 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| left * right).sum()
}

/// The loss that the slopes are of.
pub(crate) fn loss(case: &Case, rows: &PairRows) -> Tensor<1> {
    let device = rows.positive.device();
    let [positive, negative] = upstream(case)
        .map(|part| Tensor::<1>::from_data(TensorData::new(part, [case.batch]), &device));
    (rows.positive.clone() * positive).sum() + (rows.negative.clone() * negative).sum()
}

/// Numbers and gradients of `pair_rows` on an autodiff device.
#[track_caller]
pub(crate) fn judge(case: &Case, point: &Point, device: &Device, tolerance: f64) {
    let device = device.clone().autodiff();
    let Numbers { anchors, references, thresholds } = upload(case, point, &device);
    let numbers = Numbers {
        anchors: anchors.require_grad(),
        references: references.require_grad(),
        thresholds: thresholds.require_grad(),
    };
    let found = run(case, &numbers);
    same_rows(case, &found, &rows(case, point, point), tolerance);

    let gradients = loss(case, &found).backward();
    let gradient =
        |tensor: &Tensor<2>| values(&tensor.grad(&gradients).expect("every number is tracked"));
    let (b, c) = (case.batch, case.capacity);
    let ways = [direction(case, b, 41), direction(case, c, 42)];
    let threshold_way: Vec<f64> =
        crate::common::numbers(b * 2, 43).into_iter().map(f64::from).collect();
    let slopes = [
        slope(case, point, &|point, step| Point {
            anchors: moved(&point.anchors, &ways[0], step),
            ..point.clone()
        }),
        slope(case, point, &|point, step| Point {
            references: moved(&point.references, &ways[1], step),
            ..point.clone()
        }),
        slope(case, point, &|point, step| Point {
            thresholds: moved(&point.thresholds, &threshold_way, step),
            ..point.clone()
        }),
    ];
    let found = [
        product(&gradient(&numbers.anchors), &ways[0]),
        product(&gradient(&numbers.references), &ways[1]),
        product(&gradient(&numbers.thresholds), &threshold_way),
    ];
    for (index, name) in ["anchors", "references", "thresholds"].into_iter().enumerate() {
        let what = || format!("gradient of the {name} of {case:?}");
        close(found[index], slopes[index], 20.0 * tolerance, &what);
    }
    let behind = &gradient(&numbers.references)[case.filled * case.dim..];
    assert!(behind.iter().all(|value| *value == 0.0), "references that do not count: {case:?}");
}

/// Numbers and gradients of the reference body on a device.
#[track_caller]
pub(crate) fn judge_reference(case: &Case, point: &Point, device: &Device, tolerance: f64) {
    let numbers = upload(case, point, device);
    let (anchors, references, thresholds) = sets(case, &numbers);
    let (found, gradients) = pair_rows_reference(anchors, references, thresholds, case.program);
    same_rows(case, &found, &rows(case, point, point), tolerance);

    let [positive, negative] = gradients.map(|gradient| values(&gradient));
    let coupling = values(&found.field(crossbatch_kernels::program::COUPLING));
    let way = direction(case, case.batch, 41);
    let upstream = upstream(case);
    let mut total = 0.0;
    for row in 0..case.batch {
        let place = row * case.dim..(row + 1) * case.dim;
        let [up_positive, up_negative] = [0, 1].map(|side: usize| f64::from(upstream[side][row]));
        total += up_positive * product(&positive[place.clone()], &way[place.clone()]);
        total += (up_negative + up_positive * coupling[row])
            * product(&negative[place.clone()], &way[place]);
    }
    let expected = slope(case, point, &|point, step| Point {
        anchors: moved(&point.anchors, &way, step),
        ..point.clone()
    });
    let what = || format!("gradient of the anchors of {case:?}");
    close(total, expected, 20.0 * tolerance, &what);
}
