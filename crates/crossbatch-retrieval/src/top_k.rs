//! The best `k` items of one query, gathered while the gallery streams by.

use crate::order::Seen;

/// An item that may still belong to the best `k`.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// The product in fixed point.
    rough: i32,
    index: u32,
    /// The closeness; NaN until it was needed.
    exact: f64,
}

impl Candidate {
    fn seen(&self) -> Seen {
        Seen { similarity: self.exact, index: self.index }
    }
}

/// How many values are looked at together before any of them is looked at alone.
const CHUNK: usize = 64;

/// Gathers candidates in bounded space.
///
/// Items enter by their products in fixed point if they may belong to the best `k`: an item is turned away only where
/// `k` others are better by more than the products can be wrong. When the list is full it is cut by the products;
/// should near-ties keep too many, by the exact order.
#[derive(Debug)]
pub(crate) struct TopK {
    k: usize,
    /// The most that a product can be off.
    error: f64,
    /// Items below this cannot belong to the best `k`. Above `i32::MIN`, which stands for items that are not met.
    floor: i32,
    candidates: Vec<Candidate>,
}

impl TopK {
    /// Gathers the best `k` (at least one) by products that are off by at most `error`.
    pub(crate) fn new(k: usize, error: f64) -> Self {
        Self { k, error, floor: i32::MIN + 1, candidates: Vec::new() }
    }

    /// Bytes that one list can take.
    pub(crate) fn bytes(k: usize) -> usize {
        Self::capacity(k).saturating_mul(size_of::<Candidate>())
    }

    fn capacity(k: usize) -> usize {
        k.saturating_mul(2).saturating_add(256)
    }

    /// Begins another query.
    pub(crate) fn start(&mut self, error: f64) {
        self.error = error;
        self.floor = i32::MIN + 1;
        self.candidates.clear();
        self.candidates.reserve_exact(Self::capacity(self.k));
    }

    /// From here on products can be off by `error`, if that is more than before.
    pub(crate) fn widen(&mut self, error: f64) {
        self.error = self.error.max(error);
    }

    /// Takes in gallery items `first..first + products.len()`; `rough` is where an exact value stands among products.
    pub(crate) fn offer(
        &mut self,
        first: usize,
        products: &[i32],
        exact: impl Fn(u32) -> f64,
        rough: impl Fn(f64) -> f64,
    ) {
        for (chunk, at) in products.chunks(CHUNK).zip((first..).step_by(CHUNK)) {
            // Without an early exit, so that it compiles to vector instructions.
            let any = chunk.iter().fold(false, |any, &value| any | (value >= self.floor));
            if !any {
                continue;
            }
            for (&value, index) in chunk.iter().zip(at as u32..) {
                if value >= self.floor {
                    self.candidates.push(Candidate { rough: value, index, exact: f64::NAN });
                    if self.candidates.len() == Self::capacity(self.k) {
                        self.cut(&exact, &rough);
                    }
                }
            }
        }
    }

    /// The best `k`, or as many as were met, best first.
    pub(crate) fn finish(&mut self, exact: impl Fn(u32) -> f64) -> impl Iterator<Item = Seen> {
        self.cut_roughly();
        self.settle(&exact);
        self.candidates.sort_unstable_by(|a, b| a.seen().compare(&b.seen()));
        self.candidates.iter().take(self.k).map(Candidate::seen)
    }

    /// Makes room: at least a quarter of the list is free afterwards.
    fn cut(&mut self, exact: &impl Fn(u32) -> f64, rough: &impl Fn(f64) -> f64) {
        self.cut_roughly();
        if self.candidates.len() > self.k + (Self::capacity(self.k) - self.k) / 2 {
            self.cut_exactly(exact, rough);
        }
    }

    /// Drops candidates that are too far below the k-th best product to be among the best `k`.
    ///
    /// With `t` that k-th best, `k` items are at least `t - error`, and an item below `t - 2 error` is less than that.
    fn cut_roughly(&mut self) {
        if self.candidates.len() <= self.k {
            return;
        }
        let kth =
            *self.candidates.select_nth_unstable_by(self.k - 1, |a, b| b.rough.cmp(&a.rough)).1;
        self.raise(f64::from(kth.rough) - 2.0 * self.error);
        self.candidates.retain(|candidate| candidate.rough >= self.floor);
    }

    /// Keeps exactly the best `k`.
    fn cut_exactly(&mut self, exact: &impl Fn(u32) -> f64, rough: &impl Fn(f64) -> f64) {
        self.settle(exact);
        let kth = *self
            .candidates
            .select_nth_unstable_by(self.k - 1, |a, b| a.seen().compare(&b.seen()))
            .1;
        self.raise(rough(kth.exact) - self.error);
        self.candidates.truncate(self.k);
    }

    /// Computes the exact values that are still missing.
    fn settle(&mut self, exact: &impl Fn(u32) -> f64) {
        for candidate in &mut self.candidates {
            if candidate.exact.is_nan() {
                candidate.exact = exact(candidate.index);
            }
        }
    }

    fn raise(&mut self, floor: f64) {
        // A cast saturates.
        self.floor = self.floor.max(floor.floor() as i32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best `k` of `exact`, offered in pieces of `piece`, a unit being 2^30, with errors of up to `noise`.
    fn best(exact: &[f64], noise: f64, k: usize, piece: usize) -> (Vec<Seen>, usize) {
        let unit = f64::from(1 << 30);
        let rough = |(i, &value): (usize, &f64)| {
            ((value + noise * ((i * 7919 % 13) as f64 / 6.0 - 1.0)) * unit).round() as i32
        };
        let products: Vec<i32> = exact.iter().enumerate().map(rough).collect();
        let mut top = TopK::new(k, 0.0);
        top.start(noise * unit + 2.0);
        let look = |index: u32| exact[index as usize];
        let mut most = 0;
        for (i, values) in products.chunks(piece).enumerate() {
            top.offer(i * piece, values, look, |value| value * unit);
            most = most.max(top.candidates.len());
        }
        (top.finish(look).collect(), most)
    }

    #[test]
    fn near_ties_are_settled_exactly_in_bounded_space() {
        let shapes: [&dyn Fn(usize) -> f64; 4] = [
            &|_| 0.5,                                   // one single tie
            &|i| 0.5 + 1e-9 * (i * 7717 % 5003) as f64, // all within the error
            &|i| i as f64 * 1e-4,                       // each better than all before
            &|i| ((i * 7717 % 5003) / 40) as f64 * 3e-6 + i as f64 * 1e-12,
        ];
        for shape in shapes {
            let exact: Vec<f64> = (0..5000).map(shape).collect();
            let mut sorted: Vec<Seen> = exact
                .iter()
                .zip(0..)
                .map(|(&similarity, index)| Seen { similarity, index })
                .collect();
            sorted.sort_by(Seen::compare);
            for (k, piece) in [(1, 1000), (7, 64), (300, 999), (4999, 5000)] {
                let (found, most) = best(&exact, 4e-6, k, piece);
                assert_eq!(found, sorted[..k]);
                assert!(most < TopK::capacity(k));
            }
        }
    }

    #[test]
    fn items_that_are_not_met_are_not_found() {
        let mut top = TopK::new(3, 0.0);
        top.start(1.0);
        top.offer(0, &[i32::MIN, -5], |_| -1.0, |value| value);
        let found: Vec<Seen> = top.finish(|_| -1.0).collect();
        assert_eq!(found, [Seen { similarity: -1.0, index: 1 }]);
    }
}
