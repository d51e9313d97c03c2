//! The plan of an epoch: which positions form each batch, from (seed, epoch) alone.

mod classes;
mod cover;
mod fenwick;
mod random;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dataset_words as words;
use crate::error::Error;
use crate::seed::generator;
use classes::Classes;

/// How P classes and K images of each are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sampler {
    /// Every image at least once an epoch. No image comes again before all of its class have come.
    #[default]
    Cover,
    /// P classes at random, then K images of each at random; some images never come in an epoch.
    Random,
}

words!(Sampler, "batch.sampler", Cover = "cover", Random = "random");

/// The batches of one epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EpochPlan {
    /// Positions into the labels: P runs of K, the classes of a batch all different.
    pub batches: Vec<Vec<u32>>,
    /// Classes with fewer than K images, whose images repeat within a run.
    pub refilled_classes: usize,
    /// Of these, classes with a single image. Its only positives are its own repetitions.
    pub single_classes: usize,
}

/// Plans an epoch of batches with `classes` (P) classes and `images` (K) images of each.
///
/// The same arguments give the same plan, whatever was planned before.
///
/// ```
/// use crossbatch_data::{Sampler, plan_epoch};
/// let labels = [0, 0, 0, 1, 1, 2, 2, 2, 2];
/// let plan = plan_epoch(Sampler::Cover, &labels, 2, 2, 7, 0)?;
/// for batch in &plan.batches {
///     assert_eq!(batch.len(), 4);
///     assert_eq!(labels[batch[0] as usize], labels[batch[1] as usize]);
///     assert_ne!(labels[batch[0] as usize], labels[batch[2] as usize]);
/// }
/// # Ok::<(), crossbatch_data::Error>(())
/// ```
pub fn plan_epoch(
    sampler: Sampler,
    labels: &[u32],
    classes: usize,
    images: usize,
    seed: u64,
    epoch: u64,
) -> Result<EpochPlan, Error> {
    if classes == 0 || images == 0 || (classes == 1 && images == 1) {
        return Err(Error::PlanEmpty { classes, images });
    }
    let mut by_class = Classes::new(labels);
    let available = if labels.is_empty() { 0 } else { by_class.count() };
    if classes > available {
        return Err(Error::PlanClasses { wanted: classes, available });
    }
    if images > 65_536 {
        let expected = "a whole number from 1 to 65536".to_owned();
        return Err(Error::Setting { key: "batch.images", value: images.to_string(), expected });
    }
    let smaller = |than| (0..by_class.count()).filter(|&class| by_class.size(class) < than).count();
    let (refilled_classes, single_classes) = (smaller(images), smaller(2));
    let batches = match sampler {
        Sampler::Cover => {
            cover::plan(&mut by_class, classes, images, &mut generator(&[seed, 0, epoch]))
        }
        Sampler::Random => {
            random::plan(&mut by_class, classes, images, &mut generator(&[seed, 1, epoch]))
        }
    };
    Ok(EpochPlan { batches, refilled_classes, single_classes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_even_data_set_is_covered_without_a_repeat() {
        let labels: Vec<u32> = (0..12 * 4).map(|position| position / 4).collect();
        let plan = plan_epoch(Sampler::Cover, &labels, 3, 2, 1, 0).unwrap();
        let mut all: Vec<u32> = plan.batches.concat();
        all.sort_unstable();
        assert_eq!(all, (0..48).collect::<Vec<_>>());
    }

    #[test]
    fn bad_shapes_name_the_keys() {
        let plan = |classes, images| plan_epoch(Sampler::Random, &[0, 0, 1], classes, images, 0, 0);
        let error = plan(3, 2).unwrap_err().to_string();
        assert!(error.contains("batch.classes = 3") && error.contains("only 2"), "{error}");
        assert!(matches!(plan(0, 2), Err(Error::PlanEmpty { .. })));
        assert!(matches!(plan(2, 0), Err(Error::PlanEmpty { .. })));
        assert!(matches!(plan(1, 1), Err(Error::PlanEmpty { .. })));
        assert!(plan(2, 2).is_ok());
        let empty = plan_epoch(Sampler::Cover, &[], 1, 2, 0, 0);
        assert!(matches!(empty, Err(Error::PlanClasses { available: 0, .. })));
    }

    #[test]
    fn small_classes_are_counted() {
        let plan = plan_epoch(Sampler::Cover, &[0, 0, 0, 1, 1, 2], 2, 3, 0, 0).unwrap();
        assert_eq!((plan.refilled_classes, plan.single_classes), (2, 1));
    }
}
