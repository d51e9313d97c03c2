//! Medians over queries, which a few hopeless ones do not move, and their confidence intervals.

use rayon::prelude::*;

use super::bootstrap::{Bootstrap, Interval, Units};
use super::metric::Metric;
use super::scores::Scores;
use crate::Error;
use crate::random::Random;

impl Scores {
    /// The median of a metric over the queries, the mean of the middle two where there is an even number of them; nothing
    /// if it was not asked for.
    ///
    /// # Example
    ///
    /// ```
    /// use crossbatch_retrieval::{Metric, Ranking, Scores};
    ///
    /// let ranking = Ranking::from_ranks(&[vec![1], vec![1], vec![2], vec![90]], &[99; 4])?;
    /// let scores = Scores::of(&ranking, &[Metric::MeanRank])?;
    /// assert_eq!(scores.median(Metric::MeanRank), Some(1.5));
    /// # Ok::<(), crossbatch_retrieval::Error>(())
    /// ```
    pub fn median(&self, metric: Metric) -> Option<f64> {
        let mut values = self.column(metric)?;
        values.sort_unstable_by(f64::total_cmp);
        Some((values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0)
    }

    /// A confidence interval for [`Scores::median`], drawn as [`Scores::intervals`] draws: the percentiles of the medians of
    /// the resamples. Ranks are whole numbers, so that the ends are mostly whole or halves, too.
    ///
    /// # Errors
    ///
    /// As [`Scores::intervals`].
    pub fn median_interval(
        &self,
        metric: Metric,
        units: Units<'_>,
        bootstrap: &Bootstrap,
    ) -> Result<Option<Interval>, Error> {
        bootstrap.check()?;
        let (Some(values), Some(mean)) = (self.column(metric), self.median(metric)) else {
            return Ok(None);
        };
        let (unit, units) = self.unit_of_each(units)?;
        let mut rows: Vec<usize> = (0..values.len()).collect();
        rows.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        let resample = |draw: usize| {
            let mut random = Random::new(bootstrap.seed, draw as u64);
            let mut drawn = vec![0usize; units];
            (0..units).for_each(|_| drawn[random.below(units)] += 1);
            let queries: usize = unit.iter().map(|&unit| drawn[unit]).sum();
            // The value at a place among the drawn queries, ascending.
            let at = |place: usize| {
                let mut end = 0;
                let found = rows.iter().find(|&&row| {
                    end += drawn[unit[row]];
                    end > place
                });
                found.map_or(f64::NAN, |&row| values[row])
            };
            (at((queries - 1) / 2) + at(queries / 2)) / 2.0
        };
        let medians = (0..bootstrap.resamples).into_par_iter().map(resample).collect();
        Ok(Some(bootstrap.interval(mean, medians)))
    }

    /// The number of each row's unit, and how many units there are.
    fn unit_of_each(&self, units: Units<'_>) -> Result<(Vec<usize>, usize), Error> {
        let Units::Classes(labels) = units else {
            return Ok(((0..self.queries().len()).collect(), self.queries().len()));
        };
        let classes = self.rows_by(labels)?;
        let mut unit = vec![0; self.queries().len()];
        for (number, (_, rows)) in classes.iter().enumerate() {
            rows.iter().for_each(|&row| unit[row] = number);
        }
        Ok((unit, classes.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ranking;

    /// Rank 0 stands for a query without a match.
    fn scores(ranks: &[u32]) -> Scores {
        let list = |&rank: &u32| if rank == 0 { vec![] } else { vec![rank] };
        let ranks: Vec<Vec<u32>> = ranks.iter().map(list).collect();
        let ranking = Ranking::from_ranks(&ranks, &vec![1000; ranks.len()]).unwrap();
        Scores::of(&ranking, &[Metric::MeanRank]).unwrap()
    }

    fn interval(scores: &Scores, units: Units<'_>) -> Interval {
        let found = scores.median_interval(Metric::MeanRank, units, &Bootstrap::default());
        found.unwrap().unwrap()
    }

    #[test]
    fn two_classes_give_three_medians() {
        // Drawn are both (a half of the time), the first twice or the second twice.
        let scores = scores(&[1, 1, 1, 7, 9, 11]);
        let found = interval(&scores, Units::Classes(&[3, 3, 3, 5, 5, 5]));
        assert_eq!(found, Interval { mean: 4.0, low: 1.0, high: 9.0 });
        assert_eq!(scores.median(Metric::MapAtR), None);
    }

    #[test]
    fn labels_are_those_of_the_queries_that_count() {
        let scores = scores(&[0, 1, 1, 0, 1, 7, 9, 11]);
        assert_eq!(scores.queries(), [1, 2, 4, 5, 6, 7]);
        let found = interval(&scores, Units::Classes(&[8, 3, 3, 9, 3, 5, 5, 5]));
        assert_eq!(found, Interval { mean: 4.0, low: 1.0, high: 9.0 });
    }

    /// Binomial ends: the median of n lies between the values at n/2 ± 0.98 √n in 95 of 100 draws (Conover, "Practical
    /// Nonparametric Statistics", 1999, section 3.2).
    #[test]
    fn independent_queries_give_the_order_statistics_interval() {
        let scores = scores(&(1..=999).map(|rank| rank * 389 % 1000).collect::<Vec<u32>>());
        let found = interval(&scores, Units::Queries);
        let half = 0.98 * 999f64.sqrt();
        assert!((found.mean - found.low - half).abs() < 0.15 * half, "{found:?}");
        assert!((found.high - found.mean - half).abs() < 0.15 * half, "{found:?}");
    }

    #[test]
    fn mistakes_are_errors() {
        let scores = scores(&[1, 2]);
        let bootstrap = Bootstrap { resamples: 0, ..Bootstrap::default() };
        let found = scores.median_interval(Metric::MeanRank, Units::Queries, &bootstrap);
        assert!(matches!(found, Err(Error::Confidence { .. })));
        let (units, bootstrap) = (Units::Classes(&[1]), Bootstrap::default());
        let found = scores.median_interval(Metric::MeanRank, units, &bootstrap);
        assert!(matches!(found, Err(Error::ColumnLength { .. })));
    }
}
