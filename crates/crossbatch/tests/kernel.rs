//! Every loss gives the same through the kernel and through its reference body.

use burn::tensor::{Device, Tensor};
use crossbatch::{
    AgeWeighting, Kernel, LossKind, Memory, MemoryConfig, MinerKind, PairLossOutput, PairTerm,
    Pairs, Reduction, Rows, SameImage, Storage,
};

use crate::common::{matrix, numbers, unit, values};

const DIM: usize = 7;

/// Unit rows of a few classes, near their class.
fn rows(labels: &[u32], salt: u64) -> Vec<f32> {
    let near = |(row, &label): (usize, &u32)| {
        let class = numbers(DIM, 100 + u64::from(label));
        let own = numbers(DIM, salt + row as u64);
        class.into_iter().zip(own).map(|(class, own)| class + own).collect::<Vec<f32>>()
    };
    unit(labels.iter().enumerate().flat_map(near).collect(), DIM)
}

fn labels(count: u32) -> Vec<u32> {
    (0..count).map(|row| row * 7 % 9).collect()
}

/// A memory of two steps' rows, not full, with weights by age.
fn memory(storage: Storage, device: &Device) -> Memory {
    let weighting = AgeWeighting { half_life: Some(2.0), window: None };
    let config = MemoryConfig { storage, weighting, ..MemoryConfig::new(80, DIM) };
    let mut memory = config.init(device);
    let (labels, ids): (_, Vec<u32>) = (labels(35), (0..35).collect());
    for step in [1, 2] {
        let rows = Rows { labels: &labels, ids: &ids };
        let embeddings = matrix(&self::rows(&labels, step), DIM, device);
        memory.enqueue(embeddings, rows, step).unwrap();
    }
    memory
}

/// Value, gradients and statistics of a term.
fn found(
    term: &PairTerm,
    anchors: &Tensor<2>,
    pairs: &Pairs<'_>,
    parameters: Option<&Tensor<1>>,
) -> Vec<f32> {
    let PairLossOutput { value, statistics } = term.evaluate(pairs, parameters);
    let mut found = values(value.clone());
    found.extend(values(statistics.active_negatives()));
    found.extend(values(statistics.hardest_negative()));
    let gradients = value.backward();
    found.extend(values(anchors.grad(&gradients).expect("the value hangs on the anchors")));
    found.extend(parameters.map_or(vec![], |leaf| values(leaf.grad(&gradients).unwrap())));
    found
}

#[test]
fn every_loss_agrees_in_the_batch_and_with_a_memory() {
    let device = Device::flex().autodiff();
    let batch = labels(18);
    let ids: Vec<u32> = (100..118).collect();
    let rows = Rows { labels: &batch, ids: &ids };
    for &kind in LossKind::ALL {
        for (storage, miner) in
            [(Storage::F32, None), (Storage::F16, None), (Storage::F32, Some(MinerKind::TopK))]
        {
            let memory = memory(storage, &device);
            let mut term =
                PairTerm::shared(kind.config().build()).with_reduction(Reduction::AnchorMean);
            term.miners.extend(miner.map(|miner| miner.config().build()));
            let leaf = matrix(&self::rows(&batch, 900), DIM, &device).require_grad();
            let parameters = term.loss.initial_parameters(9);
            let parameters = (!parameters.is_empty())
                .then(|| Tensor::<1>::from_data(&parameters[..], &device).require_grad());
            let own = [-1; 18];
            for pairs in [
                Pairs::within_batch(leaf.clone(), rows),
                Pairs::with_memory(leaf.clone(), rows, &memory, &own, SameImage::Keep),
            ] {
                let of = |kernel| {
                    let term = term.clone().with_kernel(kernel);
                    found(&term, &leaf, &pairs, parameters.as_ref())
                };
                let (fused, reference) = (of(Kernel::Fused), of(Kernel::Reference));
                let size = reference.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
                let what = || format!("{kind}, {storage:?}, {miner:?}");
                assert!(reference[0].abs() > 0.0, "{} is exercised", what());
                for (at, (fused, reference)) in fused.iter().zip(&reference).enumerate() {
                    let close = (fused - reference).abs() <= 1e-5 * size;
                    assert!(
                        close,
                        "{}, number {at}: {fused} by the kernel, not {reference}",
                        what()
                    );
                }
            }
        }
    }
}
