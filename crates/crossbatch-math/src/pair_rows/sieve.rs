//! Which pairs of a tile may matter, from codes.

use super::negatives::Stream;
use super::partial::{MAX, MIN, Partial};
use super::screen::Screen;
use super::tile::TILE;
use crate::lanes::Arithmetic;
use crate::quantised::{Block, LANES};

/// A tile is left to the sieve where no more than one pair in so many may matter.
const FEW: u32 = 8;

/// Most tiles in a row that are computed in full after the sieve failed.
const PATIENCE: u32 = 64;

/// The anchors' codes, and what is known of all negatives beforehand.
pub(super) struct Sieve<'a> {
    pub(super) screen: &'a Screen,
    /// A block of the stream each.
    blocks: Vec<Block>,
    /// A negative's closeness that is reached somewhere, a lane each: what is not above is no maximum.
    reached: Vec<f32>,
    /// And below.
    fallen: Vec<f32>,
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
        if stream.above[..problem.batch()].iter().all(|above| *above == f32::NEG_INFINITY) {
            return None;
        }
        let block = |(first, width): (usize, usize)| {
            let end = (first + width).min(problem.batch());
            Block::new(&problem.anchors[first * problem.dim..end * problem.dim], problem.dim)
        };
        let blocks: Vec<Block> = stream.packed.blocks().map(block).collect();
        if !blocks.iter().all(Block::is_finite) {
            return None;
        }
        Some(Self { screen, blocks, reached: Vec::new(), fallen: Vec::new() })
    }

    /// Takes in the sums of some of the references.
    pub(super) fn knows(&mut self, sums: &Partial) {
        self.reached = sums.column(MAX).to_vec();
        self.fallen = sums.column(MIN).to_vec();
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
        first: usize,
        count: usize,
        lane: usize,
        products: &mut [i32],
        masks: &mut [u64; TILE],
    ) -> u32 {
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

        let mut found = 0;
        for j in 0..count {
            let mut mask = 0;
            // SAFETY: whole vectors of the row's products and of the bounds.
            unsafe {
                let scale = L::splat(rows.scale(first + j));
                for v in (0..width).step_by(L::LANES) {
                    let x = L::from_integers(products[j * width + v..].as_ptr()).mul(scale);
                    // What is no number is in neither, and is marked.
                    let inside = L::load(high[v..].as_ptr()).greater(x)
                        & x.greater(L::load(low[v..].as_ptr()));
                    let all = ((1u64 << L::LANES) - 1) as u32;
                    mask |= u64::from(all & !inside) << v;
                }
            }
            masks[j] = mask;
            found += mask.count_ones();
        }
        found
    }

    /// Whether so many of a tile's pairs are too many to be computed one by one.
    pub(super) fn is_too_many(&self, found: u32, count: usize, lane: usize, block: usize) -> bool {
        found * FEW > (count * self.blocks[lane / block].rows()) as u32
    }
}
