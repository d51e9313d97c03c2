//! Counts the gallery items before each positive, most of them by products of few bits.
//!
//! A product in fixed point is off by a known bound at most. An item whose product lies above a positive's by more than
//! the bound stands before it, one that lies below by more stands behind, and only the few in between are looked at
//! again, in the order's own f64 arithmetic. Counts of whole numbers do not depend on who counts what.

use std::ops::Range;

use crossbatch_math::fixed::{self, Bands, FixedRows, Operand, Scratch, Side, Unsure, Width};
use rayon::prelude::*;

use crate::options::Tally;
use crate::order::Seen;
use crate::piece::{Piece, Place};
use crate::plan::Extent;
use crate::wanted::Wanted;
use crate::{Error, Options, Vectors};

/// How the counting is done. Results do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    pub(crate) width: Width,
    /// Whether queries and gallery are one set, of which each product serves two queries.
    pub(crate) both: bool,
    /// Rows that are in fixed point at once, on each side.
    pub(crate) piece: usize,
    /// Rows of a tile, in whole panels.
    pub(crate) tile: usize,
}

/// One counting of a block of gallery items for the queries that have positives.
pub(crate) struct Count<'a> {
    pub(crate) queries: &'a Vectors,
    /// The queries that are counted for, ascending; all of them where `plan.both`.
    pub(crate) active: &'a [u32],
    pub(crate) block: &'a Vectors,
    /// The index of the block's first item.
    pub(crate) first: usize,
    pub(crate) extents: (Extent, Extent),
    pub(crate) plan: Plan,
}

impl Count<'_> {
    /// Adds to `wanted` how many items of the block stand before each positive, ignored ones included.
    pub(crate) fn run(
        &self,
        wanted: &mut Wanted,
        options: &Options<'_>,
        tally: &Tally<'_>,
    ) -> Result<(), Error> {
        if self.plan.both {
            return self.run_both(wanted, options, tally);
        }
        for first in (0..self.active.len()).step_by(self.plan.piece) {
            let places = first..self.active.len().min(first + self.plan.piece);
            let queries = &self.active[places.clone()];
            let left =
                self.piece(self.queries, self.extents.0, queries.len(), |i| queries[i] as usize);
            for start in (0..self.block.len()).step_by(self.plan.piece) {
                let items = start..self.block.len().min(start + self.plan.piece);
                let right =
                    self.piece(self.block, self.extents.1, items.len(), |i| items.start + i);
                let bands = self.bands(wanted, queries, &left.rows, &right.rows);
                let counted = &*wanted;
                tiles(left.rows.len(), right.rows.len(), self.plan.tile)
                    .into_par_iter()
                    .try_for_each_init(Scratch::default, |scratch, (rows, columns)| {
                        options.check()?;
                        let work = (rows.len() * columns.len()) as u64;
                        fixed::count(
                            Operand {
                                rows: &left.rows,
                                bands: Some(&bands),
                                offsets: &left.offsets,
                            },
                            rows,
                            Operand { rows: &right.rows, bands: None, offsets: &right.offsets },
                            columns,
                            scratch,
                            &mut |unsure| {
                                for pair in unsure {
                                    let item = items.start + pair.right as usize;
                                    let place = pair.left as usize;
                                    self.settle(counted, &bands, place, queries[place], item, pair);
                                }
                            },
                        );
                        tally.add(work);
                        Ok(())
                    })?;
                wanted.add(self.active, places.clone(), |place, k| bands.above(place, k));
            }
        }
        Ok(())
    }

    /// The same for a set with itself: a tile of products and its mirror image are one.
    fn run_both(
        &self,
        wanted: &mut Wanted,
        options: &Options<'_>,
        tally: &Tally<'_>,
    ) -> Result<(), Error> {
        let len = self.queries.len();
        let piece = self.piece(self.queries, self.extents.0, len, |i| i);
        let bands = self.bands(wanted, self.active, &piece.rows, &piece.rows);
        let side = Operand { rows: &piece.rows, bands: Some(&bands), offsets: &piece.offsets };
        let counted = &*wanted;
        let blocks = len.div_ceil(self.plan.tile);
        let block = |i: usize| i * self.plan.tile..len.min((i + 1) * self.plan.tile);
        (0..blocks * (blocks + 1) / 2).into_par_iter().try_for_each_init(
            Scratch::default,
            |scratch, at| {
                options.check()?;
                let (i, j) = triangle(at);
                let mut settle = |unsure: &[Unsure]| {
                    for pair in unsure {
                        let (query, item) = match pair.side {
                            Side::Left => (pair.left, pair.right),
                            Side::Right => (pair.right, pair.left),
                        };
                        let place = query as usize;
                        self.settle(counted, &bands, place, query, item as usize, pair);
                    }
                };
                // A block with itself has both orders of each pair in it.
                let right = if i == j { Operand { bands: None, ..side } } else { side };
                fixed::count(side, block(i), right, block(j), scratch, &mut settle);
                let products = (block(i).len() * block(j).len()) as u64;
                tally.add(if i == j { products } else { 2 * products });
                Ok(())
            },
        )?;
        wanted.add(self.active, 0..len, |place, k| bands.above(place, k));
        Ok(())
    }

    /// Rows in fixed point.
    fn piece(
        &self,
        vectors: &Vectors,
        extent: Extent,
        len: usize,
        index: impl Fn(usize) -> usize + Sync,
    ) -> Piece {
        Piece::new(vectors, self.plan.width, extent, self.extents, len, index)
    }

    /// The products that are too near to a positive's to be told apart from it.
    fn bands(
        &self,
        wanted: &Wanted,
        queries: &[u32],
        left: &FixedRows,
        right: &FixedRows,
    ) -> Bands {
        let similarity = self.queries.similarity();
        // The query whose bands are being made.
        let mut current = None;
        Bands::new(
            queries.len(),
            |place| wanted.of(queries[place] as usize).len(),
            |place, k| {
                let query = queries[place] as usize;
                let (_, scale) =
                    *current.take_if(|(last, _)| *last == place).get_or_insert_with(|| {
                        let row = self.queries.row(query);
                        (place, Place::new(similarity, &row, left, right, self.extents.1.norm))
                    });
                current = Some((place, scale));
                let middle = scale.middle(wanted.of(query)[k].similarity);
                // A cast to i32 saturates.
                ((middle - scale.error).floor() as i32, (middle + scale.error).ceil() as i32)
            },
        )
    }

    /// Looks again at an item that is too near to some positive of `query`.
    fn settle(
        &self,
        wanted: &Wanted,
        bands: &Bands,
        place: usize,
        query: u32,
        item: usize,
        pair: &Unsure,
    ) {
        let similarity = self.queries.closeness(query as usize, self.block, item);
        let item = Seen { similarity, index: (self.first + item) as u32 };
        let positives = wanted.of(query as usize);
        bands.inside(place, pair.x, |k| {
            if item.is_before(positives[k]) {
                bands.add(place, k, 1);
            }
        });
    }
}

/// Every pair of blocks of at most `tile` rows.
fn tiles(left: usize, right: usize, tile: usize) -> Vec<(Range<usize>, Range<usize>)> {
    let blocks = |len: usize| (0..len).step_by(tile).map(move |i| i..len.min(i + tile));
    blocks(left)
        .flat_map(|rows| blocks(right).map(move |columns| (rows.clone(), columns)))
        .collect()
}

/// The pair `j <= i` at place `at` of (0, 0), (1, 0), (1, 1), (2, 0), ...
fn triangle(at: usize) -> (usize, usize) {
    let mut i = (((8.0 * at as f64 + 1.0).sqrt() - 1.0) / 2.0) as usize;
    // The root is rounded.
    while i * (i + 1) / 2 > at {
        i -= 1;
    }
    while (i + 1) * (i + 2) / 2 <= at {
        i += 1;
    }
    (i, at - i * (i + 1) / 2)
}
