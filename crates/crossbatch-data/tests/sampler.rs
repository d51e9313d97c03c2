//! What must hold of every plan.

use std::collections::{BTreeMap, BTreeSet};

use crossbatch_data::{EpochPlan, Sampler, plan_epoch};
use proptest::prelude::*;

/// Labels of classes with these sizes, shuffled a little so that classes are not contiguous.
fn labels(sizes: &[usize]) -> Vec<u32> {
    let mut labels: Vec<u32> = sizes
        .iter()
        .enumerate()
        .flat_map(|(class, &size)| vec![class as u32 * 7 + 3; size])
        .collect();
    let half = labels.len() / 2;
    for at in (0..half).step_by(2) {
        labels.swap(at, at + half);
    }
    labels
}

fn sizes_of(labels: &[u32]) -> BTreeMap<u32, usize> {
    let mut sizes = BTreeMap::new();
    for &label in labels {
        *sizes.entry(label).or_insert(0) += 1;
    }
    sizes
}

/// P different classes, K of each in a run, no image twice in a run unless the class is too small.
fn check_shape(
    plan: &EpochPlan,
    labels: &[u32],
    classes: usize,
    images: usize,
) -> Result<(), TestCaseError> {
    let sizes = sizes_of(labels);
    for batch in &plan.batches {
        prop_assert_eq!(batch.len(), classes * images);
        let mut seen = BTreeSet::new();
        for run in batch.chunks(images) {
            let label = labels[run[0] as usize];
            prop_assert!(run.iter().all(|&position| labels[position as usize] == label));
            prop_assert!(seen.insert(label), "class {} twice in a batch", label);
            let distinct = run.iter().collect::<BTreeSet<_>>().len();
            prop_assert_eq!(distinct, images.min(sizes[&label]));
        }
    }
    Ok(())
}

fn shapes() -> impl Strategy<Value = (Vec<usize>, usize, usize)> {
    let sizes = prop::collection::vec(prop_oneof![1..4_usize, 1..30_usize], 1..40);
    (sizes, 1..9_usize, 1..6_usize).prop_map(|(sizes, classes, images)| {
        let classes = classes.min(sizes.len());
        let images = if classes == 1 { images.max(2) } else { images };
        (sizes, classes, images)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cover_covers((sizes, classes, images) in shapes(), seed in 0..1000_u64, epoch in 0..3_u64) {
        let labels = labels(&sizes);
        let plan = plan_epoch(Sampler::Cover, &labels, classes, images, seed, epoch).unwrap();
        check_shape(&plan, &labels, classes, images)?;
        // No image is dropped, and none comes again before all of its class have come.
        let mut times = vec![0; labels.len()];
        for &position in plan.batches.iter().flatten() {
            times[position as usize] += 1;
            if times[position as usize] > 1 {
                let label = labels[position as usize];
                let unseen = (0..labels.len()).any(|other| labels[other] == label && times[other] == 0);
                prop_assert!(!unseen);
            }
        }
        prop_assert!(times.iter().all(|&count| count > 0));
        // As few batches as the groups allow.
        let groups: Vec<usize> = sizes.iter().map(|size| size.div_ceil(images)).collect();
        let least = groups.iter().sum::<usize>().div_ceil(classes).max(*groups.iter().max().unwrap());
        prop_assert_eq!(plan.batches.len(), least);
    }

    #[test]
    fn random_has_the_shape((sizes, classes, images) in shapes(), seed in 0..1000_u64, epoch in 0..3_u64) {
        let labels = labels(&sizes);
        let plan = plan_epoch(Sampler::Random, &labels, classes, images, seed, epoch).unwrap();
        check_shape(&plan, &labels, classes, images)?;
        prop_assert_eq!(plan.batches.len(), (labels.len() / (classes * images)).max(1));
        prop_assert_eq!(plan.refilled_classes, sizes.iter().filter(|&&size| size < images).count());
        prop_assert_eq!(plan.single_classes, sizes.iter().filter(|&&size| size == 1).count());
    }

    #[test]
    fn plans_follow_from_seed_and_epoch((sizes, classes, images) in shapes(), seed in 0..1000_u64) {
        let labels = labels(&sizes);
        for sampler in [Sampler::Cover, Sampler::Random] {
            let plan = |seed, epoch| plan_epoch(sampler, &labels, classes, images, seed, epoch).unwrap();
            let later = plan(seed, 5);
            prop_assert_eq!(&later, &plan(seed, 5));
            if labels.len() > 30 {
                prop_assert_ne!(&later, &plan(seed, 6));
                prop_assert_ne!(&later, &plan(seed + 1, 5));
            }
        }
    }
}

#[test]
fn cover_repeats_little_and_evenly() {
    // 5 images in groups of 4: each class's second group has 3 repeats.
    let labels = labels(&[5; 100]);
    let plan = plan_epoch(Sampler::Cover, &labels, 10, 4, 0, 0).unwrap();
    assert_eq!(plan.batches.len(), 20);
    let mut times = vec![0; labels.len()];
    plan.batches.iter().flatten().for_each(|&position| times[position as usize] += 1);
    assert!(times.iter().all(|&count| count == 1 || count == 2), "{times:?}");
}

#[test]
fn random_is_uniform_over_classes() {
    let sizes: Vec<usize> = (0..20).map(|class| 2 + class % 7).collect();
    let labels = labels(&sizes);
    let mut drawn = BTreeMap::new();
    for epoch in 0..400 {
        for batch in plan_epoch(Sampler::Random, &labels, 5, 2, 3, epoch).unwrap().batches {
            batch
                .chunks(2)
                .for_each(|run| *drawn.entry(labels[run[0] as usize]).or_insert(0_usize) += 1);
        }
    }
    let total: usize = drawn.values().sum();
    for (class, count) in drawn {
        let share = count as f64 * 20.0 / total as f64;
        assert!((0.9..1.1).contains(&share), "class {class}: {share}");
    }
}

/// The size of Stanford Online Products, where a plan that looked at every class for every draw
/// would take minutes.
#[test]
fn large_plans_are_made() {
    let sizes: Vec<usize> = (0..11_318).map(|class| 2 + (class * 7919) % 8).collect();
    let labels = labels(&sizes);
    assert!(labels.len() > 60_000);
    for sampler in [Sampler::Cover, Sampler::Random] {
        let plan = plan_epoch(sampler, &labels, 16, 4, 1, 1).unwrap();
        assert!(plan.batches.len() > 900);
    }
}
