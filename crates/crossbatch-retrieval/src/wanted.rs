//! The positives of every query, and what is known of their ranks so far.

use std::ops::Range;

use rayon::prelude::*;

use crate::options::Tally;
use crate::order::Seen;
use crate::relation::Positives;
use crate::{Error, Options, Ranking, Vectors};

/// All pairs of a query and a positive; those of query `i` are `offsets[i]..offsets[i + 1]`.
#[derive(Debug)]
pub(crate) struct Wanted {
    offsets: Vec<usize>,
    /// First by index; once all similarities are known, in the order of the ranking.
    positives: Vec<Seen>,
    /// Items counted before each positive, less those that are ignored; wrapping while counting.
    before: Vec<u32>,
    met: Vec<u32>,
}

impl Wanted {
    /// The positives of `queries` queries in a gallery of `gallery` items; similarities are not known yet.
    pub(crate) fn new(
        relation: &Positives<'_>,
        queries: usize,
        gallery: usize,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let mut wanted = Self {
            offsets: vec![0],
            positives: Vec::new(),
            before: Vec::new(),
            met: Vec::with_capacity(queries),
        };
        let mut ignored = Vec::new();
        for query in 0..queries {
            options.check()?;
            relation.ignored.of(query, &mut ignored);
            let items = relation.of(query, &ignored);
            wanted.positives.extend(items.map(|index| Seen { similarity: f64::NAN, index }));
            wanted.offsets.push(wanted.positives.len());
            wanted.met.push((gallery - ignored.len()) as u32);
        }
        wanted.before = vec![0; wanted.positives.len()];
        Ok(wanted)
    }

    /// The positives of `query`.
    pub(crate) fn of(&self, query: usize) -> &[Seen] {
        &self.positives[self.offsets[query]..self.offsets[query + 1]]
    }

    /// The queries that have a positive.
    pub(crate) fn active(&self) -> Vec<u32> {
        (0..self.met.len() as u32).filter(|&query| !self.of(query as usize).is_empty()).collect()
    }

    /// Counts pairs of a query that has positives and an item, of which there are `gallery`.
    pub(crate) fn tally<'o>(&self, gallery: usize, options: &Options<'o>) -> Tally<'o> {
        options.tally(self.active().len() as u64 * gallery as u64, self.met.len())
    }

    /// The positives and the counts of every query, to be changed in parallel.
    fn par_queries(
        &mut self,
    ) -> impl IndexedParallelIterator<Item = (usize, &mut [Seen], &mut [u32])> {
        let mut lists = Vec::with_capacity(self.met.len());
        let (mut positives, mut before) = (&mut self.positives[..], &mut self.before[..]);
        for (query, ends) in self.offsets.windows(2).enumerate() {
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
        self.par_queries().try_for_each_init(Vec::new, |ignored, (query, positives, before)| {
            options.check()?;
            if positives.is_empty() {
                return Ok(());
            }
            relation.ignored.of(query, ignored);
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
            let places = self.offsets[query as usize]..self.offsets[query as usize + 1];
            for (k, count) in self.before[places].iter_mut().enumerate() {
                *count = count.wrapping_add(above(place, k));
            }
        }
    }

    /// The ranks, once everything is counted.
    pub(crate) fn into_ranking(self) -> Ranking {
        let ranks = self.before.into_iter().map(|before| before.wrapping_add(1)).collect();
        Ranking::from_parts(self.offsets, ranks, self.met)
    }
}
