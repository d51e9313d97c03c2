//! All that one query meets, sorted by products that are off by a known bound at most.

use crate::order::Seen;
use crate::radix;

/// A key has the item's step from bit 33 on, then its index, then whether it is a positive.
const STEP: u32 = 33;

fn step(key: u64) -> i64 {
    (key >> STEP) as i64
}

fn is_positive(key: u64) -> bool {
    key & 1 == 1
}

/// Items as keys, best first.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    keys: Vec<u64>,
    spare: Vec<u64>,
    /// Items that are so many steps apart at most may stand in either order.
    near: i64,
    unsure: Vec<bool>,
    seen: Vec<(Seen, u64)>,
}

impl Sorted {
    /// Bytes for `items` items.
    pub(crate) fn bytes(items: usize) -> usize {
        items * (2 * size_of::<u64>() + 1 + size_of::<(Seen, u64)>())
    }

    /// Takes every item's product, each off by `error` at most, leaves out what is ignored, and sorts. `ignored`
    /// ascends.
    pub(crate) fn set(
        &mut self,
        products: &[i32],
        error: f64,
        positives: impl Iterator<Item = u32>,
        ignored: &[u32],
    ) {
        let fold = |(low, high): (i32, i32), &x: &i32| (low.min(x), high.max(x));
        let (low, top) = products.iter().fold((i32::MAX, i32::MIN), fold);
        // Steps of a quarter of the error at most make nearly as few items unsure as single units, and keys short.
        let shift = (error / 4.0).max(2.0).log2().min(31.0) as u32;
        // Items further apart than that are further apart than twice the error, even if steps hide nearly one more.
        self.near = (2.0 * error / f64::from(1u32 << shift)).min(1e9).ceil() as i64;
        let key = |(item, &x): (u64, &i32)| u64::from(top.abs_diff(x) >> shift) << STEP | item << 1;
        self.keys.clear();
        self.keys.extend((0..).zip(products).map(key));
        positives.for_each(|item| self.keys[item as usize] |= 1);
        // What takes an ignored item's place stands behind all ignored ones that are left.
        for &item in ignored.iter().rev() {
            self.keys.swap_remove(item as usize);
        }
        let span = if products.is_empty() { 0 } else { top.abs_diff(low) >> shift };
        let bits = u32::BITS - span.leading_zeros();
        radix::sort(&mut self.keys, &mut self.spare, STEP, bits);
    }

    /// Puts positives and others that are too near to each other to tell in the order of the ranking. Positives among
    /// themselves stay as they are, as do others: nobody asks which of them it is that has a place.
    pub(crate) fn settle(&mut self, closeness: impl Fn(u32) -> f64) {
        self.mark();
        let Self { keys, near, unsure, seen, .. } = self;
        let mut end = 0;
        while let Some(sure) = unsure[end..].iter().position(|&unsure| unsure) {
            let start = end + sure;
            end = start + 1;
            while end < keys.len() && unsure[end] && step(keys[end]) - step(keys[end - 1]) <= *near
            {
                end += 1;
            }
            let run = &mut keys[start..end];
            seen.clear();
            seen.extend(run.iter().map(|&key| {
                let index = (key >> 1) as u32;
                (Seen { similarity: closeness(index), index }, key)
            }));
            seen.sort_unstable_by(|(a, _), (b, _)| a.compare(b));
            run.iter_mut().zip(&*seen).for_each(|(key, &(_, settled))| *key = settled);
        }
    }

    /// Marks the items that may stand on either side of one of the other kind. An item that is not marked stands behind
    /// all others of the other kind that are before it, so that nothing needs to be carried past it.
    fn mark(&mut self) {
        const FAR: i64 = 1 << 40;
        self.unsure.clear();
        let mut last = [-FAR; 2];
        self.unsure.extend(self.keys.iter().map(|&key| {
            let kind = usize::from(is_positive(key));
            last[kind] = step(key);
            step(key) - last[1 - kind] <= self.near
        }));
        let mut next = [FAR; 2];
        for (&key, unsure) in self.keys.iter().zip(&mut self.unsure).rev() {
            let kind = usize::from(is_positive(key));
            next[kind] = step(key);
            *unsure |= next[1 - kind] - step(key) <= self.near;
        }
    }

    /// The places of the positives, ascending from 1.
    pub(crate) fn ranks(&self) -> impl Iterator<Item = u32> {
        (1..).zip(&self.keys).filter(|(_, key)| is_positive(**key)).map(|(rank, _)| rank)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The products are `closeness` up to 8, in an order of their own.
    #[test]
    fn what_is_near_is_settled_and_what_is_ignored_takes_no_place() {
        let exact = [50.0, 40.0, 41.0, 90.0, 41.0, 0.0, 49.0, 42.0];
        let products = [45, 44, 40, 95, 41, 3, 52, 36];
        let ranks = |positives: &[u32], ignored: &[u32]| -> Vec<u32> {
            let mut sorted = Sorted::default();
            sorted.set(&products, 8.0, positives.iter().copied(), ignored);
            sorted.settle(|item| exact[item as usize]);
            sorted.ranks().collect()
        };
        // Best first: 3, 0, 6, 7, 2, 4, 1, 5.
        assert_eq!(ranks(&[3, 5, 6], &[]), [1, 3, 8]);
        assert_eq!(ranks(&[4, 7], &[]), [4, 6]);
        assert_eq!(ranks(&[4, 7], &[0, 2, 5]), [3, 4]);
        assert_eq!(ranks(&[0], &[1, 2, 3, 4, 5, 6, 7]), [1]);
        assert!(ranks(&[], &[7]).is_empty());
        assert_eq!(ranks(&[0, 1, 2, 3, 4, 5, 6, 7], &[]), [1, 2, 3, 4, 5, 6, 7, 8]);
    }
}
