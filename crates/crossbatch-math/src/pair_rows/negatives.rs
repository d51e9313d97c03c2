//! The negatives of every anchor, streamed.

#![allow(clippy::needless_range_loop)]

use super::classes::Classes;
use super::partial::{COUNT, LARGEST, MAX, MIN, PULL, Partial, SLOPE, SUM, VALUE};
use super::problem::Problem;
use super::program::{Closeness, NegativeRule, SAME, Term};
use super::scalar::squared_norm;
use super::sieve::{Fortune, Sieve};
use super::tile::{Packed, TILE, TileRows, Widened, add_scaled, dot, gather, products};
use super::triplets::{Lists, Tally};
use crate::lanes::{Arithmetic, Level, exp, for_lanes, prefetch, sigmoid, softplus};
use crate::product::dot_f64;
use rayon::prelude::*;

/// Bytes that the stretches' sums may take together.
const SUMS: usize = 4 << 20;

/// Rows that are asked for ahead of the one that is computed.
const PREFETCH: usize = 6;

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

/// What is known of a reference before any product.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Its weight is 0.
    LeftOut,
    /// No anchor has its label: a negative of all.
    Unknown,
    /// Some anchor has its label.
    Known,
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

/// A tile of references with a block of anchors.
struct Block<'a> {
    this: &'a Stream<'a>,
    first: usize,
    count: usize,
    /// First lane of the block.
    lane: usize,
    width: usize,
    rows: TileRows,
}

/// A term that is summed.
trait Addend {
    /// The addend of a violation, and its derivative.
    ///
    /// # Safety
    ///
    /// As [`Arithmetic`].
    #[allow(unsafe_code)]
    unsafe fn of<L: Arithmetic>(&self, violation: L) -> (L, L);
}

struct Linear(f32);

impl Addend for Linear {
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn of<L: Arithmetic>(&self, violation: L) -> (L, L) {
        // SAFETY: arithmetic on registers; the caller vouches for the instructions.
        unsafe { (violation.add(L::splat(self.0)), L::splat(1.0)) }
    }
}

struct Soft(f32);

impl Addend for Soft {
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn of<L: Arithmetic>(&self, violation: L) -> (L, L) {
        // SAFETY: arithmetic on registers; the caller vouches for the instructions.
        unsafe {
            let x = violation.mul(L::splat(self.0));
            (softplus(x), sigmoid(x).mul(L::splat(self.0)))
        }
    }
}

/// The exponent of a log-sum-exp.
#[derive(Clone, Copy)]
struct Exponent {
    scale: f32,
    relaxation: Option<f32>,
}

impl Exponent {
    /// The exponent of a violation, and its derivative.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn of<L: Arithmetic>(self, violation: L) -> (L, L) {
        // SAFETY: arithmetic on registers; the caller vouches for the instructions.
        unsafe {
            let scale = L::splat(self.scale);
            match self.relaxation {
                None => (violation.mul(scale), scale),
                Some(relaxation) => {
                    let pace = violation.add(L::splat(2.0 * relaxation)).max(L::splat(0.0));
                    let pace = pace.mul(scale);
                    (pace.mul(violation), pace)
                }
            }
        }
    }
}

#[allow(unsafe_code)]
impl Block<'_> {
    /// Products become closenesses.
    ///
    /// # Safety
    ///
    /// As [`Arithmetic`], here and below.
    #[inline(always)]
    unsafe fn distances<L: Arithmetic>(&self, pairs: &mut [f32], norms: &[f32; TILE]) {
        let root = self.this.problem.program.closeness == Closeness::Distance;
        for v in (0..self.width).step_by(L::LANES) {
            // SAFETY: lanes `v..` of the block, in arrays over all lanes and in rows of `width`.
            unsafe {
                let anchors = L::load(self.this.norms[self.lane + v..].as_ptr());
                let (zero, minus_two) = (L::splat(0.0), L::splat(-2.0));
                for j in 0..self.count {
                    let at = pairs[j * self.width + v..].as_mut_ptr();
                    let both = anchors.add(L::splat(norms[j]));
                    let squared = both.add_product(L::load(at), minus_two);
                    // NaN is not below anything, and stays.
                    let none = both.mul(L::splat(SAME)).greater(squared);
                    let squared = L::select(none, zero, squared);
                    let distance = if root { squared.sqrt() } else { squared };
                    zero.sub(distance).store(at);
                }
            }
        }
    }

    /// Marks the pairs that count and takes the statistics of all negatives; gives the number of marks.
    #[inline(always)]
    unsafe fn select<L: Arithmetic>(
        &self,
        pairs: &[f32],
        kinds: &[Kind; TILE],
        masks: &mut [u64; TILE],
        partial: &mut Partial,
    ) -> u32 {
        masks[..self.count].fill(0);
        let all = (1u32 << L::LANES) - 1;
        for v in (0..self.width).step_by(L::LANES) {
            let at = self.lane + v;
            // SAFETY: lanes `v..` of the block, in arrays over all lanes and in rows of `width`.
            unsafe {
                let above = L::load(self.this.above[at..].as_ptr());
                let below = self.this.below.as_ref().map(|below| L::load(below[at..].as_ptr()));
                let mut max = L::load(partial.column(MAX)[at..].as_ptr());
                let mut min = L::load(partial.column(MIN)[at..].as_ptr());
                let mut sum = L::load(partial.column(SUM)[at..].as_ptr());
                for j in 0..self.count {
                    if kinds[j] == Kind::LeftOut {
                        continue;
                    }
                    let x = L::load(pairs[j * self.width + v..].as_ptr());
                    let mut hits = x.greater(above);
                    if let Some(below) = below {
                        hits &= below.greater(x);
                    }
                    if kinds[j] == Kind::Unknown {
                        max = x.max(max);
                        min = x.min(min);
                        sum = sum.add(x);
                    } else {
                        let reference = self.first + j;
                        let label = self.this.problem.labels[reference];
                        let mut same = L::equal(self.this.labels[at..].as_ptr(), label);
                        if let Some(own) = &self.this.own {
                            same |= L::equal(own[at..].as_ptr(), reference as i32);
                        }
                        let negative = all & !same;
                        max = L::select(negative, x.max(max), max);
                        min = L::select(negative, x.min(min), min);
                        sum = L::select(negative, sum.add(x), sum);
                        hits &= negative;
                    }
                    masks[j] |= u64::from(hits) << v;
                }
                max.store(partial.column_mut(MAX)[at..].as_mut_ptr());
                min.store(partial.column_mut(MIN)[at..].as_mut_ptr());
                sum.store(partial.column_mut(SUM)[at..].as_mut_ptr());
            }
        }
        masks[..self.count].iter().map(|mask| mask.count_ones()).sum()
    }

    /// As [`select`](Self::select) where only marked pairs may count or be an extreme: computes those alone.
    #[inline(always)]
    unsafe fn settle<L: Arithmetic>(
        &self,
        pairs: &mut [f32],
        kinds: &[Kind; TILE],
        masks: &mut [u64; TILE],
        partial: &mut Partial,
    ) -> u32 {
        let (this, problem) = (self.this, self.this.problem);
        let stride = self.rows.stride;
        let mut hits = 0;
        for j in 0..self.count {
            let ahead = j + PREFETCH;
            if ahead < self.count && masks[ahead] != 0 {
                prefetch(self.rows.values.wrapping_add(ahead * stride), problem.dim);
            }
            let marked = masks[j];
            if marked == 0 {
                continue;
            }
            masks[j] = 0;
            if kinds[j] == Kind::LeftOut {
                continue;
            }
            let reference = self.first + j;
            // SAFETY: row j of the tile is readable for `dim` elements.
            let row = unsafe {
                std::slice::from_raw_parts(self.rows.values.add(j * stride), problem.dim)
            };
            let pairs = &mut pairs[j * self.width..][..self.width];
            pairs.fill(0.0);
            for lane in bits(marked) {
                let anchor = self.lane + lane;
                if kinds[j] == Kind::Known {
                    let own = this.own.as_ref().is_some_and(|own| own[anchor] == reference as i32);
                    if own || this.labels[anchor] == problem.labels[reference] {
                        continue;
                    }
                }
                let x = dot::<L>(problem.anchor(anchor), row);
                pairs[lane] = x;
                let max = &mut partial.column_mut(MAX)[anchor];
                *max = max.max(x);
                let min = &mut partial.column_mut(MIN)[anchor];
                *min = min.min(x);
                let below = this.below.as_ref().is_none_or(|below| x < below[anchor]);
                if x > this.above[anchor] && below {
                    masks[j] |= 1 << lane;
                    hits += 1;
                }
            }
        }
        hits
    }

    /// Unmarks pairs without a positive close above them.
    fn refine(
        &self,
        pairs: &[f32],
        masks: &mut [u64; TILE],
        active: &mut Vec<u16>,
        value: f32,
        lists: &Lists,
    ) {
        for &j in &*active {
            let j = usize::from(j);
            for lane in bits(masks[j]) {
                let x = pairs[j * self.width + lane];
                if !lists.has_within(self.lane + lane, x, value) {
                    masks[j] &= !(1 << lane);
                }
            }
        }
        active.retain(|&j| masks[usize::from(j)] != 0);
    }

    /// Sums a term; pairs become pulls.
    #[inline(always)]
    unsafe fn sum<L: Arithmetic, A: Addend>(
        &self,
        pairs: &mut [f32],
        masks: &[u64; TILE],
        active: &[u16],
        weights: &[f32; TILE],
        partial: &mut Partial,
        addend: &A,
    ) {
        for v in (0..self.width).step_by(L::LANES) {
            let at = self.lane + v;
            // SAFETY: lanes `v..` of the block, in arrays over all lanes and in rows of `width`.
            unsafe {
                let threshold = L::load(self.this.thresholds[at..].as_ptr());
                let zero = L::splat(0.0);
                let [mut value, mut count, mut slopes, mut pulls] = [VALUE, COUNT, SLOPE, PULL]
                    .map(|column| L::load(partial.column(column)[at..].as_ptr()));
                for &j in active {
                    let j = usize::from(j);
                    let place = pairs[j * self.width + v..].as_mut_ptr();
                    let mask = (masks[j] >> v) as u32 & ((1 << L::LANES) - 1);
                    if mask == 0 {
                        zero.store(place);
                        continue;
                    }
                    let x = L::load(place);
                    let weight = L::select(mask, L::splat(weights[j]), zero);
                    let (term, slope) = addend.of(x.sub(threshold));
                    // Multiplied by 0, an infinite term of a pair that does not count would be NaN.
                    value = value.add_product(L::select(mask, term, zero), weight);
                    count = count.add(L::select(mask, L::splat(1.0), zero));
                    let slope = slope.mul(weight);
                    slopes = slopes.add(slope);
                    let pull = self.pull(x, slope);
                    pulls = pulls.add(pull);
                    pull.store(place);
                }
                for (column, sum) in
                    [(VALUE, value), (COUNT, count), (SLOPE, slopes), (PULL, pulls)]
                {
                    sum.store(partial.column_mut(column)[at..].as_mut_ptr());
                }
            }
        }
    }

    /// Adds exponentials to a log-sum-exp; pairs become pulls.
    #[inline(always)]
    unsafe fn log_sum<L: Arithmetic>(
        &self,
        pairs: &mut [f32],
        masks: &[u64; TILE],
        active: &[u16],
        weights: &[f32; TILE],
        partial: &mut Partial,
        exponent: Exponent,
    ) {
        let all = (1 << L::LANES) - 1;
        for v in (0..self.width).step_by(L::LANES) {
            let at = self.lane + v;
            // SAFETY: lanes `v..` of the block, in arrays over all lanes and in rows of `width`.
            unsafe {
                let threshold = L::load(self.this.thresholds[at..].as_ptr());
                let zero = L::splat(0.0);
                // The tile's largest exponent first, so that sums are rescaled at most once a tile.
                let before = L::load(partial.column(LARGEST)[at..].as_ptr());
                let mut largest = before;
                for &j in active {
                    let j = usize::from(j);
                    let mask = (masks[j] >> v) as u32 & all;
                    if mask != 0 {
                        let x = L::load(pairs[j * self.width + v..].as_ptr());
                        let (power, _) = exponent.of(x.sub(threshold));
                        largest = L::select(mask, power.max(largest), largest);
                    }
                }
                let grown = largest.greater(before);
                if grown != 0 {
                    largest.store(partial.column_mut(LARGEST)[at..].as_mut_ptr());
                    let mut factors = [0.0f32; 16];
                    // Of sums that are still 0 the factor does not matter.
                    exp(before.sub(largest)).store(factors.as_mut_ptr());
                    self.rescale::<L>(at, grown, &factors, partial);
                }

                let [mut value, mut count, mut slopes, mut pulls] = [VALUE, COUNT, SLOPE, PULL]
                    .map(|column| L::load(partial.column(column)[at..].as_ptr()));
                for &j in active {
                    let j = usize::from(j);
                    let place = pairs[j * self.width + v..].as_mut_ptr();
                    let mask = (masks[j] >> v) as u32 & all;
                    if mask == 0 {
                        zero.store(place);
                        continue;
                    }
                    let x = L::load(place);
                    let (power, slope) = exponent.of(x.sub(threshold));
                    let share = exp(power.sub(largest)).mul(L::splat(weights[j]));
                    let share = L::select(mask, share, zero);
                    value = value.add(share);
                    count = count.add(L::select(mask, L::splat(1.0), zero));
                    let slope = L::select(mask, slope.mul(share), zero);
                    slopes = slopes.add(slope);
                    let pull = self.pull(x, slope);
                    pulls = pulls.add(pull);
                    pull.store(place);
                }
                for (column, sum) in
                    [(VALUE, value), (COUNT, count), (SLOPE, slopes), (PULL, pulls)]
                {
                    sum.store(partial.column_mut(column)[at..].as_mut_ptr());
                }
            }
        }
    }

    /// Multiplies the sums of the lanes in `grown` by their factors.
    #[inline(always)]
    unsafe fn rescale<L: Arithmetic>(
        &self,
        at: usize,
        grown: u32,
        factors: &[f32; 16],
        partial: &mut Partial,
    ) {
        let stride = self.rows.stride;
        for lane in bits(u64::from(grown)) {
            let factor = factors[lane];
            for column in [VALUE, SLOPE, PULL] {
                partial.column_mut(column)[at + lane] *= factor;
            }
            if !partial.gradient.is_empty() {
                for value in &mut partial.gradient[(at + lane) * stride..][..stride] {
                    *value *= factor;
                }
            }
        }
    }

    /// As [`scalar::pull`](super::scalar::pull), for a vector.
    #[inline(always)]
    unsafe fn pull<L: Arithmetic>(&self, x: L, slope: L) -> L {
        // SAFETY: arithmetic on registers; the caller vouches for the instructions.
        unsafe {
            match self.this.problem.program.closeness {
                Closeness::Dot => slope,
                Closeness::SquaredDistance | Closeness::CentredSquaredDistance => slope.add(slope),
                Closeness::Distance => {
                    let zero = L::splat(0.0);
                    L::select(zero.greater(x), slope.div(zero.sub(x)), zero)
                }
            }
        }
    }

    /// Triplets of the marked negatives with their anchors' positives; pairs become pulls.
    #[expect(clippy::too_many_arguments)]
    fn triplets(
        &self,
        pairs: &mut [f32],
        masks: &[u64; TILE],
        active: &[u16],
        weights: &[f32; TILE],
        lists: &Lists,
        partial: &mut Partial,
        tally: &mut Tally,
    ) {
        let kind = self.this.problem.program.closeness;
        for &j in active {
            let j = usize::from(j);
            let row = &mut pairs[j * self.width..][..self.width];
            for (lane, pair) in row.iter_mut().enumerate() {
                let x = std::mem::take(pair);
                if masks[j] >> lane & 1 == 0 {
                    continue;
                }
                let anchor = self.lane + lane;
                let (value, slope, count) = lists.meet(anchor, x, weights[j], Some(&mut *tally));
                partial.column_mut(VALUE)[anchor] += value;
                partial.column_mut(COUNT)[anchor] += count;
                let pull = super::scalar::pull(kind, x, slope);
                partial.column_mut(PULL)[anchor] += pull;
                *pair = pull;
            }
        }
    }

    /// Adds pulls times references to the gradient: pair by pair where few count, else as a product.
    #[inline(always)]
    unsafe fn gather<L: Arithmetic>(
        &self,
        pulls: &[f32],
        masks: &[u64; TILE],
        active: &[u16],
        hits: u32,
        partial: &mut Partial,
    ) {
        let stride = self.rows.stride;
        let sums = partial.gradient_mut(stride)[self.lane * stride..].as_mut_ptr();
        // SAFETY: the block's `width` rows of the gradient, the tile's rows, and its pulls.
        unsafe {
            if (hits as usize) * 2 > active.len() * self.width {
                gather::<L>(pulls.as_ptr(), self.width, active, self.rows, sums);
                return;
            }
            for &j in active {
                let j = usize::from(j);
                let row = self.rows.values.add(j * stride);
                for lane in bits(masks[j]) {
                    let pull = pulls[j * self.width + lane];
                    add_scaled::<L>(sums.add(lane * stride), row, stride, pull);
                }
            }
        }
    }
}

/// The positions of the ones of a mask.
#[inline(always)]
pub(super) fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let bit = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            bit
        })
    })
}
