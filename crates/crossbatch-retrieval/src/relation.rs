//! Which gallery items a query meets, and which of them are its positives.

/// Which gallery items a query must not meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exclude {
    /// Every query meets the whole gallery: separate query and gallery sets.
    Nothing,
    /// Query `i` never meets gallery item `i`: a set searched with itself.
    SameIndex,
}

impl Exclude {
    /// Whether `query` must not meet `item`.
    pub(crate) fn hides(self, query: usize, item: usize) -> bool {
        self == Self::SameIndex && query == item
    }
}

/// The gallery's indices grouped by label. Any `u32` is a label; no label needs to be below the number of rows.
#[derive(Debug)]
pub(crate) struct LabelIndex<'a> {
    labels: &'a [u32],
    /// Indices sorted by label, then by index.
    order: Vec<u32>,
}

impl<'a> LabelIndex<'a> {
    /// `labels` has at most `u32::MAX` entries.
    pub(crate) fn new(labels: &'a [u32]) -> Self {
        let mut order: Vec<u32> = (0..labels.len() as u32).collect();
        order.sort_unstable_by_key(|&index| (labels[index as usize], index));
        Self { labels, order }
    }

    /// The indices with `label`, ascending.
    pub(crate) fn with(&self, label: u32) -> &[u32] {
        let first = self.order.partition_point(|&index| self.labels[index as usize] < label);
        let group = &self.order[first..];
        let count = group.partition_point(|&index| self.labels[index as usize] == label);
        &group[..count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_find_their_indices() {
        let labels = [7, u32::MAX, 7, 0, u32::MAX, 7];
        let index = LabelIndex::new(&labels);
        assert_eq!(index.with(7), [0, 2, 5]);
        assert_eq!(index.with(u32::MAX), [1, 4]);
        assert_eq!(index.with(0), [3]);
        assert!(index.with(8).is_empty());
        assert!(LabelIndex::new(&[]).with(1).is_empty());
    }
}
