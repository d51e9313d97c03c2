//! The positives of every query, and what is known of their ranks so far.

use std::ops::Range;

use rayon::prelude::*;

use crate::order::Seen;
use crate::relation::Positives;
use crate::{Error, Options, Ranking, Vectors};

/// All pairs of a query of a stretch and a positive.
///
/// Queries are told by their row in the vectors at hand; the relation knows that row by a number `base` higher.
#[derive(Debug)]
pub(crate) struct Wanted {
    queries: Range<usize>,
    base: usize,
    /// Those of the stretch's `i`-th query are `offsets[i]..offsets[i + 1]`.
    offsets: Vec<usize>,
    /// First by index; once all similarities are known, in the order of the ranking.
    positives: Vec<Seen>,
    /// Items counted before each positive, less those that are ignored; wrapping while counting.
    before: Vec<u32>,
    met: Vec<u32>,
}

impl Wanted {
    /// The positives of some queries in a gallery of `gallery` items; similarities are not known yet.
    pub(crate) fn new(
        relation: &Positives<'_>,
        queries: Range<usize>,
        base: usize,
        gallery: usize,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let pairs = queries.clone().map(|query| relation.at_most(base + query)).sum();
        let mut wanted = Self {
            queries: queries.clone(),
            base,
            offsets: Vec::with_capacity(queries.len() + 1),
            positives: Vec::with_capacity(pairs),
            before: Vec::new(),
            met: Vec::with_capacity(queries.len()),
        };
        wanted.offsets.push(0);
        let mut ignored = Vec::new();
        for query in queries {
            options.check()?;
            relation.ignored.of(base + query, &mut ignored);
            let items = relation.of(base + query, &ignored);
            wanted.positives.extend(items.map(|index| Seen { similarity: f64::NAN, index }));
            wanted.offsets.push(wanted.positives.len());
            wanted.met.push((gallery - ignored.len()) as u32);
        }
        wanted.before = vec![0; wanted.positives.len()];
        Ok(wanted)
    }

    /// Bytes for `queries` queries with `pairs` positives in all, at most: the lists, and what is borrowed from them to
    /// work in parallel.
    pub(crate) fn bytes(queries: usize, pairs: usize) -> usize {
        pairs.saturating_mul(size_of::<Seen>() + 8).saturating_add(queries.saturating_mul(64) + 64)
    }

    /// The queries, by their rows.
    pub(crate) fn queries(&self) -> Range<usize> {
        self.queries.clone()
    }

    /// The positives of `query`.
    pub(crate) fn of(&self, query: usize) -> &[Seen] {
        let query = query - self.queries.start;
        &self.positives[self.offsets[query]..self.offsets[query + 1]]
    }

    /// The queries that have a positive.
    pub(crate) fn active(&self) -> Vec<u32> {
        let queries = self.queries.start as u32..self.queries.end as u32;
        queries.filter(|&query| !self.of(query as usize).is_empty()).collect()
    }

    /// The positives and the counts of every query, to be changed in parallel.
    pub(crate) fn par_queries(
        &mut self,
    ) -> impl IndexedParallelIterator<Item = (usize, &mut [Seen], &mut [u32])> {
        let mut lists = Vec::with_capacity(self.met.len());
        let (mut positives, mut before) = (&mut self.positives[..], &mut self.before[..]);
        for (query, ends) in self.queries.clone().zip(self.offsets.windows(2)) {
            let (list, rest) = positives.split_at_mut(ends[1] - ends[0]);
            let (counts, other) = before.split_at_mut(ends[1] - ends[0]);
            (positives, before) = (rest, other);
            lists.push((query, list, counts));
        }
        lists.into_par_iter()
    }

    /// Computes the similarities of the positives in `block`, the gallery items from `first` on.
    pub(crate) fn see(
        &mut self,
        queries: &Vectors,
        block: &Vectors,
        first: usize,
        options: &Options<'_>,
    ) -> Result<(), Error> {
        let items = first..first + block.len();
        self.par_queries().try_for_each(|(query, positives, _)| {
            options.check()?;
            for positive in positives {
                if items.contains(&(positive.index as usize)) {
                    let item = positive.index as usize - first;
                    positive.similarity = queries.closeness(query, block, item);
                }
            }
            Ok(())
        })
    }

    /// Puts the positives of each query in the order of the ranking.
    pub(crate) fn sort(&mut self) {
        self.par_queries().for_each(|(_, positives, _)| positives.sort_unstable_by(Seen::compare));
    }

    /// Takes the ignored items of `block` out of the counts.
    pub(crate) fn take_ignored(
        &mut self,
        relation: &Positives<'_>,
        queries: &Vectors,
        block: &Vectors,
        first: usize,
        options: &Options<'_>,
    ) -> Result<(), Error> {
        let end = (first + block.len()) as u32;
        let base = self.base;
        self.par_queries().try_for_each_init(Vec::new, |ignored, (query, positives, before)| {
            options.check()?;
            if positives.is_empty() {
                return Ok(());
            }
            relation.ignored.of(base + query, ignored);
            let here = ignored.partition_point(|&item| (item as usize) < first)
                ..ignored.partition_point(|&item| item < end);
            for &index in &ignored[here] {
                let similarity = queries.closeness(query, block, index as usize - first);
                let item = Seen { similarity, index };
                let passed = positives.partition_point(|&positive| !item.is_before(positive));
                for count in &mut before[passed..] {
                    *count = count.wrapping_sub(1);
                }
            }
            Ok(())
        })
    }

    /// Adds what was counted for some queries: `above(i, k)` items before positive `k` of the `i`-th of them.
    pub(crate) fn add(
        &mut self,
        active: &[u32],
        range: Range<usize>,
        above: impl Fn(usize, usize) -> u32,
    ) {
        for (place, &query) in active[range].iter().enumerate() {
            let query = query as usize - self.queries.start;
            let places = self.offsets[query]..self.offsets[query + 1];
            for (k, count) in self.before[places].iter_mut().enumerate() {
                *count = count.wrapping_add(above(place, k));
            }
        }
    }

    /// The ranks, once everything is counted.
    pub(crate) fn into_ranking(self) -> Ranking {
        let mut ranks = self.before;
        ranks.iter_mut().for_each(|before| *before = before.wrapping_add(1));
        Ranking::from_parts(self.offsets, ranks, self.met)
    }
}
