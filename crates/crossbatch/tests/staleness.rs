//! A memory as the fused operation sees it, and what its staleness does to the gradient.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use crossbatch::{
    AgeWeighting, Anchors, Correction, KalmanConfig, Memory, MemoryConfig, Policy, References,
    Rows, SameImage, Storage, memory_gradient_error, program,
};
use crossbatch_kernels::pair_rows;
use program::{Body, Closeness, NegativeRule, PairProgram, PositiveRule, Term};

const BATCH: usize = 6;
const DIM: usize = 4;
const MARGIN: f32 = 0.2;

/// The contrastive loss's sides: all positives, negatives closer than the margin.
const CONTRASTIVE: PairProgram = PairProgram {
    closeness: Closeness::Dot,
    body: Body::Sides {
        positive: Term::Linear { offset: 0.0 },
        positives: PositiveRule::ALL,
        negative: Term::Linear { offset: MARGIN },
        negatives: NegativeRule { violating: true, ..NegativeRule::ALL },
    },
};

fn unit_rows(count: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut rows: Vec<f32> = (0..count * DIM)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 24) as f32 - 0.35
        })
        .collect();
    for row in rows.chunks_mut(DIM) {
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= length);
    }
    rows
}

fn tensor(values: &[f32], device: &Device) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), [values.len() / DIM, DIM]);
    Tensor::from_data(data, device)
}

/// The loss's gradient by the anchors `[B, D]`; the anchors are rows 0, 1, … of labels 0, 0, 1, 1, ….
fn gradient(anchors: &[f32], own: &[i32], references: References) -> Tensor<2> {
    let device = references.embeddings.device().autodiff();
    let embeddings = tensor(anchors, &device).require_grad();
    let codes = |values: Vec<i32>| {
        let count = values.len();
        Tensor::<1, Int>::from_data(TensorData::new(values, [count]), (&device, DType::I32))
    };
    let rows = 0..BATCH as i32;
    let anchors = Anchors {
        embeddings: embeddings.clone(),
        labels: codes(rows.clone().map(|row| row / 2).collect()),
        ids: codes(rows.collect()),
        own: codes(own.to_vec()),
    };
    let thresholds = [vec![1.0f32; BATCH], vec![MARGIN; BATCH]].concat();
    let thresholds = Tensor::<2>::from_data(TensorData::new(thresholds, [2, BATCH]), &device);
    let rows = pair_rows(anchors, references, thresholds.transpose(), CONTRASTIVE);
    let loss = (rows.positive + rows.negative).sum();
    embeddings.grad(&loss.backward()).unwrap().inner()
}

fn values(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// A memory after a few steps of scattered images, and the last batch with its slots.
fn remembered(config: &MemoryConfig) -> (Memory, Vec<f32>, Vec<i32>) {
    let mut memory = config.init(&Device::flex().autodiff());
    let device = Device::flex().autodiff();
    let mut last = None;
    for step in 0..5u32 {
        let ids: Vec<u32> = (0..BATCH as u32).map(|row| row + 4 * ((step + 1) % 5)).collect();
        let labels: Vec<u32> = ids.iter().map(|id| id / 2).collect();
        let rows = unit_rows(BATCH, u64::from(step) + 1);
        let embeddings = tensor(&rows, &device);
        let own = memory
            .enqueue(embeddings, Rows { labels: &labels, ids: &ids }, u64::from(step))
            .unwrap();
        last = Some((rows, own));
    }
    let (rows, own) = last.unwrap();
    (memory, rows, own)
}

#[test]
fn the_operation_takes_a_memory_as_it_lies() {
    let mut halves = 0;
    for policy in [Policy::Fifo, Policy::Keyed] {
        for storage in [Storage::F32, Storage::F16, Storage::Bf16] {
            for correction in
                [Correction::None, Correction::Moments, Correction::Kalman(KalmanConfig::default())]
            {
                for half_life in [None, Some(2.0)] {
                    for same_image in [SameImage::Keep, SameImage::Drop] {
                        let config = MemoryConfig {
                            policy,
                            storage,
                            correction,
                            weighting: AgeWeighting { half_life, window: None },
                            ..MemoryConfig::new(40, DIM)
                        };
                        let (memory, anchors, own) = remembered(&config);
                        let whole = memory.references(same_image);
                        assert_eq!(whole.embeddings.dtype(), storage.dtype());
                        // The same, cut to what is filled and widened.
                        let filled = memory.len();
                        assert!(filled < 40);
                        halves += usize::from(half_life.is_some());
                        let cut = References {
                            screen: None,
                            embeddings: memory.embeddings().cast(DType::F32),
                            labels: memory.device_labels(),
                            ids: memory.device_ids(),
                            weights: whole.weights.clone().map(|weights| weights.slice(0..filled)),
                            ..whole.clone()
                        };
                        let found = values(gradient(&anchors, &own, whole));
                        let expected = values(gradient(&anchors, &own, cut));
                        assert!(expected.iter().any(|value| value.abs() > 0.1));
                        for (found, expected) in found.iter().zip(&expected) {
                            let error = (found - expected).abs();
                            assert!(error < 1e-4, "{config:?}: {found} is not {expected}");
                        }
                    }
                }
            }
        }
    }
    assert_eq!(halves, 36);
}

#[test]
fn the_gradients_error_is_that_of_the_drift() {
    let (memory, anchors, own) = remembered(&MemoryConfig::new(40, DIM));
    let now = values(memory.embeddings());
    let error = |fresh: &[f32]| {
        let mut fresh = fresh.to_vec();
        fresh.resize(40 * DIM, 0.0);
        let fresh = tensor(&fresh, &Device::flex().autodiff());
        memory_gradient_error(memory.references(SameImage::Keep), fresh, |references| {
            gradient(&anchors, &own, references)
        })
    };
    let none = error(&now);
    assert_eq!((none.relative, none.cosine > 0.999_999), (0.0, true));

    // The further the fresh embeddings are from the stored ones, the larger the error.
    let elsewhere = unit_rows(memory.len(), 77);
    let between = |share: f32| -> Vec<f32> {
        now.iter().zip(&elsewhere).map(|(now, there)| now + share * (there - now)).collect()
    };
    let errors = [0.01, 0.1, 0.5].map(|share| error(&between(share)).relative);
    assert!(0.0 < errors[0] && errors[0] < errors[1] && errors[1] < errors[2], "{errors:?}");

    // By hand: the gradient of an anchor is the sum of its active negatives less its positives.
    let fresh = between(0.5);
    let by_hand = |bank: &[f32]| -> Vec<f32> {
        let labels = &memory.columns().labels;
        let rows = anchors.chunks(DIM).enumerate().flat_map(|(row, anchor)| {
            let mut sum = [0.0f32; DIM];
            for (slot, entry) in bank.chunks(DIM).enumerate() {
                let closeness: f32 = anchor.iter().zip(entry).map(|(a, b)| a * b).sum();
                let sign = match labels[slot] == row as u32 / 2 {
                    true if own[row] == slot as i32 => 0.0,
                    true => -1.0,
                    false if closeness > MARGIN => 1.0,
                    false => 0.0,
                };
                sum.iter_mut().zip(entry).for_each(|(sum, value)| *sum += sign * value);
            }
            sum
        });
        rows.collect()
    };
    let expected = crossbatch::GradientError::between(&by_hand(&now), &by_hand(&fresh));
    let found = error(&fresh);
    assert!((found.relative - expected.relative).abs() < 1e-5, "{found:?}, {expected:?}");
    assert!((found.cosine - expected.cosine).abs() < 1e-5, "{found:?}, {expected:?}");
}
