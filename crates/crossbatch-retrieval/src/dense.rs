//! Ranks the positives of queries that have very many, by sorting all that each query meets.
//!
//! Exact similarities of all positives, sorted, as the other ways need them, cost more than anything else once a class
//! is a good part of the gallery. Here all items of a query are sorted by their products, which are off by a known bound at
//! most, and only those are looked at again that lie within it of an item of the other kind: where positives and others
//! are told apart, the order among the positives does not matter, for a ranking keeps the places of all and not whose
//! they are.

use std::ops::Range;

use crossbatch_math::fixed::{self, PANEL, Width};
use rayon::prelude::*;

use crate::options::Tally;
use crate::piece::{Piece, Place};
use crate::plan::Extent;
use crate::relation::Positives;
use crate::sorted::Sorted;
use crate::vectors::closeness;
use crate::{Error, Options, Ranking, Vectors};

/// Items are sorted where at least one of so many is a positive, on the average over queries, for which the other ways'
/// cost grows with the positives and sorting's does not. By what was measured, both meet at about a ninth for rows of 128
/// numbers, while rows of 32 are faster sorted at a tenth already.
const SHARE: usize = 12;

/// Bytes of ranks that are made at once, where memory allows.
const RANKS: usize = 32 << 20;

/// What a thread works with: one at a time, for nothing that it does in between waits for other threads.
#[derive(Default)]
struct Scratch {
    products: Vec<i32>,
    ignored: Vec<u32>,
    sorted: Sorted,
}

/// Queries and a gallery in memory, about to be ranked.
pub(crate) struct Dense<'a> {
    queries: &'a Vectors,
    gallery: &'a Vectors,
    positives: &'a Positives<'a>,
    extents: (Extent, Extent),
    pub(crate) width: Width,
}

impl<'a> Dense<'a> {
    /// Where sorting is faster than anything else, if memory allows.
    pub(crate) fn new(
        queries: &'a Vectors,
        gallery: &'a Vectors,
        positives: &'a Positives<'a>,
        options: &Options<'_>,
    ) -> Option<Self> {
        let pairs: usize = (0..queries.len()).map(|query| positives.at_most(query)).sum();
        if pairs == 0 || SHARE * (pairs / queries.len()) < gallery.len() {
            return None;
        }
        let dense = Self::of(queries, gallery, positives);
        (dense.bytes() <= options.memory()).then_some(dense)
    }

    /// The same without asking whether it pays; the gallery is not empty.
    pub(crate) fn of(
        queries: &'a Vectors,
        gallery: &'a Vectors,
        positives: &'a Positives<'a>,
    ) -> Self {
        let extent = Extent::of(queries);
        let same = std::ptr::eq(queries, gallery);
        let extents = (extent, if same { extent } else { Extent::of(gallery) });
        // The most precise products: an item that has to be looked at again costs more than they do.
        let f32_fits = |&width: &Width| width == Width::F32;
        let width = extents.0.with(extents.1).widths(queries.dim()).find(f32_fits);
        Self { queries, gallery, positives, extents, width: width.unwrap_or(Width::I16) }
    }

    /// Bytes for everything but ranks beyond those of a panel.
    pub(crate) fn bytes(&self) -> usize {
        let items = self.gallery.len();
        let a_panel = 4 * items.next_multiple_of(PANEL) * PANEL;
        let a_query = Sorted::bytes(items) + 4 * items;
        let thread = a_panel + a_query + Piece::bytes(self.width, PANEL, self.queries.dim());
        let most = (0..self.queries.len()).map(|query| self.positives.at_most(query)).max();
        rayon::current_num_threads() * thread
            + Piece::bytes(self.width, items, self.queries.dim())
            + 2 * Ranking::bytes(PANEL, PANEL * most.unwrap_or(0))
    }

    /// Gives `sink` the ranks of all queries, some queries at a time.
    pub(crate) fn rank(
        &self,
        options: &Options<'_>,
        tally: &Tally<'_>,
        sink: &mut dyn FnMut(Ranking),
    ) -> Result<(), Error> {
        let Self { queries, gallery, width, extents, .. } = *self;
        let items = Piece::new(gallery, width, extents.1, extents, gallery.len(), |i| i);
        let budget = options.memory().saturating_sub(self.bytes()).min(2 * RANKS);
        let pairs = |rows: Range<usize>| rows.map(|query| self.positives.at_most(query)).sum();
        let mut start = 0;
        while start < queries.len() {
            let panel = |first: usize| first..queries.len().min(first + PANEL);
            let mut end = panel(start).end;
            let mut held = 0;
            while end < queries.len() {
                let next = panel(end);
                held += 2 * Ranking::bytes(PANEL, pairs(next.clone()));
                if held > budget {
                    break;
                }
                end = next.end;
            }
            let panels: Vec<Ranking> = (start..end)
                .into_par_iter()
                .step_by(PANEL)
                .map_init(Scratch::default, |scratch, first| {
                    let rows = first..end.min(first + PANEL);
                    let mut found = Ranking::with_capacity(PANEL, pairs(rows.clone()));
                    self.rank_panel(&items, rows.clone(), scratch, options, &mut found)?;
                    tally.add((rows.len() * gallery.len()) as u64);
                    Ok(found)
                })
                .collect::<Result<_, Error>>()?;
            let mut ranking = Ranking::with_capacity(end - start, pairs(start..end));
            panels.iter().for_each(|panel| ranking.append(panel));
            drop(panels);
            sink(ranking);
            start = end;
        }
        Ok(())
    }

    /// Ranks at most a panel of queries.
    fn rank_panel(
        &self,
        items: &Piece,
        queries: Range<usize>,
        scratch: &mut Scratch,
        options: &Options<'_>,
        found: &mut Ranking,
    ) -> Result<(), Error> {
        let (first, len) = (queries.start, self.gallery.len());
        let (extents, similarity) = (self.extents, self.queries.similarity());
        let rows =
            Piece::new(self.queries, self.width, extents.0, extents, queries.len(), |i| first + i);
        let stride = len.next_multiple_of(PANEL);
        let Scratch { products, ignored, sorted } = scratch;
        products.resize(queries.len() * stride, 0);
        fixed::products(&rows.rows, 0..queries.len(), items.operand(), 0..len, products);
        for (query, line) in queries.zip(products.chunks_exact(stride)) {
            options.check()?;
            self.positives.ignored.of(query, ignored);
            let row = self.queries.row(query);
            let place = Place::new(similarity, &row, &rows.rows, &items.rows, extents.1.norm);
            let positives = self.positives.of(query, ignored);
            sorted.set(&line[..len], place.error, positives, ignored);
            sorted.settle(|item| closeness(similarity, &row, &self.gallery.row(item as usize)));
            found.push(sorted.ranks(), (len - ignored.len()) as u32);
        }
        Ok(())
    }
}
