//! What miners let through.

use burn::tensor::Device;
use crossbatch::{
    AgeWindowMiner, ContrastiveLoss, DistanceWeightedMiner, Memory, PairTerm, Pairs, Rows,
    SameImage, TopKMiner,
};
use proptest::prelude::*;

use crate::common::{anchors, matrix, numbers, references, unit, values};

const DIM: usize = 6;

fn similarities(anchors: &[f32], references: &[f32]) -> Vec<Vec<f32>> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let row = |anchor| references.chunks(DIM).map(|reference| dot(anchor, reference)).collect();
    anchors.chunks(DIM).map(row).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Top-k keeps what a sort would, for any number of anchors and references.
    #[test]
    fn top_k_is_the_head_of_a_sort(
        batch in 1usize..6,
        count in 1usize..40,
        classes in 1u32..5,
        negatives in 0usize..5,
        positives in 1usize..5,
        salt in 0u64..1000,
    ) {
        let device = Device::flex();
        let own = unit(numbers(batch * DIM, salt), DIM);
        let other = unit(numbers(count * DIM, salt + 1), DIM);
        let labels: Vec<u32> = (0..batch as u32).map(|row| row % classes).collect();
        let other_labels: Vec<u32> = (0..count as u32).map(|row| row * 7 % classes).collect();
        let pairs = Pairs::between(
            anchors(matrix(&own, DIM, &device), &labels),
            references(matrix(&other, DIM, &device), &other_labels),
        );
        let term = PairTerm::new(ContrastiveLoss::default())
            .with_miner(TopKMiner { negatives, positives });
        let found = term.select(&pairs).unwrap();

        for (anchor, row) in similarities(&own, &other).into_iter().enumerate() {
            let mut sides = [Vec::new(), Vec::new()];
            for (reference, similarity) in row.into_iter().enumerate() {
                let positive = labels[anchor] == other_labels[reference];
                let key = if positive { similarity } else { -similarity };
                sides[usize::from(positive)].push((key, reference as u32));
            }
            let mut expected = Vec::new();
            for (mut side, most) in sides.into_iter().zip([negatives, positives]) {
                side.sort_by(|one, other| one.0.total_cmp(&other.0));
                let most = if most == 0 { side.len() } else { most };
                expected.extend(side.into_iter().take(most).map(|(_, reference)| reference));
            }
            expected.sort_unstable();
            prop_assert_eq!(&found.references[anchor], &expected);
        }
    }
}

/// 5,000 references are compared in two blocks; choosing everything must change nothing.
#[test]
fn a_selection_of_everything_is_no_selection() {
    let device = Device::flex().autodiff();
    let count = 5000;
    let own = matrix(&unit(numbers(3 * DIM, 1), DIM), DIM, &device).require_grad();
    let other = matrix(&unit(numbers(count * DIM, 2), DIM), DIM, &device);
    let labels: Vec<u32> = (0..count as u32).map(|row| row % 50).collect();
    let pairs = Pairs::between(anchors(own.clone(), &[0, 1, 2]), references(other, &labels));
    let run = |term: PairTerm| {
        let value = term.evaluate(&pairs, None).value;
        let gradients = value.clone().backward();
        (values(value)[0], values(own.grad(&gradients).unwrap()))
    };
    let plain = run(PairTerm::new(ContrastiveLoss::default()));
    let chosen = run(PairTerm::new(ContrastiveLoss::default())
        .with_miner(TopKMiner { negatives: 10_000, positives: 10_000 }));
    assert!((plain.0 - chosen.0).abs() < 1e-4 * plain.0, "{} {}", plain.0, chosen.0);
    for (plain, chosen) in plain.1.iter().zip(&chosen.1) {
        assert!((plain - chosen).abs() < 1e-3 * (1.0 + plain.abs()), "{plain} {chosen}");
    }
}

#[test]
fn samples_hang_on_seed_and_step_alone() {
    let device = Device::flex();
    let rows = unit(numbers(60 * DIM, 4), DIM);
    let labels: Vec<u32> = (0..60).map(|row| row % 6).collect();
    let ids: Vec<u32> = (0..60).collect();
    let select = |seed: u64, step: u64| {
        let pairs =
            Pairs::within_batch(matrix(&rows, DIM, &device), Rows { labels: &labels, ids: &ids });
        let miner = DistanceWeightedMiner { seed, negatives: 3, ..Default::default() };
        let term = PairTerm::new(ContrastiveLoss::default()).with_miner(miner);
        term.select(&pairs.at_step(step)).unwrap()
    };
    let first = select(1, 5);
    assert_eq!(first, select(1, 5));
    assert_ne!(first, select(1, 6));
    assert_ne!(first, select(2, 5));
    for (anchor, chosen) in first.references.iter().enumerate() {
        // Nine positives, never the anchor itself, and three negatives.
        assert_eq!(chosen.len(), 9 + 3);
        assert!(!chosen.contains(&(anchor as u32)));
    }
}

#[test]
fn two_selections_leave_what_both_do() {
    let device = Device::flex();
    let rows = unit(numbers(20 * DIM, 8), DIM);
    let labels: Vec<u32> = (0..20).map(|row| row % 4).collect();
    let ids: Vec<u32> = (0..20).collect();
    let pairs =
        Pairs::within_batch(matrix(&rows, DIM, &device), Rows { labels: &labels, ids: &ids });
    let select = |miners: &[TopKMiner]| {
        let term = PairTerm::new(ContrastiveLoss::default());
        miners.iter().fold(term, |term, miner| term.with_miner(*miner)).select(&pairs).unwrap()
    };
    let few_negatives = TopKMiner { negatives: 2, positives: 0 };
    let few_positives = TopKMiner { negatives: 0, positives: 1 };
    let both = select(&[few_negatives, few_positives]);
    assert_eq!(both, select(&[TopKMiner { negatives: 2, positives: 1 }]));
}

/// Old entries are out for every kind of miner beside the window, too.
#[test]
fn what_is_too_old_is_out() {
    let device = Device::flex();
    let mut memory = Memory::new(8, DIM, &device);
    let batch = |step: u64| matrix(&unit(numbers(2 * DIM, step), DIM), DIM, &device);
    for step in 1..4u64 {
        let id = step as u32 * 2;
        let rows = Rows { labels: &[0, 1], ids: &[id, id + 1] };
        memory.enqueue(batch(step), rows, step).unwrap();
    }
    let rows = Rows { labels: &[0, 1], ids: &[8, 9] };
    let own = memory.enqueue(batch(4), rows, 4).unwrap();
    let pairs = Pairs::with_memory(batch(4), rows, &memory, &own, SameImage::Keep).at_step(4);
    let count = |steps, top: bool| {
        let mut term =
            PairTerm::new(ContrastiveLoss::default()).with_miner(AgeWindowMiner { steps });
        if top {
            term = term.with_miner(TopKMiner { negatives: 100, positives: 100 });
        }
        let statistics = term.evaluate(&pairs, None).statistics;
        (values(statistics.positives())[0], values(statistics.negatives())[0])
    };
    for top in [false, true] {
        // Each anchor has one positive and one negative an older step, and a negative in its own.
        assert_eq!(count(3, top), (6.0, 8.0));
        assert_eq!(count(1, top), (2.0, 4.0));
        assert_eq!(count(0, top), (0.0, 2.0));
    }
}
