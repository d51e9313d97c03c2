//! A tile of references with a block of anchors: what becomes of its products.

#![allow(clippy::needless_range_loop)]

use super::negatives::Stream;
use super::partial::{COUNT, LARGEST, MAX, MIN, PULL, Partial, SLOPE, SUM, VALUE};
use super::program::{Closeness, SAME};
use super::tile::{TILE, TileRows, add_scaled, dot, gather};
use super::triplets::{Lists, Tally};
use crate::lanes::{Arithmetic, exp, prefetch, sigmoid, softplus};

/// Rows that are asked for ahead of the one that is computed.
const PREFETCH: usize = 6;

/// What is known of a reference before any product.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Its weight is 0.
    LeftOut,
    /// No anchor has its label: a negative of all.
    Unknown,
    /// Some anchor has its label.
    Known,
}

/// A tile of references with a block of anchors.
pub(super) struct Block<'a> {
    pub(super) this: &'a Stream<'a>,
    pub(super) first: usize,
    pub(super) count: usize,
    /// First lane of the block.
    pub(super) lane: usize,
    pub(super) width: usize,
    pub(super) rows: TileRows,
}

/// A term that is summed.
pub(super) trait Addend {
    /// The addend of a violation, and its derivative.
    ///
    /// # Safety
    ///
    /// As [`Arithmetic`].
    #[allow(unsafe_code)]
    unsafe fn of<L: Arithmetic>(&self, violation: L) -> (L, L);
}

pub(super) struct Linear(pub(super) f32);

impl Addend for Linear {
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn of<L: Arithmetic>(&self, violation: L) -> (L, L) {
        // SAFETY: arithmetic on registers; the caller vouches for the instructions.
        unsafe { (violation.add(L::splat(self.0)), L::splat(1.0)) }
    }
}

pub(super) struct Soft(pub(super) f32);

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
pub(super) struct Exponent {
    pub(super) scale: f32,
    pub(super) relaxation: Option<f32>,
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
    pub(super) unsafe fn distances<L: Arithmetic>(&self, pairs: &mut [f32], norms: &[f32; TILE]) {
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
    pub(super) unsafe fn select<L: Arithmetic>(
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
    pub(super) unsafe fn settle<L: Arithmetic>(
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
    pub(super) fn refine(
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
    pub(super) unsafe fn sum<L: Arithmetic, A: Addend>(
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
    pub(super) unsafe fn log_sum<L: Arithmetic>(
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
    pub(super) fn triplets(
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
    pub(super) unsafe fn gather<L: Arithmetic>(
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
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let bit = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            bit
        })
    })
}
