//! A memory that keeps codes beside its rows gives what one without gives.

use burn::tensor::Device;
use crossbatch::{
    ContrastiveLoss, Memory, MemoryConfig, MultiSimilarityLoss, PairLoss, Pairs, Policy, Reduction,
    Rows, SameImage, Storage, pair_loss,
};

use crate::common::{matrix, numbers, unit, values};

const DIM: usize = 24;
const BATCH: usize = 40;
const CAPACITY: usize = 900;

/// Rows of class `label` around a centre that classes share in families of five.
fn batch(step: u64) -> (Vec<f32>, Vec<u32>, Vec<u32>) {
    let noise = numbers(BATCH * DIM, step + 1);
    let centres = numbers(64 * DIM, 77);
    let ids: Vec<u32> = (0..BATCH as u32).map(|i| (i * 37 + step as u32 * 53) % 1200).collect();
    let labels: Vec<u32> = ids.iter().map(|id| id / 4).collect();
    let mut rows = noise;
    for (row, label) in rows.chunks_mut(DIM).zip(&labels) {
        let centre = &centres[(label / 5 % 64) as usize * DIM..][..DIM];
        row.iter_mut().zip(centre).for_each(|(x, c)| *x = 0.7 * *x + 1.1 * c);
    }
    (unit(rows, DIM), labels, ids)
}

/// Value, gradient and statistics of a batch against the memory.
fn outcome(memory: &Memory, own: &[i32], loss: &dyn PairLoss, step: u64) -> Vec<f32> {
    let device = Device::flex().autodiff();
    let (rows, labels, ids) = batch(step);
    let anchors = matrix(&rows, DIM, &device).require_grad();
    let rows = Rows { labels: &labels, ids: &ids };
    let pairs = Pairs::with_memory(anchors.clone(), rows, memory, own, SameImage::Keep);
    let output = pair_loss(loss, &pairs, Reduction::AnchorMean);
    let mut found = Vec::new();
    for statistic in [
        output.statistics.active_negatives(),
        output.statistics.negatives(),
        output.statistics.mean_negative(),
        output.statistics.hardest_negative(),
    ] {
        found.extend(values(statistic));
    }
    found.extend(values(output.value.clone()));
    let gradients = output.value.backward();
    found.extend(values(anchors.grad(&gradients).unwrap()));
    found
}

#[test]
fn a_memory_with_codes_gives_what_one_without_gives() {
    let device = Device::flex().autodiff();
    let losses: [Box<dyn PairLoss>; 2] =
        [Box::new(ContrastiveLoss::default()), Box::new(MultiSimilarityLoss::default())];
    for policy in [Policy::Fifo, Policy::Keyed] {
        for storage in [Storage::F32, Storage::F16, Storage::Bf16] {
            let config = MemoryConfig { policy, storage, ..MemoryConfig::new(CAPACITY, DIM) };
            let mut plain = MemoryConfig { screen: false, ..config.clone() }.init(&device);
            let mut coded = config.init(&device);
            for step in 0..40 {
                let (rows, labels, ids) = batch(step);
                let rows = matrix(&rows, DIM, &device);
                let ids = Rows { labels: &labels, ids: &ids };
                let own = plain.enqueue(rows.clone(), ids, step).unwrap();
                assert_eq!(coded.enqueue(rows, ids, step).unwrap(), own);
                if step == 30 {
                    // Forgotten and brought back.
                    let state = coded.state();
                    coded.reset();
                    coded.restore(state).unwrap();
                }
                if step % 6 != 5 {
                    continue;
                }
                for loss in &losses {
                    let expected = outcome(&plain, &own, loss.as_ref(), step);
                    let found = outcome(&coded, &own, loss.as_ref(), step);
                    for (at, (x, y)) in expected.iter().zip(&found).enumerate() {
                        let off = (x - y).abs();
                        assert!(
                            off <= 2e-5 * (1.0 + x.abs()),
                            "{policy:?} {storage:?} {at}: {x}, {y}"
                        );
                    }
                }
            }
            // The sums hang on what is held, not on how it came there.
            let mut restored = config.init(&device);
            restored.restore(coded.state()).unwrap();
            let own = vec![-1; BATCH];
            let a = outcome(&coded, &own, losses[0].as_ref(), 3);
            let b = outcome(&restored, &own, losses[0].as_ref(), 3);
            assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
