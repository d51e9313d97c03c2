//! Which classes train, choose and judge. No class ever does two of these.

use rand::seq::SliceRandom;

use crate::dataset::{Dataset, Split};
use crate::error::Error;
use crate::seed::generator;

const TEST: u64 = 1;
const VALIDATION: u64 = 2;

/// Moves a fraction of all classes to the test split.
pub(crate) fn split_classes(dataset: &mut Dataset, fraction: f64, seed: u64) {
    let count = dataset.classes.len();
    let wanted = (count as f64 * fraction).round() as usize;
    // Neither side is left without classes, or with a single one where there is a choice.
    let least = if count >= 4 { 2 } else { count / 2 };
    let wanted = if fraction == 0.0 {
        0
    } else if fraction == 1.0 {
        count
    } else {
        wanted.clamp(least, count - least)
    };
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut generator(&[seed, TEST]));
    let mut split = vec![Split::Train; count];
    for &class in &order[..wanted] {
        split[class] = Split::Test;
    }
    assign(dataset, &split);
}

/// Holds a fraction of the training classes out for validation. Classes of one group (a family of
/// glyphs) stay together.
pub(crate) fn hold_out(
    dataset: &mut Dataset,
    groups: Option<&[u32]>,
    fraction: f64,
    seed: u64,
) -> Result<(), Error> {
    if fraction == 0.0 {
        return Ok(());
    }
    let sizes = dataset.class_sizes(Split::Train);
    let training: Vec<usize> = (0..sizes.len()).filter(|&class| sizes[class] > 0).collect();
    let wanted = ((training.len() as f64 * fraction).round() as usize).max(2);
    let group = |class: usize| groups.map_or(class as u32, |groups| groups[class]);
    let mut order: Vec<u32> = training.iter().map(|&class| group(class)).collect();
    order.sort_unstable();
    order.dedup();
    order.shuffle(&mut generator(&[seed, VALIDATION]));
    let mut held = Vec::new();
    for chosen in order {
        if held.len() >= wanted {
            break;
        }
        held.extend(training.iter().copied().filter(|&class| group(class) == chosen));
    }
    if held.len() < 2 || held.len() + 2 > training.len() {
        return Err(Error::Validation { fraction, classes: training.len() });
    }
    validate(dataset, &held);
    Ok(())
}

/// Holds one of `folds` parts of the training classes out for validation: class-disjoint cross-validation
/// as in Musgrave, Belongie, Lim, "A Metric Learning Reality Check", ECCV 2020. Parts follow one another in
/// the data set's order of classes, which keeps species of one genus together. Groups stay together.
pub(crate) fn hold_fold(
    dataset: &mut Dataset,
    groups: Option<&[u32]>,
    folds: usize,
    fold: usize,
) -> Result<(), Error> {
    if folds == 0 {
        return Ok(());
    }
    let sizes = dataset.class_sizes(Split::Train);
    let training: Vec<usize> = (0..sizes.len()).filter(|&class| sizes[class] > 0).collect();
    let group = |class: usize| groups.map_or(class as u32, |groups| groups[class]);
    let mut order: Vec<u32> = training.iter().map(|&class| group(class)).collect();
    order.sort_unstable();
    order.dedup();
    let part = order.len() * fold / folds..order.len() * (fold + 1) / folds;
    let chosen = &order[part];
    let held: Vec<usize> =
        training.iter().copied().filter(|&class| chosen.contains(&group(class))).collect();
    if held.len() < 2 || held.len() + 2 > training.len() {
        return Err(Error::Setting {
            key: "data.folds",
            value: folds.to_string(),
            expected: format!(
                "fewer: each fold of the {} training classes must hold at least 2",
                training.len()
            ),
        });
    }
    validate(dataset, &held);
    Ok(())
}

fn validate(dataset: &mut Dataset, held: &[usize]) {
    let mut is_held = vec![false; dataset.classes.len()];
    for &class in held {
        is_held[class] = true;
    }
    for sample in &mut dataset.samples {
        if is_held[sample.class as usize] {
            sample.split = Split::Validation;
        }
    }
}

fn assign(dataset: &mut Dataset, split: &[Split]) {
    for sample in &mut dataset.samples {
        sample.split = split[sample.class as usize];
    }
}
