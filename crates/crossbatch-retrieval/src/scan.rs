//! Every query against every gallery item, one block of similarities at a time.

use std::ops::Range;
use std::sync::Mutex;

use crossbatch_math::product::{dot_f64, rows_times_rows};

use crate::{Error, Exclude, UnitRows};

/// How many rows are multiplied together. Results do not depend on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    pub(crate) queries: usize,
    pub(crate) gallery: usize,
}

impl Blocks {
    /// Blocks for `queries` queries, so that each thread gets several and a block of similarities stays in its cache.
    pub(crate) fn for_queries(queries: usize) -> Self {
        let shares = 4 * rayon::current_num_threads();
        Self { queries: queries.div_ceil(shares).clamp(8, 256), gallery: 1024 }
    }

    /// The same blocks, with few enough queries that `bytes` for each of them stay below 32 MiB.
    pub(crate) fn holding(self, bytes: usize) -> Self {
        let queries = ((32 << 20) / bytes.max(1)).clamp(1, self.queries);
        Self { queries, ..self }
    }
}

/// Queries, the gallery, and who meets whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scan<'a> {
    pub(crate) queries: &'a UnitRows,
    pub(crate) gallery: &'a UnitRows,
    pub(crate) exclude: Exclude,
    pub(crate) blocks: Blocks,
}

impl<'a> Scan<'a> {
    /// Checks that queries and gallery fit together.
    pub(crate) fn new(
        queries: &'a UnitRows,
        gallery: &'a UnitRows,
        exclude: Exclude,
    ) -> Result<Self, Error> {
        if queries.dim() != gallery.dim() {
            return Err(Error::Dim { queries: queries.dim(), gallery: gallery.dim() });
        }
        if gallery.len() > u32::MAX as usize {
            return Err(Error::TooManyRows { rows: gallery.len() });
        }
        let blocks = Blocks::for_queries(queries.len());
        Ok(Self { queries, gallery, exclude, blocks })
    }

    /// The most items that every query is sure to meet.
    pub(crate) fn offered(&self) -> usize {
        match self.exclude {
            Exclude::Nothing => self.gallery.len(),
            Exclude::SameIndex => self.gallery.len().saturating_sub(1),
        }
    }

    /// The queries of block `block`.
    pub(crate) fn block(&self, block: usize) -> Range<usize> {
        let first = block * self.blocks.queries;
        first..(first + self.blocks.queries).min(self.queries.len())
    }

    /// The similarity that the order is made of.
    pub(crate) fn exact(&self, query: usize, item: u32) -> f64 {
        dot_f64(self.queries.row(query), self.gallery.row(item as usize))
    }

    /// Calls `visit(query, first, similarities)` for each query in `queries` and each block of the gallery, in
    /// ascending order: `similarities[i]` belongs to gallery item `first + i`, computed in f32, and is minus infinity
    /// where the query must not meet the item. `buffer` is scratch space to be reused.
    pub(crate) fn visit(
        &self,
        queries: Range<usize>,
        buffer: &mut Vec<f32>,
        mut visit: impl FnMut(usize, usize, &[f32]),
    ) {
        let vectors = self.queries.range(queries.start, queries.end);
        for first in (0..self.gallery.len()).step_by(self.blocks.gallery) {
            let end = (first + self.blocks.gallery).min(self.gallery.len());
            let width = end - first;
            buffer.resize(queries.len() * width, 0.0);
            let items = self.gallery.range(first, end);
            rows_times_rows(vectors, items, self.gallery.dim(), buffer);
            for (query, similarities) in queries.clone().zip(buffer.chunks_exact_mut(width)) {
                if self.exclude == Exclude::SameIndex && (first..end).contains(&query) {
                    similarities[query - first] = f32::NEG_INFINITY;
                }
                visit(query, first, similarities);
            }
        }
    }
}

/// Counts finished queries across threads, so that the caller sees a number that only grows.
pub(crate) struct Tally<'a> {
    done: Mutex<usize>,
    total: usize,
    report: &'a (dyn Fn(usize, usize) + Sync),
}

impl<'a> Tally<'a> {
    pub(crate) fn new(total: usize, report: &'a (dyn Fn(usize, usize) + Sync)) -> Self {
        Self { done: Mutex::new(0), total, report }
    }

    /// Reports `queries` more as done.
    pub(crate) fn add(&self, queries: usize) {
        // A panic in another thread's report leaves the count itself intact.
        let mut done = self.done.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *done += queries;
        (self.report)(*done, self.total);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_visited_once_and_the_self_pair_is_hidden() {
        let rows = UnitRows::new((0..14).map(|i| (i as f32).sin() + 0.1).collect(), 2).unwrap();
        let mut scan = Scan::new(&rows, &rows, Exclude::SameIndex).unwrap();
        scan.blocks = Blocks { queries: 3, gallery: 4 };
        let mut visited = Vec::new();
        for block in 0..3 {
            scan.visit(scan.block(block), &mut Vec::new(), |query, first, similarities| {
                for (i, &similarity) in similarities.iter().enumerate() {
                    let item = first + i;
                    visited.push((query, item));
                    if query == item {
                        assert_eq!(similarity, f32::NEG_INFINITY);
                    } else {
                        let exact = scan.exact(query, item as u32);
                        assert!((f64::from(similarity) - exact).abs() < 1e-6);
                    }
                }
            });
        }
        visited.sort_unstable();
        let all: Vec<_> = (0..7).flat_map(|q| (0..7).map(move |g| (q, g))).collect();
        assert_eq!(visited, all);
    }

    #[test]
    fn blocks_shrink_for_few_queries_and_for_large_lists() {
        assert_eq!(Blocks::for_queries(1).queries, 8);
        assert_eq!(Blocks::for_queries(10_000_000).queries, 256);
        assert_eq!(Blocks::for_queries(10_000_000).holding(1 << 20).queries, 32);
        assert_eq!(Blocks::for_queries(1).holding(1 << 30).queries, 1);
    }
}
