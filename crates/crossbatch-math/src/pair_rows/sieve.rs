//! Which pairs of a tile may matter, from codes.

#![allow(clippy::needless_range_loop)]

use super::negatives::Stream;
use super::partial::{MAX, MIN, Partial};
use super::program::NONE;
use super::screen::Screen;
use super::tile::{TILE, Widened, dot};
use crate::lanes::{Arithmetic, Portable, for_lanes};
use crate::quantised::{Block, LANES};
use rayon::prelude::*;
use std::ops::Range;

/// One tile in so many is looked at beforehand, so that the extremes of all negatives are nearly known.
const AHEAD: usize = 16;

/// A tile is left to the sieve where no more than one pair in so many may matter.
const FEW: u32 = 8;

/// Most tiles in a row that are computed in full after the sieve failed.
const PATIENCE: u32 = 64;

/// The anchors' codes, and what is known of all negatives beforehand.
pub(super) struct Sieve<'a> {
    pub(super) screen: &'a Screen,
    /// A block of the stream each.
    blocks: Vec<Block>,
    /// A closeness that some negative reaches, a lane each: what stays below is no maximum.
    reached: Vec<f32>,
    /// And to which some negative falls.
    fallen: Vec<f32>,
}

/// Largest and smallest products of codes, a lane each, and the references they are of, counted from the first that is
/// looked at here (so that f32 numbers them exactly); -1 for none.
struct Extremes {
    first: usize,
    most: [f32; LANES],
    most_at: [f32; LANES],
    least: [f32; LANES],
    least_at: [f32; LANES],
}

impl Default for Extremes {
    fn default() -> Self {
        let none = [-1.0; LANES];
        Self { first: 0, most: [-NONE; LANES], most_at: none, least: [NONE; LANES], least_at: none }
    }
}

impl Extremes {
    fn reference(&self, at: f32) -> Option<usize> {
        (at >= 0.0).then_some(self.first + at as usize)
    }
}

/// How a stretch fares with the sieve; hangs on the stretch alone.
#[derive(Default)]
pub(super) struct Fortune {
    /// Tiles still to be computed in full.
    wait: u32,
    /// As many after the next failure.
    backoff: u32,
}

impl Fortune {
    /// Whether to try the next tile.
    pub(super) fn tries(&mut self) -> bool {
        let tries = self.wait == 0;
        self.wait = self.wait.saturating_sub(1);
        tries
    }

    pub(super) fn note(&mut self, failed: bool) {
        if failed {
            self.backoff = (self.backoff * 2).clamp(1, PATIENCE);
            self.wait = self.backoff;
        } else {
            self.backoff = 0;
        }
    }
}

impl<'a> Sieve<'a> {
    /// A sieve for `stream`, where one can be of use.
    pub(super) fn new(stream: &Stream<'a>) -> Option<Self> {
        let problem = stream.problem;
        let screen = problem.screen.filter(|screen| screen.fits(problem))?;
        // Where every negative counts there is nothing to pass over.
        let batch = problem.batch();
        if problem.filled < 4 * TILE
            || stream.above[..batch].iter().all(|above| *above == f32::NEG_INFINITY)
        {
            return None;
        }
        let block = |(first, width): (usize, usize)| {
            let end = (first + width).min(batch);
            Block::new(&problem.anchors[first * problem.dim..end * problem.dim], problem.dim)
        };
        let blocks: Vec<Block> = stream.packed.blocks().map(block).collect();
        // Nothing may overflow: what is no number must show in its row, and codes would not see it.
        let (norm, rest) = screen.rows().largest(0, problem.filled);
        let most = (norm + rest) * problem.filled as f32;
        let lengths = blocks.iter().map(Block::largest_length);
        if !blocks.iter().all(Block::is_finite) || !lengths.map(|x| x * most).all(f32::is_finite) {
            return None;
        }
        let lanes = stream.packed.lanes;
        let (reached, fallen) = (vec![-NONE; lanes], vec![NONE; lanes]);
        let mut sieve = Self { screen, blocks, reached, fallen };
        sieve.look_ahead(stream);
        Some(sieve)
    }

    /// Finds what is, by codes, each anchor's closest and farthest negative among some tiles, and computes those two.
    fn look_ahead(&mut self, stream: &Stream<'a>) {
        let problem = stream.problem;
        let tiles: Vec<usize> = (0..problem.filled).step_by(AHEAD * TILE).collect();
        let this = &*self;
        let looked: Vec<Vec<Extremes>> = tiles
            .par_chunks(4)
            .map(|tiles| {
                let mut products = vec![0; TILE * LANES];
                let mut blocks = Vec::new();
                for block in &this.blocks {
                    let mut extremes = Extremes { first: tiles[0], ..Extremes::default() };
                    for &first in tiles {
                        let count = TILE.min(problem.filled - first);
                        let products = &mut products[..count * block.width()];
                        block.products(this.screen.rows(), first, count, products);
                        let (products, into) = (&*products, &mut extremes);
                        let width = block.width();
                        for_lanes!(
                            stream.level,
                            meet(
                                stream: &Stream<'_>,
                                this: &Sieve<'_>,
                                first: usize,
                                width: usize,
                                products: &[i32],
                                into: &mut Extremes,
                            )
                        );
                    }
                    blocks.push(extremes);
                }
                blocks
            })
            .collect();
        let mut widened = Widened::default();
        let (norm, rest) = self.screen.rows().largest(0, problem.filled);
        for (at, block) in self.blocks.iter().enumerate() {
            for lane in 0..block.rows() {
                let anchor = at * stream.packed.block + lane;
                let mut exact = |reference: usize| {
                    let row = widened.row(problem.references, problem.dim, reference);
                    dot::<Portable>(problem.anchor(anchor), row)
                };
                let (mut closest, mut farthest) = ((-NONE, None), (NONE, None));
                for extremes in &looked {
                    let found = &extremes[at];
                    if found.most[lane] > closest.0 {
                        closest = (found.most[lane], found.reference(found.most_at[lane]));
                    }
                    if found.least[lane] < farthest.0 {
                        farthest = (found.least[lane], found.reference(found.least_at[lane]));
                    }
                }
                // Rounded another way than the stream rounds: a little less than what is there.
                let slack = block.rounding(lane, norm + rest);
                if let Some(x) = closest.1.map(&mut exact) {
                    self.reached[anchor] = x - slack;
                }
                if let Some(x) = farthest.1.map(&mut exact) {
                    self.fallen[anchor] = x + slack;
                }
            }
        }
        return;

        #[inline(always)]
        #[allow(unsafe_code)]
        fn meet<L: Arithmetic>(
            stream: &Stream<'_>,
            this: &Sieve<'_>,
            first: usize,
            width: usize,
            products: &[i32],
            into: &mut Extremes,
        ) {
            for (j, products) in products.chunks_exact(width).enumerate() {
                if !stream.is_negative_of_all(first + j) {
                    continue;
                }
                // SAFETY: whole vectors of the row's products and of the extremes; the level was detected.
                unsafe {
                    let scale = L::splat(this.screen.rows().scale(first + j));
                    let here = L::splat((first - into.first + j) as f32);
                    for v in (0..width).step_by(L::LANES) {
                        let x = L::from_integers(products[v..].as_ptr()).mul(scale);
                        let most = L::load(into.most[v..].as_ptr());
                        let least = L::load(into.least[v..].as_ptr());
                        let (more, less) = (x.greater(most), least.greater(x));
                        if more | less == 0 {
                            continue;
                        }
                        L::select(more, x, most).store(into.most[v..].as_mut_ptr());
                        L::select(less, x, least).store(into.least[v..].as_mut_ptr());
                        let at = L::load(into.most_at[v..].as_ptr());
                        L::select(more, here, at).store(into.most_at[v..].as_mut_ptr());
                        let at = L::load(into.least_at[v..].as_ptr());
                        L::select(less, here, at).store(into.least_at[v..].as_mut_ptr());
                    }
                }
            }
        }
    }

    /// Marks the pairs of a tile with a block that may count or be an extreme, and gives their number.
    ///
    /// # Safety
    ///
    /// As [`Arithmetic`].
    #[inline(always)]
    #[allow(unsafe_code)]
    pub(super) unsafe fn candidates<L: Arithmetic>(
        &self,
        stream: &Stream<'_>,
        partial: &Partial,
        references: Range<usize>,
        lane: usize,
        products: &mut [i32],
        masks: &mut [u64; TILE],
    ) -> u32 {
        let (first, count) = (references.start, references.len());
        let block = &self.blocks[lane / stream.packed.block];
        let rows = self.screen.rows();
        let width = block.width();
        let products = &mut products[..count * width];
        block.products(rows, first, count, products);

        // In units of the lane's codes: up to `high` a product may matter, and from `low` on. Lanes that fill up never do.
        let (mut high, mut low) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let (norm, rest) = rows.largest(first, count);
        let (max, min) = (partial.column(MAX), partial.column(MIN));
        for at in 0..block.rows() {
            let (scale, error) = (block.scale(at), block.error(at, norm, rest));
            let anchor = lane + at;
            let most = max[anchor].max(self.reached[anchor]).min(stream.above[anchor]);
            let least = min[anchor].min(self.fallen[anchor]);
            high[at] = (most - error) / scale;
            low[at] = (least + error) / scale;
        }

        let all = if width == 64 { u64::MAX } else { (1 << width) - 1 };
        let mut found = 0;
        for j in 0..count {
            let mut inside = 0;
            // SAFETY: whole vectors of the row's products and of the bounds.
            unsafe {
                let scale = L::splat(rows.scale(first + j));
                for v in (0..width).step_by(L::LANES) {
                    let x = L::from_integers(products[j * width + v..].as_ptr()).mul(scale);
                    let below = L::load(high[v..].as_ptr()).greater(x);
                    inside |= u64::from(below & x.greater(L::load(low[v..].as_ptr()))) << v;
                }
            }
            // What is no number is not inside, and is marked.
            masks[j] = all & !inside;
            if masks[j] != 0 {
                found += masks[j].count_ones();
            }
        }
        found
    }

    /// Whether so many of a tile's pairs are too many to be computed one by one.
    pub(super) fn is_too_many(&self, found: u32, count: usize, lane: usize, block: usize) -> bool {
        found * FEW > (count * self.blocks[lane / block].rows()) as u32
    }
}
