//! The ranks of all positives: everything that metrics need to know of a ranking.

use crate::Error;

/// For every query the ranks of its positives, counted from 1, and how many items it met.
///
/// This is all that retrieval metrics ask for, and it is small: one number for each pair of a query and a positive.
/// [`rank`](crate::rank()) makes it.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::Ranking;
///
/// // Two queries: the first has positives at ranks 2, 3 and 6 of ten items, the second has none.
/// let ranking = Ranking::from_ranks(&[vec![2, 3, 6], vec![]], &[10, 10])?;
/// assert_eq!(ranking.ranks(0), [2, 3, 6]);
/// assert_eq!(ranking.counted().count(), 1);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranking {
    /// The ranks of query `i` are `ranks[offsets[i]..offsets[i + 1]]`.
    offsets: Vec<usize>,
    ranks: Vec<u32>,
    met: Vec<u32>,
}

impl Ranking {
    /// A ranking from ranks that are known, `met[i]` items having been ranked for query `i`.
    ///
    /// # Errors
    ///
    /// [`Error::Ranks`] if a query's ranks do not ascend strictly within `1..=met`, or if the two differ in length.
    pub fn from_ranks(ranks: &[Vec<u32>], met: &[u32]) -> Result<Self, Error> {
        let fits = |ranks: &[u32], met: u32| {
            let (first, last) = (ranks.first().copied(), ranks.last().copied());
            ranks.is_sorted_by(|a, b| a < b) && first != Some(0) && last <= Some(met)
        };
        if ranks.len() != met.len() {
            return Err(Error::Ranks { query: ranks.len().min(met.len()) });
        }
        if let Some(query) = ranks.iter().zip(met).position(|(ranks, &met)| !fits(ranks, met)) {
            return Err(Error::Ranks { query });
        }
        let mut offsets = vec![0];
        offsets.extend(ranks.iter().scan(0, |end, ranks| {
            *end += ranks.len();
            Some(*end)
        }));
        Ok(Self { offsets, ranks: ranks.concat(), met: met.to_vec() })
    }

    /// Of no query, with room for `queries` of them with `pairs` positives in all.
    pub(crate) fn with_capacity(queries: usize, pairs: usize) -> Self {
        let mut offsets = Vec::with_capacity(queries + 1);
        offsets.push(0);
        Self { offsets, ranks: Vec::with_capacity(pairs), met: Vec::with_capacity(queries) }
    }

    /// Bytes of such a ranking.
    pub(crate) fn bytes(queries: usize, pairs: usize) -> usize {
        queries.saturating_mul(12).saturating_add(pairs.saturating_mul(4)).saturating_add(8)
    }

    /// By parts that are known to fit: the ranks of the `i`-th query are `offsets[i]..offsets[i + 1]`.
    pub(crate) fn from_parts(offsets: Vec<usize>, ranks: Vec<u32>, met: Vec<u32>) -> Self {
        debug_assert!(offsets.len() == met.len() + 1 && offsets.last() == Some(&ranks.len()));
        Self { offsets, ranks, met }
    }

    /// Adds a query.
    pub(crate) fn push(&mut self, ranks: impl Iterator<Item = u32>, met: u32) {
        self.ranks.extend(ranks);
        self.offsets.push(self.ranks.len());
        self.met.push(met);
    }

    /// Adds the queries of another ranking.
    pub(crate) fn append(&mut self, other: &Self) {
        let before = self.ranks.len();
        self.ranks.extend_from_slice(&other.ranks);
        self.offsets.extend(other.offsets[1..].iter().map(|end| before + end));
        self.met.extend_from_slice(&other.met);
    }

    /// The number of queries, those without a positive included.
    pub fn len(&self) -> usize {
        self.met.len()
    }

    /// Whether there is no query.
    pub fn is_empty(&self) -> bool {
        self.met.is_empty()
    }

    /// The ranks of the positives of `query`, ascending; empty if it has none.
    ///
    /// # Panics
    ///
    /// If there are not more than `query` queries.
    pub fn ranks(&self, query: usize) -> &[u32] {
        &self.ranks[self.offsets[query]..self.offsets[query + 1]]
    }

    /// How many gallery items `query` met, its positives included: the last possible rank.
    ///
    /// # Panics
    ///
    /// If there are not more than `query` queries.
    pub fn met(&self, query: usize) -> u32 {
        self.met[query]
    }

    /// The queries that have a positive, ascending, with the ranks of these.
    pub fn counted(&self) -> impl Iterator<Item = (usize, &[u32])> {
        (0..self.len())
            .map(|query| (query, self.ranks(query)))
            .filter(|(_, ranks)| !ranks.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_must_be_possible() {
        let made = |ranks: &[u32], met| Ranking::from_ranks(&[vec![1], ranks.to_vec()], &[9, met]);
        assert!(made(&[1, 2, 4], 4).is_ok());
        assert!(made(&[], 0).is_ok());
        for (ranks, met) in [(&[0, 1][..], 4), (&[2, 2], 4), (&[3, 2], 4), (&[5], 4), (&[1], 0)] {
            assert_eq!(made(ranks, met), Err(Error::Ranks { query: 1 }), "{ranks:?} of {met}");
        }
        assert_eq!(Ranking::from_ranks(&[], &[3]), Err(Error::Ranks { query: 0 }));
    }
}
