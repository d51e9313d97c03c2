//! The best `k` items of one query, gathered while the gallery streams by.

use crate::order::{CHUNK, Seen, any_reaches, margin};

/// An item that may still belong to the best `k`.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Similarity from the matrix product.
    rough: f32,
    index: u32,
    /// The f64 similarity; NaN until it was needed.
    exact: f64,
}

impl Candidate {
    fn seen(&self) -> Seen {
        Seen { similarity: self.exact, index: self.index }
    }
}

/// Gathers candidates in bounded space.
///
/// Items enter by their f32 similarity if they may belong to the best `k`: an item is turned away only where `k` others
/// are better by more than f32 can be wrong. When the list is full it is cut by f32; should near-ties keep too many, by
/// the exact order.
#[derive(Debug)]
pub(crate) struct TopK {
    k: usize,
    capacity: usize,
    margin: f64,
    /// Items below this cannot belong to the best `k`.
    floor: f32,
    candidates: Vec<Candidate>,
}

impl TopK {
    /// Gathers the best `k` (at least one) of rows of `dim` values.
    pub(crate) fn new(k: usize, dim: usize) -> Self {
        Self {
            k,
            capacity: Self::capacity(k),
            margin: margin(dim),
            floor: f32::MIN,
            candidates: Vec::new(),
        }
    }

    /// Bytes that one list can take.
    pub(crate) fn bytes(k: usize) -> usize {
        Self::capacity(k).saturating_mul(size_of::<Candidate>())
    }

    fn capacity(k: usize) -> usize {
        k.saturating_mul(2).saturating_add(256)
    }

    /// Forgets everything, for the next query.
    pub(crate) fn clear(&mut self) {
        self.floor = f32::MIN;
        self.candidates.clear();
    }

    /// Takes in gallery items `first..first + similarities.len()`. Items at minus infinity are not met.
    pub(crate) fn offer(&mut self, first: usize, similarities: &[f32], exact: impl Fn(u32) -> f64) {
        for (chunk, at) in similarities.chunks(CHUNK).zip((first..).step_by(CHUNK)) {
            if !any_reaches(chunk, self.floor) {
                continue;
            }
            for (&rough, index) in chunk.iter().zip(at as u32..) {
                if rough >= self.floor {
                    self.candidates.push(Candidate { rough, index, exact: f64::NAN });
                    if self.candidates.len() == self.capacity {
                        self.cut(&exact);
                    }
                }
            }
        }
    }

    /// Writes the best `k`, best first. At least `k` items must have been met.
    pub(crate) fn finish(
        &mut self,
        exact: impl Fn(u32) -> f64,
        indices: &mut [u32],
        similarities: &mut [f32],
    ) {
        debug_assert!(self.candidates.len() >= self.k, "fewer items met than asked for");
        self.cut_roughly();
        self.settle(&exact);
        self.candidates.sort_unstable_by(|a, b| a.seen().compare(&b.seen()));
        let places = indices.iter_mut().zip(similarities);
        for (candidate, (index, similarity)) in self.candidates.iter().zip(places) {
            *index = candidate.index;
            *similarity = candidate.exact as f32;
        }
    }

    /// Makes room: at least a quarter of the list is free afterwards.
    fn cut(&mut self, exact: &impl Fn(u32) -> f64) {
        self.cut_roughly();
        if self.candidates.len() > self.k + (self.capacity - self.k) / 2 {
            self.cut_exactly(exact);
        }
    }

    /// Drops candidates that are too far below the k-th best f32 similarity to be among the best `k`.
    ///
    /// With `t` that k-th best, `k` items are at least `t - margin`, and an item below
    /// `t - 2 margin` is less than that.
    fn cut_roughly(&mut self) {
        if self.candidates.len() <= self.k {
            return;
        }
        let (_, kth, _) =
            self.candidates.select_nth_unstable_by(self.k - 1, |a, b| b.rough.total_cmp(&a.rough));
        let floor = (f64::from(kth.rough) - 2.0 * self.margin) as f32;
        self.raise(floor);
        self.candidates.retain(|candidate| candidate.rough >= self.floor);
    }

    /// Keeps exactly the best `k`.
    fn cut_exactly(&mut self, exact: &impl Fn(u32) -> f64) {
        self.settle(exact);
        let (_, kth, _) =
            self.candidates.select_nth_unstable_by(self.k - 1, |a, b| a.seen().compare(&b.seen()));
        let floor = (kth.exact - self.margin) as f32;
        self.raise(floor);
        self.candidates.truncate(self.k);
    }

    /// Computes the exact similarities that are still missing.
    fn settle(&mut self, exact: &impl Fn(u32) -> f64) {
        for candidate in &mut self.candidates {
            if candidate.exact.is_nan() {
                candidate.exact = exact(candidate.index);
            }
        }
    }

    fn raise(&mut self, floor: f32) {
        if floor > self.floor {
            self.floor = floor;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The best `k` of `exact`, offered in pieces of `piece` with f32 errors of up to `noise`.
    fn best(exact: &[f64], noise: f64, k: usize, piece: usize) -> (Vec<u32>, Vec<f32>, usize) {
        let rough: Vec<f32> = exact
            .iter()
            .enumerate()
            .map(|(i, &value)| (value + noise * ((i * 7919 % 13) as f64 / 6.0 - 1.0)) as f32)
            .collect();
        let mut top = TopK::new(k, 4);
        let mut most = 0;
        for (i, values) in rough.chunks(piece).enumerate() {
            top.offer(i * piece, values, |index| exact[index as usize]);
            most = most.max(top.candidates.len());
        }
        let (mut indices, mut similarities) = (vec![0; k], vec![0.0; k]);
        top.finish(|index| exact[index as usize], &mut indices, &mut similarities);
        (indices, similarities, most)
    }

    fn sorted(exact: &[f64]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..exact.len() as u32).collect();
        order.sort_by(|&a, &b| exact[b as usize].total_cmp(&exact[a as usize]).then(a.cmp(&b)));
        order
    }

    #[test]
    fn near_ties_are_settled_exactly_in_bounded_space() {
        let shapes: [&dyn Fn(usize) -> f64; 4] = [
            &|_| 0.5,                                   // one single tie
            &|i| 0.5 + 1e-9 * (i * 7717 % 5003) as f64, // all within f32's error
            &|i| i as f64 * 1e-4,                       // each better than all before
            &|i| ((i * 7717 % 5003) / 40) as f64 * 3e-6 + i as f64 * 1e-12,
        ];
        for shape in shapes {
            let exact: Vec<f64> = (0..5000).map(shape).collect();
            let order = sorted(&exact);
            for (k, piece) in [(1, 1000), (7, 64), (300, 999), (4999, 5000)] {
                let (indices, similarities, most) = best(&exact, 4e-6, k, piece);
                assert_eq!(indices, order[..k]);
                assert_eq!(similarities[k - 1], exact[order[k - 1] as usize] as f32);
                assert!(most < TopK::capacity(k));
            }
        }
    }

    #[test]
    fn items_at_minus_infinity_are_not_met() {
        let mut top = TopK::new(1, 4);
        top.offer(0, &[f32::NEG_INFINITY, -1.0], |_| -1.0);
        let (mut index, mut similarity) = ([9], [0.0]);
        top.finish(|_| -1.0, &mut index, &mut similarity);
        assert_eq!((index, similarity), ([1], [-1.0]));
    }
}
