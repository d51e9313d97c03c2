//! How good a ranking is. [`Metric`] defines each number, [`Scores`] holds them query by query, [`Metrics`] is what a table
//! shows.

mod bootstrap;
mod hard;
mod median;
mod metric;
mod scores;

pub use bootstrap::{Bootstrap, Interval, Units};
pub use hard::{Confusion, HardQuery, confusions, worst_queries};
pub use metric::Metric;
pub(crate) use scores::Scoring;
pub use scores::{Group, Scores};

use crate::{Error, Exclude, Options, Ranking, Relation, Vectors, measure};

/// What to measure besides the metrics that need no choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// The cuts K of recall, precision, MAP and NDCG at K, in the order in which they are reported. Default: 1, 10, 100.
    pub recall_at: Vec<usize>,
}

impl Default for MetricsConfig {
    fn default() -> Self {
        Self { recall_at: vec![1, 10, 100] }
    }
}

impl MetricsConfig {
    /// Every metric that [`Metrics`] has, each at every cut.
    pub fn metrics(&self) -> Vec<Metric> {
        let cuts = |at: fn(usize) -> Metric| self.recall_at.iter().map(move |&cut| at(cut));
        let mut metrics: Vec<Metric> = cuts(Metric::RecallAt).collect();
        metrics.extend(cuts(Metric::PrecisionAt));
        metrics.extend([Metric::MapAtR, Metric::RPrecision, Metric::MeanAveragePrecision]);
        metrics.extend([Metric::MeanReciprocalRank, Metric::MeanRank]);
        metrics.extend(cuts(Metric::MapAt).chain(cuts(Metric::NdcgAt)));
        metrics
    }
}

/// Retrieval metrics, each the mean over the queries that have a match in the gallery. All lie in `0..=1`, except ranks.
///
/// A query's positives are the gallery items with its label that it may meet; R is their number; the rank of an item
/// counts from 1. As the example take one query with R = 3 whose positives stand at ranks 2, 3 and 6.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Recall at K, as pairs of K and value, in the order of [`MetricsConfig::recall_at`].
    ///
    /// The share of queries with *any* positive at rank ≤ K. This is the field's R@K (Jégou et al., "Product
    /// Quantization for Nearest Neighbor Search", 2011; for metric learning: Oh Song et al., "Deep Metric Learning via Lifted
    /// Structured Feature Embedding", CVPR 2016), not the share of positives found.
    /// Example: R@1 = 0, R@2 = R@10 = 1.
    pub recall_at: Vec<(usize, f64)>,
    /// Precision at K, as pairs of K and value: (positives at rank ≤ K) / K, also where K exceeds R or the gallery.
    ///
    /// Manning, Raghavan and Schütze, "Introduction to Information Retrieval", 2008, section 8.4.
    /// Example: P@1 = 0, P@2 = 1/2, P@10 = 3/10.
    pub precision_at: Vec<(usize, f64)>,
    /// Mean average precision at R: (1/R) Σ over positives at rank r ≤ R of (positives at rank ≤ r) / r.
    ///
    /// Musgrave, Belongie and Lim, "A Metric Learning Reality Check", ECCV 2020: 1 only where all positives stand
    /// before everything else, and sensitive to their order before that.
    /// Example: (1/2 + 2/3) / 3 = 7/18 (rank 6 lies beyond R).
    pub map_at_r: f64,
    /// R-precision: (positives at rank ≤ R) / R.
    ///
    /// Manning, Raghavan and Schütze, section 8.4; for metric learning: "A Metric Learning Reality Check".
    /// Example: 2/3.
    pub r_precision: f64,
    /// Mean average precision over the whole ranking: (1/R) Σ over all positives at rank r of
    /// (positives at rank ≤ r) / r.
    ///
    /// Manning, Raghavan and Schütze, section 8.4; the mAP of re-identification.
    /// Example: (1/2 + 2/3 + 3/6) / 3 = 5/9.
    pub mean_average_precision: f64,
    /// Mean reciprocal rank: 1 / (rank of the first positive).
    ///
    /// Voorhees, "The TREC-8 Question Answering Track Report", 1999. Example: 1/2.
    pub mean_reciprocal_rank: f64,
    /// Mean average precision at K, as pairs of K and value: Σ over positives at rank r ≤ K of
    /// (positives at rank ≤ r) / r, over min(R, K). Example: MAP@4 = (1/2 + 2/3) / 3.
    pub map_at: Vec<(usize, f64)>,
    /// Normalised discounted cumulative gain at K, as pairs of K and value, every positive a gain of 1.
    ///
    /// Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques", ACM TOIS 20, 2002, with the discount
    /// log₂(rank + 1).
    pub ndcg_at: Vec<(usize, f64)>,
    /// The mean over queries of the first positive's rank. Example: 2.
    pub mean_rank: f64,
    /// The median over queries of the first positive's rank: with an even number of queries the mean of the middle two.
    pub median_rank: f64,
    /// How many queries the means are over.
    pub queries: usize,
    /// How many queries were left out because the gallery has no match for them.
    pub left_out: usize,
}

impl Metrics {
    /// The metrics of a ranking; `gallery` is the number of items there were, for the error's text.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroK`] for a cut of zero, and [`Error::NoQueries`] if no query has a positive.
    pub fn of(ranking: &Ranking, gallery: usize, config: &MetricsConfig) -> Result<Self, Error> {
        Self::of_scores(Scores::of(ranking, &config.metrics()), gallery)
    }

    /// The metrics of a ranking that is not kept.
    pub(crate) fn measure(
        queries: &Vectors,
        gallery: &Vectors,
        relation: &Relation<'_>,
        config: &MetricsConfig,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let scores = measure(queries, gallery, relation, &config.metrics(), options);
        Self::of_scores(scores, gallery.len())
    }

    fn of_scores(scores: Result<Scores, Error>, gallery: usize) -> Result<Self, Error> {
        match scores {
            Ok(scores) => Ok(Self::from_scores(&scores)),
            Err(Error::NoQueries { queries, .. }) => Err(Error::NoQueries { queries, gallery }),
            Err(other) => Err(other),
        }
    }

    /// Recall at `k`, if it was measured.
    pub fn recall(&self, k: usize) -> Option<f64> {
        at(&self.recall_at, k)
    }

    /// Precision at `k`, if it was measured.
    pub fn precision(&self, k: usize) -> Option<f64> {
        at(&self.precision_at, k)
    }

    /// The means of scores. A metric that they lack is NaN, or absent if it has a cut.
    pub fn from_scores(scores: &Scores) -> Self {
        let means: Vec<(Metric, f64)> =
            scores.metrics().iter().copied().zip(scores.means()).collect();
        let one = |metric: Metric| {
            means.iter().find(|(other, _)| *other == metric).map_or(f64::NAN, |(_, mean)| *mean)
        };
        let cuts = |at: fn(usize) -> Metric| -> Vec<(usize, f64)> {
            let here = |&(metric, mean): &(Metric, f64)| {
                metric.cut().filter(|&cut| at(cut) == metric).map(|cut| (cut, mean))
            };
            means.iter().filter_map(here).collect()
        };
        Self {
            recall_at: cuts(Metric::RecallAt),
            precision_at: cuts(Metric::PrecisionAt),
            map_at_r: one(Metric::MapAtR),
            r_precision: one(Metric::RPrecision),
            mean_average_precision: one(Metric::MeanAveragePrecision),
            mean_reciprocal_rank: one(Metric::MeanReciprocalRank),
            map_at: cuts(Metric::MapAt),
            ndcg_at: cuts(Metric::NdcgAt),
            mean_rank: one(Metric::MeanRank),
            median_rank: scores.median(Metric::MeanRank).unwrap_or(f64::NAN),
            queries: scores.queries().len(),
            left_out: scores.left_out(),
        }
    }

    /// The mean of each metric over several trials of the same configuration; nothing without a trial.
    pub(crate) fn mean(each: &[Self]) -> Option<Self> {
        let mut mean = each.first()?.clone();
        let over =
            |value: &dyn Fn(&Self) -> f64| each.iter().map(value).sum::<f64>() / each.len() as f64;
        let cuts = |of: &dyn Fn(&Self) -> &Vec<(usize, f64)>| -> Vec<(usize, f64)> {
            let cut = |(at, &(cut, _)): (usize, &(usize, f64))| (cut, over(&|one| of(one)[at].1));
            of(&each[0]).iter().enumerate().map(cut).collect()
        };
        mean.recall_at = cuts(&|one| &one.recall_at);
        mean.precision_at = cuts(&|one| &one.precision_at);
        mean.map_at = cuts(&|one| &one.map_at);
        mean.ndcg_at = cuts(&|one| &one.ndcg_at);
        mean.map_at_r = over(&|one| one.map_at_r);
        mean.r_precision = over(&|one| one.r_precision);
        mean.mean_average_precision = over(&|one| one.mean_average_precision);
        mean.mean_reciprocal_rank = over(&|one| one.mean_reciprocal_rank);
        mean.mean_rank = over(&|one| one.mean_rank);
        mean.median_rank = over(&|one| one.median_rank);
        mean.queries = over(&|one| one.queries as f64).round() as usize;
        mean.left_out = over(&|one| one.left_out as f64).round() as usize;
        Some(mean)
    }
}

fn at(values: &[(usize, f64)], k: usize) -> Option<f64> {
    values.iter().find(|(cut, _)| *cut == k).map(|(_, value)| *value)
}

/// Judges a set searched with itself: each row is a query, all others are its gallery.
///
/// This is the protocol of CUB, Cars, Stanford Online Products and Omniglot. See [`evaluate`] for what holds of both.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{MetricsConfig, Similarity, Vectors, evaluate_self};
///
/// // Two pairs, and the second row has strayed: the third is nearer to it than the first.
/// let rows = Vectors::new(vec![1.0, 0.0, 0.4, 1.0, 0.0, 1.0, -0.1, 1.0], 2, Similarity::Cosine)?;
/// let config = MetricsConfig { recall_at: vec![1, 2, 3] };
/// let metrics = evaluate_self(&rows, &[5, 5, 8, 8], &config, &|_, _| {})?;
/// assert_eq!(metrics.recall(1), Some(0.75));
/// assert_eq!(metrics.recall(3), Some(1.0));
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
///
/// # Errors
///
/// As [`evaluate`].
pub fn evaluate_self(
    rows: &Vectors,
    labels: &[u32],
    config: &MetricsConfig,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Metrics, Error> {
    evaluate(rows, labels, rows, labels, Exclude::SameIndex, config, progress)
}

/// Judges how the gallery is ranked for each query; items with the query's label are its positives.
///
/// Ranks are exact, in the order that [`search`](crate::search()) describes, so the metrics do not depend on threads,
/// blocks or processor. Labels are any `u32`. Queries without a positive are left out and counted in
/// [`Metrics::left_out`]. Runs on rayon's current pool; no list of neighbours is kept. `progress` is called with the
/// number of queries done and their total, one thread at a time, in ascending order.
///
/// # Errors
///
/// [`Error::ColumnLength`] if a row lacks a label, [`Error::ZeroK`] for a cut of zero, [`Error::NoQueries`] if no query
/// has a positive, [`Error::Dim`] if queries and gallery differ in dimension, and [`Error::TooManyRows`] for a gallery
/// beyond 32-bit indices.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Exclude, MetricsConfig, Similarity, Vectors, evaluate};
///
/// // Seen from the query, positives stand at ranks 2, 3 and 6: the example of `Metrics`.
/// let angles = [0.0f32, 0.1, 0.2, 0.3, 0.4, 0.5];
/// let gallery = Vectors::new(angles.iter().flat_map(|a| [a.cos(), a.sin()]).collect::<Vec<_>>(), 2, Similarity::Cosine)?;
/// let query = Vectors::new(vec![1.0, -0.1], 2, Similarity::Cosine)?;
/// let metrics = evaluate(
///     &query, &[1],
///     &gallery, &[0, 1, 1, 0, 0, 1],
///     Exclude::Nothing, &MetricsConfig::default(), &|_, _| {},
/// )?;
/// assert_eq!(metrics.recall(1), Some(0.0));
/// assert_eq!(metrics.recall(10), Some(1.0));
/// assert!((metrics.map_at_r - 7.0 / 18.0).abs() < 1e-12);
/// assert!((metrics.mean_average_precision - 5.0 / 9.0).abs() < 1e-12);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn evaluate(
    queries: &Vectors,
    query_labels: &[u32],
    gallery: &Vectors,
    gallery_labels: &[u32],
    exclude: Exclude,
    config: &MetricsConfig,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Metrics, Error> {
    let relation = Relation::new(query_labels, gallery_labels).ignoring(exclude.into());
    let options = Options::default().with_progress(progress);
    Metrics::measure(queries, gallery, &relation, config, &options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Similarity;

    fn quiet() -> &'static (dyn Fn(usize, usize) + Sync) {
        &|_, _| {}
    }

    /// Unit vectors at these angles, in degrees.
    fn at_angles(angles: &[f32]) -> Vectors {
        let data = angles.iter().flat_map(|a| [a.to_radians().cos(), a.to_radians().sin()]);
        Vectors::new(data.collect::<Vec<_>>(), 2, Similarity::Cosine).unwrap()
    }

    #[test]
    fn two_classes_on_a_circle() {
        // Nearest first:   0° sees 10 A, 35 B, 50 A, 91 B;   10° sees 0 A, 35 B, 50 A, 91 B;
        // 35° sees 50 A, 10 A, 0 A, 91 B;   50° sees 35 B, 10 A, 91 B, 0 A;   91° sees 50 A, 35 B, ...
        let rows = at_angles(&[0.0, 10.0, 35.0, 50.0, 91.0]);
        let config = MetricsConfig { recall_at: vec![1, 2, 4] };
        let metrics = evaluate_self(&rows, &[0, 0, 1, 0, 1], &config, quiet()).unwrap();
        // Ranks of positives: {1, 3}, {1, 3}, {4}, {2, 4}, {2}.
        assert_eq!(metrics.recall_at, [(1, 0.4), (2, 0.8), (4, 1.0)]);
        assert_eq!(metrics.precision_at, [(1, 0.4), (2, 0.4), (4, (0.5 * 3.0 + 0.25 * 2.0) / 5.0)]);
        assert!((metrics.r_precision - (0.5 * 3.0) / 5.0).abs() < 1e-15);
        assert!((metrics.map_at_r - (0.5 + 0.5 + 0.0 + 0.25 + 0.0) / 5.0).abs() < 1e-15);
        let average = (5.0 / 6.0 + 5.0 / 6.0 + 1.0 / 4.0 + 1.0 / 2.0 + 1.0 / 2.0) / 5.0;
        assert!((metrics.mean_average_precision - average).abs() < 1e-15);
        assert!(
            (metrics.mean_reciprocal_rank - (1.0 + 1.0 + 0.25 + 0.5 + 0.5) / 5.0).abs() < 1e-15
        );
        assert_eq!((metrics.queries, metrics.left_out), (5, 0));
    }

    #[test]
    fn singletons_are_left_out_but_stand_in_the_way() {
        let rows = at_angles(&[0.0, 5.0, 20.0]);
        let metrics = evaluate_self(&rows, &[3, 9, 3], &MetricsConfig::default(), quiet()).unwrap();
        assert_eq!((metrics.queries, metrics.left_out), (2, 1));
        assert_eq!(metrics.recall(1), Some(0.0));
        assert_eq!(metrics.recall(10), Some(1.0));
        assert_eq!(metrics.recall(7), None);
        assert_eq!(metrics.precision(10), Some(0.1));
        assert_eq!(metrics.mean_average_precision, 0.5);
    }

    #[test]
    fn equal_rows_rank_by_index() {
        let rows = Vectors::new(vec![1.0; 12], 3, Similarity::Cosine).unwrap();
        let metrics = evaluate_self(&rows, &[0, 1, 0, 1], &MetricsConfig::default(), quiet());
        // Ranks: 0 → {2 at 2}, 1 → {3 at 3}, 2 → {0 at 1}, 3 → {1 at 2}.
        let metrics = metrics.unwrap();
        assert_eq!(metrics.recall(1), Some(0.25));
        let expected = (1.0 / 2.0 + 1.0 / 3.0 + 1.0 + 1.0 / 2.0) / 4.0;
        assert_eq!(metrics.mean_reciprocal_rank, expected);
    }

    #[test]
    fn mistakes_are_errors() {
        let rows = at_angles(&[0.0, 5.0]);
        let config = MetricsConfig::default();
        let found = evaluate_self(&rows, &[1], &config, quiet());
        assert_eq!(
            found,
            Err(Error::ColumnLength { side: "query set", what: "labels", rows: 2, values: 1 })
        );
        let found = evaluate(&rows, &[1, 2], &rows, &[], Exclude::Nothing, &config, quiet());
        assert_eq!(
            found,
            Err(Error::ColumnLength { side: "gallery", what: "labels", rows: 2, values: 0 })
        );
        let found = evaluate_self(&rows, &[1, 2], &config, quiet());
        assert_eq!(found, Err(Error::NoQueries { queries: 2, gallery: 2 }));
        let zero = MetricsConfig { recall_at: vec![1, 0] };
        assert_eq!(evaluate_self(&rows, &[1, 1], &zero, quiet()), Err(Error::ZeroK));
    }
}
