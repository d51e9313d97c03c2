//! Confidence intervals by resampling (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13).

use rayon::prelude::*;

use super::scores::Scores;
use crate::Error;
use crate::random::Random;

/// What is drawn anew in each resample.
///
/// Queries of one class share their positives and their confusions, so they do not vary independently: taking them for
/// independent gives intervals that are too narrow. Classes are also what a class-disjoint test set is a sample of.
/// Draw [`Units::Classes`] unless there is a reason not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Units<'a> {
    /// Whole classes, each with all its queries (the cluster bootstrap). One label for every query of the ranking.
    Classes(&'a [u32]),
    /// Single queries: right where each stands for itself, as when every query is of its own class.
    Queries,
}

/// How to draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// How many resamples. Default: 2,000.
    pub resamples: usize,
    /// The share of resamples between the two ends. Default: 0.95.
    pub confidence: f64,
    /// Fixes the draws. Default: 0.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 2000, confidence: 0.95, seed: 0 }
    }
}

impl Bootstrap {
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self { resamples, confidence, .. } = *self;
        if confidence > 0.0 && confidence < 1.0 && resamples > 0 {
            return Ok(());
        }
        Err(Error::Confidence { confidence, resamples })
    }

    /// The interval between the percentiles of what the resamples gave.
    pub(super) fn interval(&self, mean: f64, mut drawn: Vec<f64>) -> Interval {
        drawn.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        Interval { mean, low: quantile(&drawn, tail), high: quantile(&drawn, 1.0 - tail) }
    }
}

/// A mean and the percentile interval around it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The mean over the queries themselves; of [`Scores::median_interval`] their median.
    pub mean: f64,
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// Whether zero lies outside: for a difference of two runs, whether the draws agree on its sign.
    pub fn excludes_zero(&self) -> bool {
        self.low > 0.0 || self.high < 0.0
    }
}

impl Scores {
    /// A confidence interval for the mean of each metric, in the order of [`Scores::metrics`].
    ///
    /// Each resample draws as many units as there are, with replacement, and takes the mean over all queries drawn; the
    /// ends are percentiles of these means, interpolated linearly. The same seed gives the same ends for any number of
    /// threads. With a single class there is nothing to vary, and the ends meet.
    ///
    /// # Errors
    ///
    /// [`Error::ColumnLength`] if the labels are not one for every query, [`Error::Confidence`] if `confidence` does not
    /// lie between 0 and 1, or without a resample.
    ///
    /// # Example
    ///
    /// ```
    /// use crossbatch_retrieval::{Bootstrap, Metric, Ranking, Scores, Units};
    ///
    /// let ranking = Ranking::from_ranks(&[vec![1], vec![1], vec![2], vec![5]], &[9; 4])?;
    /// let scores = Scores::of(&ranking, &[Metric::RecallAt(1)])?;
    /// let found = scores.intervals(Units::Classes(&[7, 7, 8, 8]), &Bootstrap::default())?[0];
    /// assert_eq!((found.low, found.mean, found.high), (0.0, 0.5, 1.0)); // of two classes one is right
    /// # Ok::<(), crossbatch_retrieval::Error>(())
    /// ```
    pub fn intervals(
        &self,
        units: Units<'_>,
        bootstrap: &Bootstrap,
    ) -> Result<Vec<Interval>, Error> {
        bootstrap.check()?;
        let units = self.sums(units)?;
        let width = self.metrics().len();
        let resample = |draw: usize| -> Vec<f64> {
            let mut random = Random::new(bootstrap.seed, draw as u64);
            let (mut sums, mut queries) = (vec![0.0; width], 0);
            for _ in 0..units.len() {
                let (count, unit) = &units[random.below(units.len())];
                sums.iter_mut().zip(unit).for_each(|(sum, value)| *sum += value);
                queries += count;
            }
            sums.into_iter().map(|sum| sum / queries as f64).collect()
        };
        let drawn: Vec<Vec<f64>> = (0..bootstrap.resamples).into_par_iter().map(resample).collect();
        let interval = |(at, mean): (usize, f64)| {
            bootstrap.interval(mean, drawn.iter().map(|means| means[at]).collect())
        };
        Ok(self.means().into_iter().enumerate().map(interval).collect())
    }

    /// The queries of each unit, and the sum of their scores.
    fn sums(&self, units: Units<'_>) -> Result<Vec<(usize, Vec<f64>)>, Error> {
        match units {
            Units::Queries => {
                Ok((0..self.queries().len()).map(|row| (1, self.row(row).to_vec())).collect())
            }
            Units::Classes(labels) => {
                let sum = |group: super::scores::Group| {
                    let size = group.queries as f64;
                    (group.queries, group.means.into_iter().map(|mean| mean * size).collect())
                };
                Ok(self.by(labels)?.into_iter().map(sum).collect())
            }
        }
    }
}

/// The value below which a share of the sorted `values` lies, interpolated between neighbours.
fn quantile(values: &[f64], share: f64) -> f64 {
    let at = share * (values.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(values.len() - 1);
    values[below] + part * (values[above] - values[below])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metric, Ranking};

    /// `classes` classes of `each` queries, some found at rank 1 and some not.
    fn scores(classes: u32, each: u32, found: impl Fn(u32, u32) -> bool) -> (Scores, Vec<u32>) {
        let labels: Vec<u32> = (0..classes * each).map(|query| query / each).collect();
        let ranks: Vec<Vec<u32>> = (0..classes * each)
            .map(|query| vec![if found(query / each, query % each) { 1 } else { 2 }])
            .collect();
        let ranking = Ranking::from_ranks(&ranks, &vec![9; ranks.len()]).unwrap();
        (Scores::of(&ranking, &[Metric::RecallAt(1)]).unwrap(), labels)
    }

    #[test]
    fn independent_queries_give_the_binomial_interval() {
        let (scores, _) = scores(1000, 1, |class, _| class % 4 == 0);
        let found = scores.intervals(Units::Queries, &Bootstrap::default()).unwrap()[0];
        let half = 1.96 * (0.25f64 * 0.75 / 1000.0).sqrt();
        assert_eq!(found.mean, 0.25);
        assert!((found.high - found.mean - half).abs() < 0.1 * half, "{found:?}");
        assert!((found.mean - found.low - half).abs() < 0.1 * half, "{found:?}");
    }

    #[test]
    fn classes_that_stand_or_fall_together_are_as_many_as_the_classes() {
        // Ten queries a class, all alike: the interval is that of 100 queries, not of 1,000.
        let (scores, labels) = scores(100, 10, |class, _| class % 4 == 0);
        let bootstrap = Bootstrap::default();
        let classes = scores.intervals(Units::Classes(&labels), &bootstrap).unwrap()[0];
        let queries = scores.intervals(Units::Queries, &bootstrap).unwrap()[0];
        let ratio = (classes.high - classes.low) / (queries.high - queries.low);
        assert!((ratio - 10f64.sqrt()).abs() < 0.4, "{ratio}");
    }

    #[test]
    fn threads_and_seeds() {
        let (scores, labels) = scores(300, 4, |class, query| class * class % 11 + query < 7);
        let run = |threads, seed| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let bootstrap = Bootstrap { seed, ..Bootstrap::default() };
            pool.install(|| scores.intervals(Units::Classes(&labels), &bootstrap).unwrap())
        };
        assert_eq!(run(1, 3), run(3, 3));
        assert_ne!(run(1, 3), run(1, 4));
    }

    #[test]
    fn a_difference_is_surer_than_its_parts() {
        // The second run finds a tenth more, never less: the classes vary much, the difference does not.
        let base = |class: u32, query: u32| (class * 31 + class * class * 7) % 10 < 5 && query != 0;
        let (first, labels) = scores(200, 5, base);
        let (second, _) = scores(200, 5, |class, query| base(class, query) || query == 1);
        let bootstrap = Bootstrap::default();
        let difference = second.minus(&first).unwrap();
        let found = difference.intervals(Units::Classes(&labels), &bootstrap).unwrap()[0];
        assert!(found.excludes_zero() && found.low > 0.05, "{found:?}");
        assert!((found.mean - (second.means()[0] - first.means()[0])).abs() < 1e-12);
    }

    #[test]
    fn quantiles_interpolate() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.5), 2.0);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0);
        assert_eq!(quantile(&[5.0], 0.975), 5.0);
    }

    #[test]
    fn mistakes_are_errors() {
        let (scores, labels) = scores(3, 2, |_, _| true);
        for confidence in [0.0, 1.0, f64::NAN] {
            let bootstrap = Bootstrap { confidence, ..Bootstrap::default() };
            let found = scores.intervals(Units::Classes(&labels), &bootstrap);
            assert!(matches!(found, Err(Error::Confidence { .. })));
        }
        let found = scores.intervals(Units::Classes(&labels[1..]), &Bootstrap::default());
        assert!(matches!(found, Err(Error::ColumnLength { .. })));
    }
}
