//! Every query's own numbers, and their means over all queries, classes or groups.

use rayon::prelude::*;

use super::metric::Metric;
use crate::{Error, Ranking};

/// A table: one row for each query that has a positive, one column for each metric.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Metric, Ranking, Scores};
///
/// // Query 1 has no positive; queries 0 and 2 find theirs at ranks 1 and 4.
/// let ranking = Ranking::from_ranks(&[vec![1], vec![], vec![4]], &[9, 9, 9])?;
/// let scores = Scores::of(&ranking, &[Metric::RecallAt(1), Metric::MeanReciprocalRank])?;
/// assert_eq!(scores.queries(), [0, 2]);
/// assert_eq!(scores.row(1), [0.0, 0.25]);
/// assert_eq!(scores.means(), [0.5, 0.625]);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Scores {
    metrics: Vec<Metric>,
    queries: Vec<u32>,
    /// `[queries, metrics]`
    values: Vec<f64>,
    left_out: usize,
}

/// The means over the queries that share a label, or any other value.
#[derive(Debug, Clone, PartialEq)]
pub struct Group {
    /// What they share.
    pub value: u32,
    /// How many queries count.
    pub queries: usize,
    /// The mean of each metric, in the order of [`Scores::metrics`].
    pub means: Vec<f64>,
}

/// Scores that queries are still being added to, some at a time.
#[derive(Debug)]
pub(crate) struct Scoring {
    scores: Scores,
    /// How many queries were taken, and the most items that one of them met.
    taken: usize,
    met: u32,
}

impl Scoring {
    /// Of no query, with room for `queries`.
    pub(crate) fn new(metrics: &[Metric], queries: usize) -> Result<Self, Error> {
        if metrics.iter().any(|metric| metric.cut() == Some(0)) {
            return Err(Error::ZeroK);
        }
        let scores = Scores {
            metrics: metrics.to_vec(),
            queries: Vec::with_capacity(queries),
            values: Vec::with_capacity(queries * metrics.len()),
            left_out: 0,
        };
        Ok(Self { scores, taken: 0, met: 0 })
    }

    /// Bytes for `queries` queries, with what is taken at once beside what there is.
    pub(crate) fn bytes(metrics: usize, queries: usize) -> usize {
        queries.saturating_mul(16 * metrics + 32)
    }

    /// Scores the next queries.
    pub(crate) fn take(&mut self, ranking: &Ranking) {
        let Scores { metrics, queries, values, left_out } = &mut self.scores;
        let counted: Vec<(usize, &[u32])> = ranking.counted().collect();
        queries.extend(counted.iter().map(|&(query, _)| (self.taken + query) as u32));
        let row = |(_, ranks): &(usize, &[u32])| -> Vec<f64> {
            metrics.iter().map(|metric| metric.of(ranks)).collect()
        };
        values.par_extend(counted.par_iter().flat_map_iter(row));
        *left_out += ranking.len() - counted.len();
        let met = (0..ranking.len()).map(|query| ranking.met(query)).max();
        self.met = self.met.max(met.unwrap_or(0));
        self.taken += ranking.len();
    }

    /// The scores, if any query has a positive.
    pub(crate) fn finish(self) -> Result<Scores, Error> {
        if self.scores.queries.is_empty() {
            return Err(Error::NoQueries { queries: self.taken, gallery: self.met as usize });
        }
        Ok(self.scores)
    }
}

impl Scores {
    /// Scores every query of a ranking that has a positive.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroK`] for a metric at K = 0, and [`Error::NoQueries`] if no query has a positive.
    pub fn of(ranking: &Ranking, metrics: &[Metric]) -> Result<Self, Error> {
        let mut scoring = Scoring::new(metrics, ranking.len())?;
        scoring.take(ranking);
        scoring.finish()
    }

    /// The metrics, one a column.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// The queries that count, ascending, one a row.
    pub fn queries(&self) -> &[u32] {
        &self.queries
    }

    /// How many queries were left out because nothing in the gallery matches them.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// All metrics of the query `self.queries()[row]`.
    ///
    /// # Panics
    ///
    /// If there are not more than `row` rows.
    pub fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.metrics.len()..(row + 1) * self.metrics.len()]
    }

    /// One metric of all queries, in the order of [`Scores::queries`]; nothing if it was not asked for.
    pub fn column(&self, metric: Metric) -> Option<Vec<f64>> {
        let at = self.metrics.iter().position(|&other| other == metric)?;
        Some((0..self.queries.len()).map(|row| self.row(row)[at]).collect())
    }

    /// The mean of each metric over the queries, summed in their order.
    pub fn means(&self) -> Vec<f64> {
        self.means_of(0..self.queries.len())
    }

    /// The means of the queries that share a value of `column`, ascending by value: labels for a row per class, or any
    /// other column for a row per group. `column` has one value for every query of the ranking, those left out included.
    ///
    /// # Errors
    ///
    /// [`Error::ColumnLength`] if it has not.
    pub fn by(&self, column: &[u32]) -> Result<Vec<Group>, Error> {
        let groups = self.rows_by(column)?.into_iter().map(|(value, rows)| Group {
            value,
            queries: rows.len(),
            means: self.means_of(rows.into_iter()),
        });
        Ok(groups.collect())
    }

    /// The values of `column`, ascending, and the rows of the queries that have each.
    pub(super) fn rows_by(&self, column: &[u32]) -> Result<Vec<(u32, Vec<usize>)>, Error> {
        self.check(column)?;
        let value = |row: usize| column[self.queries[row] as usize];
        let mut rows: Vec<usize> = (0..self.queries.len()).collect();
        rows.sort_by_key(|&row| value(row)); // stable: queries stay in order
        let groups = rows.chunk_by(|&a, &b| value(a) == value(b));
        Ok(groups.map(|rows| (value(rows[0]), rows.to_vec())).collect())
    }

    /// The mean over groups of their means: every class counts the same, however many queries it has
    /// (pytorch-metric-learning's `avg_of_avgs`).
    ///
    /// # Errors
    ///
    /// As [`Scores::by`].
    pub fn macro_means(&self, column: &[u32]) -> Result<Vec<f64>, Error> {
        let groups = self.by(column)?;
        let mean = |at: usize| {
            groups.iter().map(|group| group.means[at]).sum::<f64>() / groups.len() as f64
        };
        Ok((0..self.metrics.len()).map(mean).collect())
    }

    /// The rows of the `count` queries with the worst `metric`, worst first, equal ones by query; nothing if it was not
    /// asked for.
    pub fn worst(&self, metric: Metric, count: usize) -> Option<Vec<usize>> {
        let values = self.column(metric)?;
        let mut rows: Vec<usize> = (0..values.len()).collect();
        if metric.higher_is_better() {
            rows.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        } else {
            rows.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
        }
        rows.truncate(count);
        Some(rows)
    }

    /// These scores minus those of another run on the same queries: a table of differences, query by query, to be judged
    /// by [`Scores::intervals`]. Queries that only one of the two could score are left out.
    ///
    /// # Errors
    ///
    /// [`Error::Metrics`] if the two have different metrics, and [`Error::NoQueries`] if they share no query.
    pub fn minus(&self, other: &Self) -> Result<Self, Error> {
        if self.metrics != other.metrics {
            return Err(Error::Metrics);
        }
        let (mut queries, mut values) = (Vec::new(), Vec::new());
        for (row, query) in self.queries.iter().enumerate() {
            if let Ok(same) = other.queries.binary_search(query) {
                queries.push(*query);
                values.extend(self.row(row).iter().zip(other.row(same)).map(|(a, b)| a - b));
            }
        }
        let all = self.queries.len() + self.left_out;
        if queries.is_empty() {
            return Err(Error::NoQueries { queries: all, gallery: 0 });
        }
        let left_out = all - queries.len();
        Ok(Self { metrics: self.metrics.clone(), queries, values, left_out })
    }

    /// Whether `column` can have a value for every query.
    fn check(&self, column: &[u32]) -> Result<(), Error> {
        let rows = self.queries.len() + self.left_out;
        if column.len() == rows {
            return Ok(());
        }
        let (side, what) = ("query set", "values in a column");
        Err(Error::ColumnLength { side, what, rows, values: column.len() })
    }

    fn means_of(&self, rows: impl Iterator<Item = usize>) -> Vec<f64> {
        let (mut sums, mut count) = (vec![0.0; self.metrics.len()], 0);
        for row in rows {
            sums.iter_mut().zip(self.row(row)).for_each(|(sum, value)| *sum += value);
            count += 1;
        }
        sums.into_iter().map(|sum| sum / f64::from(count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scores() -> Scores {
        let ranks = [vec![1], vec![2], vec![], vec![4], vec![1]];
        let ranking = Ranking::from_ranks(&ranks, &[9; 5]).unwrap();
        Scores::of(&ranking, &[Metric::RecallAt(1), Metric::MeanRank]).unwrap()
    }

    #[test]
    fn groups_and_macro_means_by_hand() {
        let scores = scores();
        assert_eq!(scores.means(), [0.5, 2.0]);
        assert_eq!((scores.queries(), scores.left_out()), (&[0, 1, 3, 4][..], 1));
        let groups = scores.by(&[9, 3, 3, 9, 9]).unwrap();
        assert_eq!(groups[0], Group { value: 3, queries: 1, means: vec![0.0, 2.0] });
        assert_eq!(groups[1], Group { value: 9, queries: 3, means: vec![2.0 / 3.0, 2.0] });
        assert_eq!(scores.macro_means(&[9, 3, 3, 9, 9]).unwrap(), [1.0 / 3.0, 2.0]);
        assert!(matches!(scores.by(&[1; 4]), Err(Error::ColumnLength { rows: 5, values: 4, .. })));
    }

    #[test]
    fn the_worst_come_first() {
        let scores = scores();
        assert_eq!(scores.worst(Metric::RecallAt(1), 3), Some(vec![1, 2, 0]));
        assert_eq!(scores.worst(Metric::MeanRank, 2), Some(vec![2, 1]));
        assert_eq!(scores.worst(Metric::MapAtR, 2), None);
    }

    #[test]
    fn differences_are_of_the_queries_that_both_have() {
        let ranking = Ranking::from_ranks(&[vec![], vec![1], vec![1], vec![1], vec![3]], &[9; 5]);
        let other = Scores::of(&ranking.unwrap(), scores().metrics()).unwrap();
        let difference = scores().minus(&other).unwrap();
        assert_eq!(difference.queries(), [1, 3, 4]);
        assert_eq!(difference.column(Metric::MeanRank).unwrap(), [1.0, 3.0, -2.0]);
        assert_eq!(difference.left_out(), 2);
        let ranking = Ranking::from_ranks(&[vec![1]], &[9]).unwrap();
        let alone = Scores::of(&ranking, &[Metric::MapAtR]).unwrap();
        assert_eq!(scores().minus(&alone), Err(Error::Metrics));
    }

    #[test]
    fn mistakes_are_errors() {
        let ranking = Ranking::from_ranks(&[vec![]], &[4]).unwrap();
        let found = Scores::of(&ranking, &[Metric::MapAtR]);
        assert_eq!(found, Err(Error::NoQueries { queries: 1, gallery: 4 }));
        assert_eq!(Scores::of(&ranking, &[Metric::NdcgAt(0)]), Err(Error::ZeroK));
    }
}
