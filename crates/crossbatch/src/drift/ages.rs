//! How old a memory's entries are, and how old those that a loss uses.

use burn::tensor::Tensor;

use crate::{memory::Memory, pair_loss::PairTerm, pairs::Pairs};

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
        let bin = self.bin(age);
        self.counts[bin] += 1;
    }

    /// The bin of an age.
    fn bin(&self, age: u64) -> usize {
        self.edges.partition_point(|&edge| edge <= age) - 1
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
    /// Those that the loss uses; of a triplet loss the triplets.
    pub active: AgeHistogram,
}

/// Which ages the active negatives of a term have.
///
/// If the share of active pairs differs by age, stale entries weigh more, or less, than their number. Which negatives
/// are active hangs on the anchor's positives and on miners, never on other negatives, so that the ages of one bin are
/// counted beside all positives, whatever the loss.
///
/// A measurement for now and then: it looks at all `B · M` pairs on the host, and computes each once.
///
/// # Panics
///
/// If the pairs are not with a memory, edges do not rise from 0, or as [`PairTerm::evaluate`].
pub fn active_pair_ages(
    term: &PairTerm,
    pairs: &Pairs<'_>,
    parameters: Option<&Tensor<1>>,
    edges: &[u64],
) -> ActivePairAges {
    let births = pairs.births().expect("only a memory's entries have an age");
    let mut all = AgeHistogram::new(edges);
    let bins: Vec<usize> =
        births.iter().map(|&birth| all.bin(pairs.step().saturating_sub(birth))).collect();
    let negatives = term.negatives_by_group(pairs, parameters, &bins, edges.len());
    let mut active = all.clone();
    for (bin, (every, counting)) in negatives.into_iter().enumerate() {
        (all.counts[bin], active.counts[bin]) = (every, counting);
    }
    ActivePairAges { all, active }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        loss::{ContrastiveLoss, TripletLoss},
        miner::AgeWindowMiner,
        relation::{Rows, SameImage},
    };
    use burn::tensor::Device;

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

        let anchors = Tensor::<2>::from_data([[1.0, 0.0], [0.0, 1.0]], &device);
        let rows = Rows { labels: &[0, 1], ids: &[7, 8] };
        let pairs =
            Pairs::with_memory(anchors, rows, &memory, &[-1, -1], SameImage::Keep).at_step(10);
        let ages = |loss: PairTerm| active_pair_ages(&loss, &pairs, None, &[0, 5, 10]);
        // Negatives: anchor 0 with ages 5 (0.8) and 4 (0.0); anchor 1 with ages 10 (0.0) and 0 (0.8).
        let contrastive = PairTerm::new(ContrastiveLoss::default());
        let found = ages(contrastive.clone());
        assert_eq!(found.all.counts, [2, 1, 1]);
        assert_eq!(found.active.counts, [1, 1, 0]);
        assert_eq!(found.all.total(), 4);

        // Each anchor has positives at 1 and 0.6: 0.8 costs a triplet with the second, and 0 none.
        let triplets = TripletLoss { margin: 0.1, ..Default::default() };
        assert_eq!(ages(PairTerm::new(triplets)).active.counts, [1, 1, 0]);

        // Too old for the miner.
        let young = contrastive.with_miner(AgeWindowMiner { steps: 4 });
        assert_eq!(ages(young).active.counts, [1, 0, 0]);
    }
}
