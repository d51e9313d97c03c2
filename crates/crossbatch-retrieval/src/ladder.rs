//! Counts the gallery items before each positive of queries that have many positives.
//!
//! Comparing each product with each positive, as [`Count`](crate::count::Count) does, is fastest where these are few: it
//! needs no branch. With a class of thousands the comparisons would be most of the work. Here a query's positives are a
//! ladder, and each item looks up between which rungs it belongs, so that an item costs the same however many there
//! are. What lies within the products' error of a rung is settled by the order's own f64 arithmetic, as there.

use crossbatch_math::fixed::{self, PANEL, Width};
use rayon::prelude::*;

use crate::options::Tally;
use crate::order::Seen;
use crate::piece::{Piece, Place};
use crate::plan::{Extent, choose};
use crate::wanted::Wanted;
use crate::{Error, Options, Vectors};

/// Positives a query from which on ladders are faster.
pub(crate) const MANY: usize = 48;

/// Queries that a thread works on at once, and gallery items that they are multiplied with.
const ROWS: usize = PANEL;
const COLUMNS: usize = 4800;

/// The most slots of a ladder.
const SLOTS: usize = 1 << 14;

/// The positives of one query, as products in fixed point.
#[derive(Debug, Default)]
struct Ladder {
    /// The lowest and the highest product that a positive may have, best positive first.
    low: Vec<i32>,
    high: Vec<i32>,
    /// For products from `slot << shift` above the lowest on: how many positives stand before all of these.
    slots: Vec<u32>,
    shift: u32,
    /// Items counted between positive `k - 1` and positive `k`.
    gaps: Vec<u32>,
    /// A bit for each item of the block that is a positive.
    own: Vec<u64>,
}

impl Ladder {
    fn set(&mut self, positives: &[Seen], place: &Place) {
        self.low.clear();
        self.high.clear();
        self.slots.clear();
        self.gaps.clear();
        self.gaps.resize(positives.len(), 0);
        for positive in positives {
            let middle = place.middle(positive.similarity);
            // Casts to i32 saturate.
            self.low.push((middle - place.error).floor() as i32);
            self.high.push((middle + place.error).ceil() as i32);
        }
        let (Some(&bottom), Some(&top)) = (self.low.last(), self.high.first()) else { return };
        let wanted = (2 * positives.len()).next_power_of_two().min(SLOTS) as u32;
        let span = top.abs_diff(bottom);
        self.shift = (span / wanted).checked_ilog2().map_or(0, |log| log + 1);
        let slots = (span >> self.shift) as usize + 1;
        self.slots.resize(slots, 0);
        let mut before = 0;
        for slot in (0..slots).rev() {
            // The highest product of the slot.
            let end = i64::from(bottom) + ((slot as i64 + 1) << self.shift) - 1;
            while before < positives.len() && i64::from(self.low[before]) > end {
                before += 1;
            }
            self.slots[slot] = before as u32;
        }
    }

    /// Counts items by their products; `settle(item, first)` gives the number of positives before an item that lies too
    /// near to one to tell, of which the first `first` are known to be, or `None` if it is not to be counted.
    fn take(&mut self, products: &[i32], mut settle: impl FnMut(usize, usize) -> Option<usize>) {
        let (Some(&bottom), Some(&top)) = (self.low.last(), self.high.first()) else { return };
        for (item, &x) in products.iter().enumerate() {
            if x < bottom {
                continue;
            }
            if x > top {
                self.gaps[0] += 1;
                continue;
            }
            let mut before = self.slots[(x.abs_diff(bottom) >> self.shift) as usize] as usize;
            while self.low[before] > x {
                before += 1;
            }
            if x <= self.high[before] {
                match settle(item, before) {
                    Some(found) => before = found,
                    None => continue,
                }
            }
            if let Some(gap) = self.gaps.get_mut(before) {
                *gap += 1;
            }
        }
    }
}

/// What a thread works with: one at a time, for nothing that it does in between waits for other threads.
#[derive(Default)]
struct Scratch {
    products: Vec<i32>,
    ladders: Vec<Ladder>,
}

/// How a block is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ladders {
    pub(crate) extents: (Extent, Extent),
    pub(crate) width: Width,
}

impl Ladders {
    /// For queries with many positives, if memory allows.
    pub(crate) fn new(
        queries: &Vectors,
        active: &[u32],
        block: &Vectors,
        extents: (Extent, Extent),
        wanted: &Wanted,
        options: &Options<'_>,
    ) -> Option<Self> {
        let of = |query: &u32| wanted.of(*query as usize).len();
        if active.iter().map(of).sum::<usize>() < MANY * active.len() {
            return None;
        }
        let width = choose(queries, active, block, extents, |query| wanted.of(query), 1.0);
        let most = active.iter().map(of).max().unwrap_or(0);
        let row = 4 * COLUMNS + 12 * most + 4 * SLOTS + block.len() / 8;
        let scratch = ROWS * row + Piece::bytes(width, ROWS, queries.dim());
        let bytes =
            rayon::current_num_threads() * scratch + Piece::bytes(width, block.len(), block.dim());
        (bytes <= options.memory()).then_some(Self { extents, width })
    }

    /// Adds to `wanted` how many items of the block stand before each positive, ignored ones included.
    pub(crate) fn count(
        self,
        queries: &Vectors,
        block: &Vectors,
        first: usize,
        wanted: &mut Wanted,
        options: &Options<'_>,
        tally: &Tally<'_>,
    ) -> Result<(), Error> {
        let Self { extents, width } = self;
        let items = Piece::new(block, width, extents.1, extents, block.len(), |i| i);
        let norm = extents.1.norm;
        wanted.par_queries().chunks(ROWS).try_for_each_init(
            Scratch::default,
            |Scratch { products, ladders }, mut lists| {
                let start = lists[0].0;
                let rows =
                    Piece::new(queries, width, extents.0, extents, lists.len(), |i| start + i);
                ladders.resize_with(lists.len().max(ladders.len()), Ladder::default);
                for ((query, positives, before), ladder) in lists.iter_mut().zip(&mut *ladders) {
                    let row = queries.row(*query);
                    let place =
                        Place::new(queries.similarity(), &row, &rows.rows, &items.rows, norm);
                    ladder.set(positives, &place);
                    ladder.own.clear();
                    ladder.own.resize(block.len().div_ceil(64), 0);
                    // Positives are in their order already.
                    let mut passed = 0;
                    for (positive, before) in positives.iter().zip(&mut **before) {
                        *before = before.wrapping_add(passed);
                        let item = (positive.index as usize).wrapping_sub(first);
                        if item < block.len() {
                            ladder.own[item / 64] |= 1 << (item % 64);
                            passed += 1;
                        }
                    }
                }
                for start in (0..block.len()).step_by(COLUMNS) {
                    options.check()?;
                    let columns = start..block.len().min(start + COLUMNS);
                    let stride = columns.len().next_multiple_of(PANEL);
                    products.resize(lists.len() * stride, 0);
                    let (left, right) = (0..lists.len(), items.operand());
                    fixed::products(&rows.rows, left, right, columns.clone(), products);
                    let lines = products.chunks_exact(stride).zip(&mut *ladders);
                    for ((query, positives, _), (line, ladder)) in lists.iter().zip(lines) {
                        let own = std::mem::take(&mut ladder.own);
                        ladder.take(&line[..columns.len()], |item, known| {
                            let item = columns.start + item;
                            if own[item / 64] >> (item % 64) & 1 == 1 {
                                return None;
                            }
                            let similarity = queries.closeness(*query, block, item);
                            let seen = Seen { similarity, index: (first + item) as u32 };
                            let rest = &positives[known..];
                            Some(known + rest.partition_point(|rung| rung.is_before(seen)))
                        });
                        ladder.own = own;
                    }
                }
                let mut active = 0;
                for ((_, positives, before), ladder) in lists.iter_mut().zip(&*ladders) {
                    let mut passed = 0u32;
                    for (before, gap) in before.iter_mut().zip(&ladder.gaps) {
                        passed += gap;
                        *before = before.wrapping_add(passed);
                    }
                    active += u64::from(!positives.is_empty());
                }
                tally.add(active * block.len() as u64);
                Ok(())
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::relation::Positives;
    use crate::{Relation, Similarity};

    const DIM: usize = 4;
    const ITEMS: usize = 5200;

    /// Rows of small whole numbers: hundreds are equal, so that most items have to be settled.
    fn rows(count: usize, seed: usize) -> Vec<f32> {
        let value = |i: usize| (((i + seed).wrapping_mul(2_654_435_761) >> 16) % 5) as f32 - 2.0;
        (0..count * DIM).map(|i| value(i) + 0.25).collect()
    }

    /// The first block takes two turns, the second begins in the middle of the gallery.
    #[test]
    fn blocks_and_turns_count_what_every_comparison_counts() {
        let labels: Vec<u32> = (0..ITEMS as u32).map(|item| item * 7 % 40).collect();
        let own: Vec<u32> = (0..40).collect();
        let relation = Relation::new(&own, &labels);
        let (asked, kept) = (rows(own.len(), 3), rows(ITEMS, 0));
        for similarity in [Similarity::Cosine, Similarity::Euclidean] {
            let vectors = |data: &[f32]| Vectors::new(data.to_vec(), DIM, similarity).unwrap();
            let (queries, gallery) = (vectors(&asked), vectors(&kept));
            let positives = Positives::new(&relation, own.len(), ITEMS).unwrap();
            let options = Options::default();
            let mut wanted = Wanted::new(&positives, 0..own.len(), 0, ITEMS, &options).unwrap();
            wanted.see(&queries, &gallery, 0, &options).unwrap();
            wanted.sort();
            for items in [0..COLUMNS + 100, COLUMNS + 100..ITEMS] {
                let block = vectors(&kept[items.start * DIM..items.end * DIM]);
                let extents = (Extent::of(&queries), Extent::of(&block));
                let ladders = Ladders { extents, width: Width::I8 };
                let tally = options.tally(1, 1);
                ladders
                    .count(&queries, &block, items.start, &mut wanted, &options, &tally)
                    .unwrap();
            }
            let found = wanted.into_ranking();

            for (query, &label) in own.iter().enumerate() {
                let seen = |item: usize| Seen {
                    similarity: queries.closeness(query, &gallery, item),
                    index: item as u32,
                };
                let mut order: Vec<Seen> = (0..ITEMS).map(seen).collect();
                order.sort_by(Seen::compare);
                let right = |(_, item): &(u32, &Seen)| labels[item.index as usize] == label;
                let expected = (1..).zip(&order).filter(right).map(|(rank, _)| rank);
                assert_eq!(found.ranks(query), expected.collect::<Vec<u32>>(), "{similarity:?}");
            }
        }
    }
}
