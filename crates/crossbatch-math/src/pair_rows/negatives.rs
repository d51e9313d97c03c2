//! The negatives of every anchor, streamed.

#![allow(clippy::needless_range_loop)]

use super::block::{Block, Exponent, Kind, Linear, Soft};
use super::classes::Classes;
use super::partial::{Partial, SUM};
use super::problem::Problem;
use super::program::{Closeness, NegativeRule, Term};
use super::scalar::squared_norm;
use super::sieve::{Fortune, Sieve};
use super::tile::{Packed, TILE, TileRows, Widened, products};
use super::triplets::{Lists, Tally};
use crate::lanes::{Arithmetic, Level, for_lanes};
use crate::product::dot_f64;
use rayon::prelude::*;

/// Bytes that the stretches' sums may take together.
const SUMS: usize = 4 << 20;

/// Tiles that a sieve left few pairs of.
#[cfg(test)]
pub(super) static SIFTED: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

/// What is done with a tile's closenesses.
#[derive(Clone, Copy)]
pub(super) enum Fold<'a> {
    /// A side of the program.
    Side(Term),
    /// Triplets with the anchors' positives.
    Triplets(&'a Lists),
}

/// The stream over the references: what is the same for each of its tiles.
pub(super) struct Stream<'a> {
    pub(super) problem: &'a Problem<'a>,
    pub(super) classes: &'a Classes,
    pub(super) packed: &'a Packed,
    pub(super) level: Level,
    pub(super) fold: Fold<'a>,
    /// A negative counts only above this, a lane each; never in the lanes that fill up.
    pub(super) above: Vec<f32>,
    /// And only below this, where the program says so.
    pub(super) below: Option<Vec<f32>>,
    /// `p − value < x < p` for a positive at `p`.
    pub(super) semi_hard: Option<(f32, &'a Lists)>,
    /// Threshold of each lane.
    pub(super) thresholds: Vec<f32>,
    /// Squared norm of each lane's anchor, where distances are asked for.
    pub(super) norms: Vec<f32>,
    /// Sum of each anchor's products with its positives.
    pub(super) positive_sums: Vec<f32>,
    /// Label of each lane; those that fill up have -1.
    pub(super) labels: Vec<i32>,
    /// Own reference of each lane, where one carries another label than its anchor.
    pub(super) own: Option<Vec<i32>>,
}

/// The bounds that a rule sets an anchor's negatives, from its positives' smallest and largest closeness.
pub(super) fn bounds(
    rule: &NegativeRule,
    threshold: f32,
    positives: usize,
    smallest: f32,
    largest: f32,
) -> (f32, f32) {
    let mut above = rule.above;
    let mut below = f32::INFINITY;
    if rule.violating {
        above = above.max(threshold);
    }
    if let Some(value) = rule.hardest_positive {
        above = if positives == 0 { f32::INFINITY } else { above.max(smallest - value) };
    }
    if let Some((floor, value)) = rule.easiest_positive {
        let largest = if positives == 0 { floor } else { largest.max(floor) };
        above = above.max(largest - value);
    }
    if let Some(value) = rule.below_easiest_positive {
        below = if positives == 0 { f32::NEG_INFINITY } else { largest - value };
    }
    if let Some(value) = rule.semi_hard {
        above = if positives == 0 { f32::INFINITY } else { above.max(smallest - value) };
        below = below.min(largest);
    }
    (above, below)
}

impl Stream<'_> {
    /// Sums over all negatives, and the triplets' tally where triplets are asked for.
    pub(super) fn run(&self) -> (Partial, Tally) {
        let lanes = self.packed.lanes;
        let stride = self.problem.dim.next_multiple_of(self.level.lanes());
        let log = matches!(self.fold, Fold::Side(Term::LogSumExp { .. } | Term::Circle { .. }));
        // Stretches hang on sizes alone, never on the number of threads.
        let mut sums = lanes * stride * 4;
        if let Fold::Triplets(lists) = self.fold {
            sums += lists.len() * 4;
        }
        let most = (SUMS / sums.max(1)).clamp(4, 64);
        let filled = self.problem.filled;
        let tiles = filled.div_ceil(TILE);
        let sieve = Sieve::new(self);
        // A sieve is the finer the more of a stretch it has seen.
        let least = if sieve.is_some() { 16 } else { 4 };
        let length = tiles.div_ceil(most).max(least) * TILE;
        let stretches: Vec<_> = (0..filled).step_by(length).collect();
        let partials: Vec<(Partial, Tally)> = stretches
            .par_iter()
            .map(|&first| self.stretch(first, length.min(filled - first), sieve.as_ref()))
            .collect();
        let mut total = Partial::new(lanes);
        let mut tally = Tally::default();
        for (partial, counts) in partials {
            total.fold(partial, log, stride);
            tally.fold(counts);
        }
        if let Some(sieve) = sieve {
            let batch = self.problem.batch();
            let sums = &mut total.column_mut(SUM)[..batch];
            for (anchor, sum) in sums.iter_mut().enumerate() {
                *sum = self.sum_of_negatives(&sieve, anchor);
            }
        }
        (total, tally)
    }

    /// The sum of an anchor's products with its negatives: with all references, but its positives, what is left out of
    /// these, and its own.
    fn sum_of_negatives(&self, sieve: &Sieve<'_>, anchor: usize) -> f32 {
        let problem = self.problem;
        let row = problem.anchor(anchor);
        let mut sum = sieve.screen.product_with_all(row) - f64::from(self.positive_sums[anchor]);
        let mut widened = Widened::default();
        let mut without = |reference: usize| {
            sum -= dot_f64(row, widened.row(problem.references, problem.dim, reference));
        };
        let own = usize::try_from(problem.own(anchor)).ok().filter(|own| *own < problem.filled);
        own.into_iter().for_each(&mut without);
        if problem.drop_same_image {
            let members = &self.classes.members[self.classes.of_anchor[anchor] as usize];
            let dropped = members
                .iter()
                .map(|member| *member as usize)
                .filter(|&member| own != Some(member) && problem.ids[member] == problem.id(anchor));
            dropped.for_each(without);
        }
        sum as f32
    }

    fn stretch(&self, first: usize, count: usize, sieve: Option<&Sieve<'_>>) -> (Partial, Tally) {
        let mut partial = Partial::new(self.packed.lanes);
        let mut tally = match self.fold {
            Fold::Triplets(lists) => Tally::new(lists),
            Fold::Side(_) => Tally::default(),
        };
        let (this, into, counts) = (self, &mut partial, &mut tally);
        for_lanes!(
            self.level,
            stretch(
                this: &Stream<'_>,
                first: usize,
                count: usize,
                sieve: Option<&Sieve<'_>>,
                into: &mut Partial,
                counts: &mut Tally,
            )
        );
        return (partial, tally);

        #[inline(always)]
        fn stretch<L: Arithmetic>(
            this: &Stream<'_>,
            first: usize,
            count: usize,
            sieve: Option<&Sieve<'_>>,
            into: &mut Partial,
            counts: &mut Tally,
        ) {
            let mut scratch = Scratch::default();
            if sieve.is_some() {
                scratch.codes = vec![0; TILE * 64];
            }
            for tile in (0..count).step_by(TILE) {
                let (first, count) = (first + tile, TILE.min(count - tile));
                this.tile::<L>(first, count, sieve, &mut scratch, into, counts);
            }
        }
    }

    #[inline(always)]
    fn tile<L: Arithmetic>(
        &self,
        first: usize,
        count: usize,
        sieve: Option<&Sieve<'_>>,
        scratch: &mut Scratch,
        partial: &mut Partial,
        tally: &mut Tally,
    ) {
        let problem = self.problem;
        let mut prepared = None;
        let sieve = sieve.filter(|_| scratch.fortune.tries());
        let mut failed = false;
        for (lane, width) in self.packed.blocks() {
            let mut sifted = false;
            if let Some(sieve) = sieve {
                let Scratch { codes, masks, .. } = scratch;
                // SAFETY: the level was detected.
                #[allow(unsafe_code)]
                let found = unsafe {
                    sieve.candidates::<L>(self, partial, first..first + count, lane, codes, masks)
                };
                if found == 0 {
                    continue;
                }
                if sieve.is_too_many(found, count, lane, self.packed.block) {
                    failed = true;
                } else {
                    #[cfg(test)]
                    SIFTED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    sifted = true;
                }
            }

            // Not before a pair may matter.
            let rows = *prepared.get_or_insert_with(|| self.prepare::<L>(first, count, scratch));
            let Scratch { products: pairs, masks, kinds, norms, weights, active, .. } = scratch;
            let block = Block { this: self, first, count, lane, width, rows };
            // SAFETY: the level was detected; a block holds `dim * width` numbers, the tile `count` rows, and `pairs` has
            // room for a whole tile of the widest block.
            #[allow(unsafe_code)]
            let hits = unsafe {
                if sifted {
                    block.settle::<L>(pairs, kinds, masks, partial)
                } else {
                    let anchors = self.packed.values[lane * problem.dim..].as_ptr();
                    products::<L>(anchors, width, rows, count, problem.dim, pairs.as_mut_ptr());
                    if problem.program.closeness != Closeness::Dot {
                        block.distances::<L>(pairs, norms);
                    }
                    block.select::<L>(pairs, kinds, masks, partial)
                }
            };
            if hits == 0 {
                continue;
            }
            active.clear();
            active.extend((0..count).filter(|&j| masks[j] != 0).map(|j| j as u16));
            if let Some((value, lists)) = self.semi_hard {
                block.refine(pairs, masks, active, value, lists);
            }
            // SAFETY: the level was detected.
            #[allow(unsafe_code)]
            unsafe {
                match self.fold {
                    Fold::Triplets(lists) => {
                        block.triplets(pairs, masks, active, weights, lists, partial, tally);
                    }
                    Fold::Side(Term::Linear { offset }) => {
                        block.sum::<L, _>(pairs, masks, active, weights, partial, &Linear(offset));
                    }
                    Fold::Side(Term::Softplus { scale }) => {
                        block.sum::<L, _>(pairs, masks, active, weights, partial, &Soft(scale));
                    }
                    Fold::Side(Term::LogSumExp { scale }) => {
                        let exponent = Exponent { scale, relaxation: None };
                        block.log_sum::<L>(pairs, masks, active, weights, partial, exponent);
                    }
                    Fold::Side(Term::Circle { scale, relaxation }) => {
                        let exponent = Exponent { scale, relaxation: Some(relaxation) };
                        block.log_sum::<L>(pairs, masks, active, weights, partial, exponent);
                    }
                    Fold::Side(Term::AgainstNegatives { .. } | Term::AgainstAll { .. }) => {
                        unreachable!("checked")
                    }
                }
                block.gather::<L>(pairs, masks, active, hits, partial);
            }
        }
        if sieve.is_some() {
            scratch.fortune.note(failed);
        }
    }

    /// Whether a reference counts, and is the negative of every anchor.
    pub(super) fn is_negative_of_all(&self, reference: usize) -> bool {
        self.kind(reference) == Kind::Unknown
    }

    fn kind(&self, reference: usize) -> Kind {
        if !self.problem.counts(reference) {
            Kind::LeftOut
        } else if self.own.is_some() || self.classes.find(self.problem.labels[reference]).is_some()
        {
            Kind::Known
        } else {
            Kind::Unknown
        }
    }

    /// Finds the tile's rows, and what is known of them before any product.
    #[inline(always)]
    fn prepare<L: Arithmetic>(
        &self,
        first: usize,
        count: usize,
        scratch: &mut Scratch,
    ) -> TileRows {
        let problem = self.problem;
        let kind = problem.program.closeness;
        let Scratch { widened, kinds, norms, weights, .. } = scratch;
        let rows = widened.rows(problem.references, problem.dim, first, count, L::LANES);
        for j in 0..count {
            weights[j] = problem.weight(first + j);
            kinds[j] = self.kind(first + j);
            if kind != Closeness::Dot {
                // SAFETY: row j of the tile is readable for `dim` elements.
                #[allow(unsafe_code)]
                let row = unsafe {
                    std::slice::from_raw_parts(rows.values.add(j * rows.stride), problem.dim)
                };
                norms[j] = squared_norm(kind, row);
            }
        }
        rows
    }
}

/// A task's buffers.
struct Scratch {
    widened: Widened,
    /// Closenesses, then pulls: a row a reference, a lane an anchor of the block.
    products: Vec<f32>,
    /// The pairs that count, a bit a lane.
    masks: [u64; TILE],
    kinds: [Kind; TILE],
    norms: [f32; TILE],
    weights: [f32; TILE],
    /// The references with a pair that counts.
    active: Vec<u16>,
    /// Products of codes; empty without a sieve.
    codes: Vec<i32>,
    fortune: Fortune,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            widened: Widened::default(),
            products: vec![0.0; TILE * 64],
            masks: [0; TILE],
            kinds: [Kind::LeftOut; TILE],
            norms: [0.0; TILE],
            weights: [0.0; TILE],
            active: Vec::with_capacity(TILE),
            codes: Vec::new(),
            fortune: Fortune::default(),
        }
    }
}
