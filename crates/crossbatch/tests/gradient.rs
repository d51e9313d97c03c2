//! The objective's gradient against finite differences.

use burn::tensor::{Device, Tensor, TensorData};
use crossbatch::{ContrastiveLoss, Memory, Objective, ObjectiveConfig, Reduction, Rows, SameImage};

const BATCH: usize = 6;
const DIM: usize = 5;

/// Values without a near-tie at the margin, so that no pair switches within the difference.
fn values(rows: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut data: Vec<f32> = (0..rows * DIM)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.35
        })
        .collect();
    for row in data.chunks_mut(DIM) {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= norm);
    }
    data
}

fn objective(
    anchors: &[f32],
    reduction: Reduction,
    same_image: SameImage,
) -> (f64, Vec<f32>, Vec<f32>) {
    let device = Device::flex().autodiff();
    let mut memory = Memory::new(9, DIM, &device);
    let older = Tensor::<2>::from_data(TensorData::new(values(7, 3), [7, DIM]), &device);
    let old = Rows { labels: &[0, 1, 2, 0, 1, 2, 3], ids: &[0, 1, 2, 3, 4, 5, 6] };
    memory.enqueue(older, old, 0).unwrap();

    let rows = Rows { labels: &[0, 0, 1, 1, 2, 2], ids: &[0, 7, 1, 8, 2, 9] };
    let leaf = Tensor::<2>::from_data(TensorData::new(anchors.to_vec(), [BATCH, DIM]), &device)
        .require_grad();
    // The memory holds the unperturbed embeddings: it is a constant to the gradient.
    let constant = Tensor::<2>::from_data(TensorData::new(values(BATCH, 1), [BATCH, DIM]), &device);
    let own = memory.enqueue(constant, rows, 1).unwrap();
    let config = ObjectiveConfig { reduction, memory_weight: 0.7, same_image };
    let output = Objective::new(ContrastiveLoss { margin: 0.5 }, config).forward(
        leaf.clone(),
        rows,
        Some((&memory, &own)),
    );
    let value = f64::from(output.total.clone().into_scalar::<f32>());
    let gradients = output.total.backward();
    let gradient = leaf.grad(&gradients).unwrap().into_data().try_to_vec().unwrap();
    let counts = [&output.batch, output.memory.as_ref().unwrap()]
        .iter()
        .flat_map(|term| [term.positives.clone(), term.active_negatives.clone()])
        .map(|count| count.into_scalar::<f32>())
        .collect();
    (value, gradient, counts)
}

#[test]
fn agrees_with_finite_differences() {
    let anchors = values(BATCH, 1);
    for reduction in [Reduction::Sum, Reduction::PairMean, Reduction::AnchorMean] {
        for same_image in [SameImage::Keep, SameImage::Drop] {
            let (_, gradient, counts) = objective(&anchors, reduction, same_image);
            assert!(counts.iter().all(|&count| count > 0.0), "every side is exercised: {counts:?}");
            for index in 0..anchors.len() {
                let step = 1e-2;
                let at = |delta: f32| {
                    let mut moved = anchors.clone();
                    moved[index] += delta;
                    let (value, _, moved_counts) = objective(&moved, reduction, same_image);
                    assert_eq!(moved_counts, counts, "a pair switched; choose other data");
                    value
                };
                // The objective is at most quadratic in one coordinate, so the central difference
                // is exact up to rounding.
                let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
                let found = f64::from(gradient[index]);
                assert!(
                    (slope - found).abs() < 2e-4 * (1.0 + slope.abs()),
                    "{reduction:?}, {same_image:?}, value {index}: {found} against {slope}"
                );
            }
        }
    }
}
