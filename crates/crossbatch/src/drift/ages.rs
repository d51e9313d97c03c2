//! How old a memory's entries are, and how old those that a loss uses.

use burn::tensor::{DType, Tensor};
use crossbatch_kernels::Anchors;

use crate::memory::Memory;

/// Counts by age: bin `i` holds ages from `edges[i]` up to, not including, `edges[i + 1]`; the last bin
/// has no end.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AgeHistogram {
    /// Smallest age of each bin, in steps; the first is 0.
    pub edges: Vec<u64>,
    /// Count in each bin.
    pub counts: Vec<u64>,
}

impl AgeHistogram {
    /// An empty histogram.
    ///
    /// # Panics
    ///
    /// If edges do not rise from 0.
    pub fn new(edges: &[u64]) -> Self {
        assert_eq!(edges.first(), Some(&0), "ages start at 0");
        assert!(edges.is_sorted_by(|low, high| low < high), "edges rise, got {edges:?}");
        Self { edges: edges.to_vec(), counts: vec![0; edges.len()] }
    }

    /// `bins` bins of equal width over the ages that `memory` holds.
    ///
    /// # Panics
    ///
    /// If `bins` is 0.
    pub fn of(memory: &Memory, bins: usize) -> Self {
        assert!(bins > 0, "a histogram has at least one bin");
        let width = (memory.ages().max().unwrap_or(0) + 1).div_ceil(bins as u64);
        let edges: Vec<u64> = (0..bins as u64).map(|bin| bin * width).collect();
        let mut histogram = Self::new(&edges);
        memory.ages().for_each(|age| histogram.add(age));
        histogram
    }

    /// Counts an age.
    pub fn add(&mut self, age: u64) {
        let bin = self.edges.partition_point(|&edge| edge <= age) - 1;
        self.counts[bin] += 1;
    }

    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Negative pairs of anchors with a memory, by the age of the entry.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ActivePairAges {
    /// Every negative pair.
    pub all: AgeHistogram,
    /// Those that are active.
    pub active: AgeHistogram,
}

/// Which ages the active negatives have.
///
/// A pair is negative where the labels differ; `active` is given the anchor's row and the pair's
/// closeness (the dot product) and says whether the loss uses it: for the contrastive loss
/// `|_, s| s > margin`. If the share of active pairs differs by age, stale entries weigh more, or less,
/// than their number.
///
/// A measurement for now and then: it computes all `B · M` dot products, a block of entries at a time,
/// and looks at them on the host.
///
/// # Shapes
///
/// - `anchors`: `B` of them, as the loss gets them
/// - `edges`: as [`AgeHistogram::new`]
///
/// # Panics
///
/// If the anchors' width is not the memory's, or edges do not rise from 0.
pub fn active_pair_ages(
    anchors: &Anchors,
    memory: &Memory,
    edges: &[u64],
    active: impl Fn(usize, f32) -> bool,
) -> ActivePairAges {
    const BLOCK: usize = 4096;
    let mut ages =
        ActivePairAges { all: AgeHistogram::new(edges), active: AgeHistogram::new(edges) };
    let labels: Vec<u32> = anchors.labels.clone().into_data().iter::<u32>().collect();
    let entry_ages: Vec<u64> = memory.ages().collect();
    let entry_labels = &memory.columns().labels;
    let rows = anchors.embeddings.clone().inner();
    let entries = memory.embeddings().inner();
    for start in (0..memory.len()).step_by(BLOCK) {
        let block = start..memory.len().min(start + BLOCK);
        let entries: Tensor<2> = entries.clone().slice(block.clone()).cast(DType::F32);
        let closeness = rows.clone().matmul(entries.transpose()).into_data();
        let mut closeness = closeness.iter::<f32>();
        for (row, label) in labels.iter().enumerate() {
            for entry in block.clone() {
                let value = closeness.next().expect("a value a pair");
                if entry_labels[entry] == *label {
                    continue;
                }
                ages.all.add(entry_ages[entry]);
                if active(row, value) {
                    ages.active.add(entry_ages[entry]);
                }
            }
        }
    }
    ages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relation::Rows;
    use burn::tensor::{Device, Int};

    #[test]
    fn counts_by_age() {
        let device = Device::flex();
        let mut memory = Memory::new(4, 2, &device);
        let row = |x: f32, y: f32| Tensor::<2>::from_data([[x, y]], &device);
        for (step, label, (x, y)) in
            [(0, 0, (1.0, 0.0)), (5, 1, (0.8, 0.6)), (6, 1, (0.0, 1.0)), (10, 0, (0.6, 0.8))]
        {
            memory.enqueue(row(x, y), Rows { labels: &[label], ids: &[0] }, step).unwrap();
        }
        let histogram = AgeHistogram::of(&memory, 3);
        assert_eq!((&histogram.edges[..], &histogram.counts[..]), (&[0, 4, 8][..], &[1, 2, 1][..]));

        let ints = |values: [i32; 2]| Tensor::<1, Int>::from_data(values, &device);
        let anchors = Anchors {
            embeddings: Tensor::from_data([[1.0, 0.0], [0.0, 1.0]], &device),
            labels: ints([0, 1]),
            ids: ints([0, 0]),
            own: ints([-1, -1]),
        };
        let ages = active_pair_ages(&anchors, &memory, &[0, 5, 10], |_, closeness| closeness > 0.5);
        // Negatives: anchor 0 with ages 5 (0.8) and 4 (0.0); anchor 1 with ages 10 (0.0) and 0 (0.8).
        assert_eq!(ages.all.counts, [2, 1, 1]);
        assert_eq!(ages.active.counts, [1, 1, 0]);
        assert_eq!(ages.all.total(), 4);
    }
}
