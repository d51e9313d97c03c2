//! The ranks of one query's positives, counted while the gallery streams by.
//!
//! No list of neighbours is kept: the rank of a positive is one more than the number of items before it, and to count
//! these it is enough to know the positives, which are few, beforehand.

use crate::order::{CHUNK, Seen, any_reaches, margin};

/// Up to this many positives are compared with a whole chunk at once; with more, each item looks for its place
/// among the positives. Results do not depend on it.
const FEW: usize = 64;

/// Counts how many items stand before each positive of one query.
#[derive(Debug)]
pub(crate) struct RankCounter {
    margin: f64,
    few: usize,
    /// In the order of the ranking, best first.
    positives: Vec<Seen>,
    /// f32 similarities below `low[j]` surely stand behind positive `j`.
    low: Vec<f32>,
    /// f32 similarities above `high[j]` surely stand before positive `j`.
    high: Vec<f32>,
    /// `before[j]` items were found to stand before positive `j`, and so before all that follow it.
    before: Vec<u32>,
    /// `landed[j]` items were found to stand before positive `j` and behind `j - 1`, or to be `j - 1`.
    landed: Vec<u32>,
}

impl RankCounter {
    /// A counter for rows of `dim` values; [`RankCounter::start`] gives it a query.
    pub(crate) fn new(dim: usize) -> Self {
        Self {
            margin: margin(dim),
            few: FEW,
            positives: Vec::new(),
            low: Vec::new(),
            high: Vec::new(),
            before: Vec::new(),
            landed: Vec::new(),
        }
    }

    /// Begins a query with these positives, in any order. Forgets the query before it.
    pub(crate) fn start(&mut self, positives: impl Iterator<Item = Seen>) {
        self.positives.clear();
        self.positives.extend(positives);
        self.positives.sort_unstable_by(Seen::compare);
        let bound = |offset: f64| {
            self.positives.iter().map(move |positive| (positive.similarity + offset) as f32)
        };
        self.low.clear();
        self.low.extend(bound(-self.margin));
        self.high.clear();
        self.high.extend(bound(self.margin));
        for counts in [&mut self.before, &mut self.landed] {
            counts.clear();
            counts.resize(self.positives.len() + 1, 0);
        }
    }

    /// How many positives the query has.
    pub(crate) fn positives(&self) -> usize {
        self.positives.len()
    }

    /// Takes in gallery items `first..first + similarities.len()`, positives included. Items at minus infinity are
    /// not met.
    pub(crate) fn meet(&mut self, first: usize, similarities: &[f32], exact: impl Fn(u32) -> f64) {
        let Some(&floor) = self.low.last() else {
            return; // nothing to find
        };
        for (chunk, at) in similarities.chunks(CHUNK).zip((first..).step_by(CHUNK)) {
            // Most chunks end here: nothing in them is as near as the farthest positive.
            if any_reaches(chunk, floor) && !self.count_chunk(chunk) {
                self.place_each(at as u32, chunk, floor, &exact);
            }
        }
    }

    /// Counts the chunk for all positives at once, unless f32 cannot tell some item from some positive; then nothing
    /// is counted and the answer is false.
    fn count_chunk(&mut self, chunk: &[f32]) -> bool {
        let found = self.positives.len();
        if found > self.few {
            return false;
        }
        let mut counts = [0; FEW];
        for ((&low, &high), count) in self.low.iter().zip(&self.high).zip(&mut counts) {
            let (reaching, above) = count_from(chunk, low, high);
            if reaching != above {
                return false;
            }
            *count = above;
        }
        for (before, count) in self.before.iter_mut().zip(&counts[..found]) {
            *before += count;
        }
        true
    }

    /// Finds the place of each item of the chunk among the positives, asking `exact` where f32 cannot tell.
    fn place_each(&mut self, first: u32, chunk: &[f32], floor: f32, exact: &impl Fn(u32) -> f64) {
        for (&rough, index) in chunk.iter().zip(first..) {
            if rough < floor {
                continue;
            }
            let mut place = self.low.partition_point(|&low| low > rough);
            let unsure = self.high[place..].partition_point(|&high| high >= rough);
            if unsure > 0 {
                let item = Seen { similarity: exact(index), index };
                place += self.positives[place..place + unsure]
                    .partition_point(|positive| !item.is_before(*positive));
            }
            self.landed[place] += 1;
        }
    }

    /// Writes the ranks of the positives, from one, ascending.
    pub(crate) fn finish(&self, ranks: &mut Vec<u32>) {
        ranks.clear();
        let mut landed = 0;
        ranks.extend(self.before.iter().zip(&self.landed).take(self.positives()).map(
            |(before, here)| {
                landed += here;
                1 + before + landed
            },
        ));
    }
}

/// How many values reach `low`, and how many are above `high`.
fn count_from(values: &[f32], low: f32, high: f32) -> (u32, u32) {
    values.iter().fold((0, 0), |(reaching, above), &value| {
        (reaching + u32::from(value >= low), above + u32::from(value > high))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ranks of `positives` in a gallery of these exact similarities, with f32 errors of up to `noise`.
    fn ranks(exact: &[f64], positives: &[u32], noise: f64, few: usize, piece: usize) -> Vec<u32> {
        let rough: Vec<f32> = exact
            .iter()
            .enumerate()
            .map(|(i, &value)| (value + noise * ((i * 7919 % 13) as f64 / 6.0 - 1.0)) as f32)
            .collect();
        let look = |index: u32| exact[index as usize];
        let mut counter = RankCounter::new(4);
        counter.few = few;
        let mut ranks = Vec::new();
        // Twice, to see that nothing is left over from the query before.
        for _ in 0..2 {
            let seen = positives.iter().map(|&index| Seen { similarity: look(index), index });
            counter.start(seen);
            for (i, values) in rough.chunks(piece).enumerate() {
                counter.meet(i * piece, values, look);
            }
            counter.finish(&mut ranks);
        }
        ranks
    }

    fn sorted_ranks(exact: &[f64], positives: &[u32]) -> Vec<u32> {
        let mut order: Vec<u32> = (0..exact.len() as u32).collect();
        order.sort_by(|&a, &b| exact[b as usize].total_cmp(&exact[a as usize]).then(a.cmp(&b)));
        let place = |wanted| order.iter().position(|&index| index == wanted).unwrap() as u32 + 1;
        let mut ranks: Vec<u32> = positives.iter().map(|&index| place(index)).collect();
        ranks.sort_unstable();
        ranks
    }

    #[test]
    fn a_hand_made_ranking() {
        // Order: 2 (0.9), 0 (0.8), 3 (0.5), 4 (0.5), 1 (0.1).
        let exact = [0.8, 0.1, 0.9, 0.5, 0.5];
        assert_eq!(ranks(&exact, &[4, 0], 0.0, FEW, 5), [2, 4]);
        assert_eq!(ranks(&exact, &[3], 0.0, FEW, 2), [3]);
        assert_eq!(ranks(&exact, &[1, 2], 0.0, 0, 1), [1, 5]);
        assert!(ranks(&exact, &[], 0.0, FEW, 5).is_empty());
    }

    #[test]
    fn both_ways_of_counting_agree_with_a_sort_under_f32_errors() {
        let shapes: [&dyn Fn(usize) -> f64; 4] = [
            &|_| 0.25,
            &|i| 0.5 + 1e-9 * (i * 769 % 997) as f64,
            &|i| (i * 769 % 997) as f64 * 1e-3 - 0.5,
            &|i| ((i * 769 % 997) / 30) as f64 * 4e-6,
        ];
        for shape in shapes {
            let exact: Vec<f64> = (0..900).map(shape).collect();
            for count in [1, 5, 64, 65, 200] {
                let positives: Vec<u32> = (0..count).map(|i| i * 373 % 900).collect();
                let expected = sorted_ranks(&exact, &positives);
                for (few, piece) in [(FEW, 900), (FEW, 70), (0, 900), (3, 64)] {
                    assert_eq!(ranks(&exact, &positives, 4e-6, few, piece), expected);
                }
            }
        }
    }

    #[test]
    fn items_that_are_not_met_do_not_count() {
        let mut counter = RankCounter::new(4);
        counter.start([Seen { similarity: -1.0, index: 1 }].into_iter());
        counter.meet(0, &[f32::NEG_INFINITY, -1.0], |_| -1.0);
        let mut ranks = Vec::new();
        counter.finish(&mut ranks);
        assert_eq!(ranks, [1]);
    }
}
