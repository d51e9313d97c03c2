use burn::tensor::{Device, Tensor, TensorData};

use crate::{Correction, KalmanConfig, Memory, MemoryConfig, Policy, Rows, SameImage, Storage};

const BATCH: usize = 8;
const DIM: usize = 4;

/// Numbers in `-0.5..0.5`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    fn batch(&mut self) -> Vec<f32> {
        (0..BATCH * DIM).map(|_| self.next()).collect()
    }
}

fn unit(mut values: Vec<f32>) -> Vec<f32> {
    for row in values.chunks_mut(DIM) {
        let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= length);
    }
    values
}

/// `a · x + t`, other factors and shifts in each dimension.
fn moved(values: &[f32], factor: f32, shift: f32) -> Vec<f32> {
    let map = |(index, value): (usize, &f32)| {
        let dim = (index % DIM) as f32;
        value * (1.0 + factor * (dim + 1.0)) + shift * (dim - 1.0)
    };
    values.iter().enumerate().map(map).collect()
}

fn enqueue(memory: &mut Memory, values: &[f32], step: u64) {
    let count = values.len() / DIM;
    let device = Device::flex().autodiff();
    let data = TensorData::new(values.to_vec(), [count, DIM]);
    let first = step as u32 * 100;
    let ids: Vec<u32> = (first..first + count as u32).collect();
    let labels: Vec<u32> = (0..count as u32).map(|row| row / 2).collect();
    memory
        .enqueue(Tensor::from_data(data, &device), Rows { labels: &labels, ids: &ids }, step)
        .unwrap();
}

fn memory(correction: Correction, unit_length: bool) -> Memory {
    MemoryConfig { correction, unit_length, ..MemoryConfig::new(4 * BATCH, DIM) }
        .init(&Device::flex().autodiff())
}

fn rows(memory: &Memory) -> Vec<f32> {
    memory.embeddings().into_data().iter::<f32>().collect()
}

fn distance(left: &[f32], right: &[f32]) -> f32 {
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}

const BOTH: [Correction; 2] =
    [Correction::Moments, Correction::Kalman(KalmanConfig { horizon: 100.0, floor: 1e-4 })];

#[test]
fn nothing_moves_while_the_statistics_stay() {
    for correction in BOTH {
        let batch = unit(Random(7).batch());
        let mut memory = memory(correction, true);
        for step in 0..4 {
            enqueue(&mut memory, &batch, step);
        }
        let all = batch.repeat(4);
        assert!(distance(&rows(&memory), &all) < 1e-6, "{correction:?}");
    }
}

#[test]
fn a_shift_and_scale_is_undone_exactly_and_never_compounds() {
    let batch = Random(3).batch();
    for storage in [Storage::F32, Storage::F16, Storage::Bf16] {
        let mut memory = MemoryConfig {
            storage,
            correction: Correction::Moments,
            unit_length: false,
            // Room for all, so that the first batch meets every map.
            ..MemoryConfig::new(201 * BATCH, DIM)
        }
        .init(&Device::flex());
        let mut random = Random(5);
        enqueue(&mut memory, &batch, 0);
        for step in 1..=200 {
            let now = moved(&batch, 2.0 * random.next() + 1.1, 3.0 * random.next());
            enqueue(&mut memory, &now, step);
            // All entries are where the current network puts their images.
            let scale = now.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
            let precision = match storage {
                Storage::F32 => 1e-5,
                Storage::F16 => 2e-3,
                Storage::Bf16 => 2e-2,
            };
            let all = now.repeat(step as usize + 1);
            let error = distance(&rows(&memory), &all);
            assert!(error < precision * scale, "{storage:?}, step {step}: {error} of {scale}");
        }
    }
}

#[test]
fn unit_rows_stay_unit_and_come_closer_to_fresh_ones() {
    for correction in BOTH {
        let batch = unit(Random(11).batch());
        let mut memory = memory(correction, true);
        let mut fresh = Vec::new();
        for step in 0..3 {
            fresh = unit(moved(&batch, 0.0, 0.2 * step as f32));
            enqueue(&mut memory, &fresh, step);
        }
        let found = rows(&memory);
        for row in found.chunks(DIM) {
            let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            assert!((length - 1.0).abs() < 1e-5, "{length}");
        }
        let oldest = distance(&found[..BATCH * DIM], &fresh);
        let uncorrected = distance(&batch, &fresh);
        assert!(oldest < 0.6 * uncorrected, "{correction:?}: {oldest} of {uncorrected}");
    }
}

#[test]
fn a_dimension_without_spread_goes_to_its_mean() {
    let mut first = Random(2).batch();
    let mut second = Random(9).batch();
    first.iter_mut().step_by(DIM).for_each(|value| *value = 0.25);
    second.iter_mut().step_by(DIM).for_each(|value| *value = -2.0);
    let mut memory = memory(Correction::Moments, false);
    enqueue(&mut memory, &first, 0);
    assert!(distance(&rows(&memory), &first) < 1e-6);
    enqueue(&mut memory, &second, 1);
    let found = rows(&memory);
    assert!(found.iter().all(|value| value.is_finite()));
    assert!(found.iter().step_by(DIM).all(|value| (value + 2.0).abs() < 1e-6), "{found:?}");
    // And from a spread to none.
    enqueue(&mut memory, &[0.5; 2 * DIM], 2);
    assert!(rows(&memory).iter().all(|value| (value - 0.5).abs() < 1e-2));
}

#[test]
fn rows_before_any_statistics_count_as_born_with_the_first() {
    for correction in BOTH {
        let mut random = Random(13);
        let (lone, batch) = (random.batch()[..DIM].to_vec(), random.batch());
        let mut memory = memory(correction, false);
        enqueue(&mut memory, &lone, 0);
        assert_eq!(rows(&memory), lone);
        assert_eq!(memory.state().correction.unwrap().mean.batches, 0);
        enqueue(&mut memory, &batch, 1);
        assert!(distance(&rows(&memory)[..DIM], &lone) < 1e-6);
        // From then on they move as the others do.
        let now = moved(&batch, 0.5, 1.0);
        enqueue(&mut memory, &now, 2);
        if correction == Correction::Moments {
            assert!(distance(&rows(&memory)[..DIM], &moved(&lone, 0.5, 1.0)) < 1e-5);
        }
        // A single row and rows that are no numbers measure nothing.
        let before = memory.state().correction;
        enqueue(&mut memory, &lone, 3);
        enqueue(&mut memory, &[f32::NAN; 2 * DIM], 4);
        assert_eq!(memory.state().correction, before);
    }
}

#[test]
fn filtered_statistics_shake_the_memory_less_than_a_batchs_own() {
    let shake = |correction| {
        let mut memory = memory(correction, true);
        let mut random = Random(17);
        let mut total = 0.0;
        let mut previous = Vec::new();
        for step in 0..120 {
            let batch = unit(random.batch());
            enqueue(&mut memory, &batch, step);
            previous.extend_from_slice(&batch);
            // The network does not move, so a correct memory holds what was enqueued.
            if step >= 100 {
                let held = rows(&memory);
                let slots = &memory.state().order;
                let tail = &previous[previous.len() - held.len()..];
                for (row, slot) in tail.chunks(DIM).zip(slots) {
                    let at = *slot as usize * DIM;
                    total += distance(row, &held[at..at + DIM]);
                }
            }
        }
        total
    };
    let [moments, kalman] = BOTH.map(shake);
    assert!(kalman < 0.5 * moments, "{kalman} against {moments}");
}

#[test]
fn keyed_memories_and_resets_keep_their_statistics_straight() {
    let batch = Random(23).batch();
    let config = MemoryConfig {
        policy: Policy::Keyed,
        correction: Correction::Moments,
        unit_length: false,
        ..MemoryConfig::new(3 * BATCH, DIM)
    };
    let mut memory = config.init(&Device::flex());
    for step in 0..5 {
        enqueue(&mut memory, &moved(&batch, 0.3 * step as f32, step as f32), step);
    }
    let now = moved(&batch, 1.2, 4.0);
    assert!(distance(&rows(&memory), &now.repeat(3)) < 1e-4);
    memory.reset();
    enqueue(&mut memory, &batch, 9);
    assert!(distance(&rows(&memory), &batch) < 1e-6);
    let references = memory.references(SameImage::Keep);
    assert_eq!(references.embeddings.dims(), [3 * BATCH, DIM]);
}
