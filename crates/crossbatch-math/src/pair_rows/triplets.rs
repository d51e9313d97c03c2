//! Triplets: each negative meets the anchor's sorted positives.

use super::positives::Positives;
use super::program::TripletRule;
use rayon::prelude::*;

/// Every anchor's positives, by closeness. A negative's hinge terms then belong to a run of them, whose sums are
/// differences of running sums.
#[derive(Debug)]
pub(super) struct Lists {
    rule: TripletRule,
    margin: f32,
    soft: bool,
    /// Where each anchor's positives begin, and one more.
    starts: Vec<usize>,
    closeness: Vec<f32>,
    pub(super) references: Vec<u32>,
    weights: Vec<f32>,
    /// Running sums of weights, and of weights times closeness, from 0 on: one more an anchor than positives.
    sums: Vec<[f64; 2]>,
}

impl Lists {
    pub(super) fn new(
        positives: &Positives<'_>,
        rule: TripletRule,
        margin: f32,
        soft: bool,
    ) -> Self {
        let batch = positives.problem.batch();
        let sorted: Vec<Vec<(f32, u32)>> = (0..batch)
            .into_par_iter()
            .map(|anchor| {
                let mut list = Vec::new();
                positives.visit(anchor, &mut |reference, x| list.push((x, reference)));
                list.sort_by(|a, b| a.0.total_cmp(&b.0));
                list
            })
            .collect();
        let mut lists = Self {
            rule,
            margin,
            soft,
            starts: vec![0],
            closeness: Vec::new(),
            references: Vec::new(),
            weights: Vec::new(),
            sums: Vec::new(),
        };
        for list in sorted {
            let mut sum = [0.0f64; 2];
            lists.sums.push(sum);
            for (x, reference) in list {
                let weight = positives.problem.weight(reference as usize);
                lists.closeness.push(x);
                lists.references.push(reference);
                lists.weights.push(weight);
                sum[0] += f64::from(weight);
                sum[1] += f64::from(weight) * f64::from(x);
                lists.sums.push(sum);
            }
            lists.starts.push(lists.closeness.len());
        }
        lists
    }

    /// Places of a [`Tally`].
    pub(super) fn len(&self) -> usize {
        self.sums.len()
    }

    /// Range of an anchor's positives.
    pub(super) fn of(&self, anchor: usize) -> std::ops::Range<usize> {
        self.starts[anchor]..self.starts[anchor + 1]
    }

    /// Whether `p − value < x < p` for a positive at `p`.
    pub(super) fn has_within(&self, anchor: usize, x: f32, value: f32) -> bool {
        let list = &self.closeness[self.of(anchor)];
        list.get(list.partition_point(|p| *p <= x)).is_some_and(|p| p - value < x)
    }

    /// Bounds outside of which a negative is in no triplet.
    pub(super) fn bounds(&self, anchor: usize) -> (f32, f32) {
        let list = &self.closeness[self.of(anchor)];
        let (Some(first), Some(last)) = (list.first(), list.last()) else {
            return (f32::INFINITY, f32::NEG_INFINITY);
        };
        let hinge = if self.soft { f32::NEG_INFINITY } else { first - self.margin };
        match self.rule {
            TripletRule::All => (hinge, f32::INFINITY),
            TripletRule::SemiHard => (first - self.margin, *last),
            TripletRule::Hard => (hinge.max(*first), f32::INFINITY),
        }
    }

    /// A negative's terms with all positives: their sum, its derivative by the negative's closeness, and their number.
    pub(super) fn meet(
        &self,
        anchor: usize,
        x: f32,
        weight: f32,
        mut tally: Option<&mut Tally>,
    ) -> (f32, f32, f32) {
        let list = &self.closeness[self.of(anchor)];
        let reach = x + self.margin;
        let range = match self.rule {
            TripletRule::All if self.soft => 0..list.len(),
            TripletRule::All => 0..list.partition_point(|p| *p < reach),
            TripletRule::SemiHard => {
                list.partition_point(|p| *p <= x)..list.partition_point(|p| *p < reach)
            }
            TripletRule::Hard if self.soft => 0..list.partition_point(|p| *p < x),
            TripletRule::Hard => 0..list.partition_point(|p| *p < x.min(reach)),
        };
        if range.is_empty() {
            return (0.0, 0.0, 0.0);
        }
        let count = range.len() as f32;
        // The sums of an anchor have one place more than its positives.
        let first = self.starts[anchor] + anchor;
        if self.soft {
            let (mut value, mut slope) = (0.0, 0.0);
            for place in range {
                let at = self.starts[anchor] + place;
                let z = reach - self.closeness[at];
                let tail = (-z.abs()).exp();
                let sigmoid = if z > 0.0 { 1.0 } else { tail } / (1.0 + tail);
                value += self.weights[at] * (z.max(0.0) + tail.ln_1p());
                slope += self.weights[at] * sigmoid;
                if let Some(tally) = &mut tally {
                    tally.0[first + place] += weight * sigmoid;
                }
            }
            return (weight * value, weight * slope, count);
        }
        let [from, to] = [self.sums[first + range.start], self.sums[first + range.end]];
        let (weights, weighted) = (to[0] - from[0], to[1] - from[1]);
        if let Some(tally) = tally {
            tally.0[first + range.start] += weight;
            tally.0[first + range.end] -= weight;
        }
        let value = (f64::from(reach) * weights - weighted) as f32;
        (weight * value, weight * weights as f32, count)
    }

    /// What each of an anchor's positives pulls with: reference, closeness, and the derivative of the number by minus
    /// its closeness.
    pub(super) fn slopes<'a>(
        &'a self,
        anchor: usize,
        tally: &'a Tally,
    ) -> impl Iterator<Item = (u32, f32, f32)> + 'a {
        let first = self.starts[anchor] + anchor;
        let mut running = 0.0;
        self.of(anchor).enumerate().map(move |(place, at)| {
            let here = tally.0.get(first + place).copied().unwrap_or(0.0);
            // Hinges left their runs' ends.
            running += here;
            let sum = if self.soft { here } else { running };
            (self.references[at], self.closeness[at], sum * self.weights[at])
        })
    }
}

/// What negatives add to each positive: of the hinge, where runs begin and end; of the soft form, the sum.
#[derive(Debug, Default)]
pub(super) struct Tally(Vec<f32>);

impl Tally {
    pub(super) fn new(lists: &Lists) -> Self {
        Self(vec![0.0; lists.len()])
    }

    /// Takes the next stretch in.
    pub(super) fn fold(&mut self, next: Self) {
        if self.0.is_empty() {
            self.0 = next.0;
        } else {
            for (sum, value) in self.0.iter_mut().zip(next.0) {
                *sum += value;
            }
        }
    }
}
