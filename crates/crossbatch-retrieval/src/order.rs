//! The one order in which gallery items stand before a query.
//!
//! Items are ordered by their closeness ([`Vectors::closeness`], f64 sums in a fixed order over the stored values),
//! highest first; equal ones by index, lowest first. This is a total order that depends on the vectors alone.
//!
//! [`Vectors::closeness`]: crate::Vectors::closeness

/// A gallery item as a query sees it: its exact similarity and its index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) similarity: f64,
    pub(crate) index: u32,
}

impl Seen {
    /// Whether this item stands before `other`.
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.similarity > other.similarity
            || (self.similarity == other.similarity && self.index < other.index)
    }

    /// The order of the ranking, best first.
    pub(crate) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.index.cmp(&other.index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn higher_similarity_then_lower_index() {
        let seen = |similarity, index| Seen { similarity, index };
        assert!(seen(0.5, 9).is_before(seen(0.4, 1)));
        assert!(seen(0.5, 1).is_before(seen(0.5, 2)));
        assert!(!seen(0.5, 1).is_before(seen(0.5, 1)));
        let mut items = [seen(0.1, 0), seen(0.5, 3), seen(0.5, 2)];
        items.sort_by(Seen::compare);
        assert_eq!(items.map(|item| item.index), [2, 3, 0]);
    }
}
