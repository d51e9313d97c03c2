//! How many classes and images a data set has.

use crossbatch_data::{Dataset, Split};
use serde::Serialize;

/// One split of a data set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Census {
    pub(crate) classes: usize,
    pub(crate) images: usize,
    /// Images of the smallest class.
    pub(crate) fewest: usize,
    /// Images of the class in the middle.
    pub(crate) median: usize,
    /// Images of the largest class.
    pub(crate) most: usize,
}

impl Census {
    /// Counts a split; `None` where it has no images.
    pub(crate) fn of(dataset: &Dataset, split: Split) -> Option<Self> {
        let classes = classes(dataset, split);
        let sizes = classes.iter().map(|(_, images)| images.len()).collect();
        Self::of_sizes(sizes)
    }

    fn of_sizes(mut sizes: Vec<usize>) -> Option<Self> {
        sizes.sort_unstable();
        Some(Self {
            classes: sizes.len(),
            images: sizes.iter().sum(),
            fewest: *sizes.first()?,
            median: sizes[sizes.len() / 2],
            most: *sizes.last()?,
        })
    }
}

/// The classes of a split with the indices of their images, in the data set's order.
pub(crate) fn classes(dataset: &Dataset, split: Split) -> Vec<(u32, Vec<usize>)> {
    let mut images = vec![Vec::new(); dataset.classes.len()];
    for index in dataset.indices(split) {
        images[dataset.samples[index].class as usize].push(index);
    }
    (0..).zip(images).filter(|(_, images)| !images.is_empty()).collect()
}

/// `wanted` of `items`, evenly spread from the first to the last.
pub(crate) fn spread<T>(items: &[T], wanted: usize) -> Vec<&T> {
    let wanted = wanted.min(items.len());
    let last = items.len().saturating_sub(1);
    (0..wanted).map(|place| &items[place * last / (wanted - 1).max(1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_up() {
        let census = Census::of_sizes(vec![5, 1, 2]).unwrap();
        assert_eq!(census, Census { classes: 3, images: 8, fewest: 1, median: 2, most: 5 });
        assert_eq!(Census::of_sizes(vec![]), None);
    }

    #[test]
    fn spread_takes_both_ends_and_nothing_twice() {
        let items: Vec<usize> = (0..10).collect();
        assert_eq!(spread(&items, 4), [&0, &3, &6, &9]);
        assert_eq!(spread(&items, 10), items.iter().collect::<Vec<_>>());
        assert_eq!(spread(&items, 99).len(), 10);
        assert_eq!(spread(&items, 1), [&0]);
        assert!(spread::<u8>(&[], 3).is_empty());
    }
}
