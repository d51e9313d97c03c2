use std::collections::BinaryHeap;

use super::{Candidates, Miner, Selection};
use crate::loss::{OptionError, rule};

#[doc = include_str!("top_k.md")]
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TopKMiner {
    /// Closest negatives of each anchor; 0 keeps all. Default 1.
    pub negatives: usize,
    /// Farthest positives of each anchor; 0 keeps all. Default 0.
    pub positives: usize,
}

impl Default for TopKMiner {
    fn default() -> Self {
        Self { negatives: 1, positives: 0 }
    }
}

impl Miner for TopKMiner {
    fn name(&self) -> &'static str {
        "top-k"
    }

    fn select(&self, candidates: &Candidates<'_>) -> Option<Selection> {
        let anchors = candidates.anchors();
        let mut negatives = vec![Smallest::new(self.negatives); anchors];
        let mut positives = vec![Smallest::new(self.positives); anchors];
        candidates.for_each(candidates.closeness(), |pair| {
            if pair.is_positive {
                positives[pair.anchor].push(pair.closeness.into(), pair.reference);
            } else {
                negatives[pair.anchor].push((-pair.closeness).into(), pair.reference);
            }
        });
        let references = positives
            .into_iter()
            .zip(negatives)
            .map(|(positives, negatives)| {
                let mut references = positives.into_references();
                references.extend(negatives.into_references());
                references.sort_unstable();
                references
            })
            .collect();
        Some(Selection { references })
    }

    fn check(&self) -> Result<(), OptionError> {
        rule(
            self.negatives > 0 || self.positives > 0,
            "negatives",
            self.negatives,
            "at least 1 where `positives` is 0",
        )
    }
}

/// The references with the smallest keys; of equal keys, those that came first.
#[derive(Debug, Clone)]
pub(super) struct Smallest {
    most: usize,
    heap: BinaryHeap<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Entry {
    key: f64,
    reference: u32,
}

impl Eq for Entry {}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.total_cmp(&other.key).then(self.reference.cmp(&other.reference))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Smallest {
    /// At most `most` of them; 0 for all.
    pub(super) fn new(most: usize) -> Self {
        Self { most: if most == 0 { usize::MAX } else { most }, heap: BinaryHeap::new() }
    }

    pub(super) fn push(&mut self, key: f64, reference: u32) {
        let entry = Entry { key, reference };
        if self.heap.len() < self.most {
            self.heap.push(entry);
        } else if let Some(mut largest) = self.heap.peek_mut()
            && entry < *largest
        {
            *largest = entry;
        }
    }

    pub(super) fn into_references(self) -> Vec<u32> {
        self.heap.into_iter().map(|entry| entry.reference).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_are_kept_and_ties_go_to_the_first() {
        let mut smallest = Smallest::new(2);
        for (reference, key) in [3.0, 1.0, 2.0, 1.0, 1.0].into_iter().enumerate() {
            smallest.push(key, reference as u32);
        }
        let mut references = smallest.into_references();
        references.sort_unstable();
        assert_eq!(references, [1, 3]);
    }
}
