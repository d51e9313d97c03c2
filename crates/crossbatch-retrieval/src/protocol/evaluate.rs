//! Trials judged, and their metrics averaged.

use std::borrow::Cow;

use super::split::Trial;
use crate::metrics::{Metrics, MetricsConfig};
use crate::{Error, Options, Relation, Vectors};

/// Metrics of several trials.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialMetrics {
    /// The mean of each metric over the trials; `queries` and `left_out` are means too, rounded.
    pub mean: Metrics,
    /// The metrics of each trial.
    pub each: Vec<Metrics>,
}

/// Ranks and judges each trial. `labels` has one label for every row. Progress is that of the trial under way.
///
/// # Errors
///
/// As [`rank`](crate::rank()); [`Error::NoQueries`] if there is no trial, or if no query of one has a positive.
///
/// # Panics
///
/// If a trial names a row that does not exist.
pub fn evaluate_trials(
    rows: &Vectors,
    labels: &[u32],
    trials: &[Trial],
    config: &MetricsConfig,
    options: &Options<'_>,
) -> Result<TrialMetrics, Error> {
    if rows.len() != labels.len() {
        let (side, what, values) = ("query set", "labels", labels.len());
        return Err(Error::ColumnLength { side, what, rows: rows.len(), values });
    }
    let judge = |trial: &Trial| {
        let (queries, query_labels) = select(rows, labels, &trial.queries);
        let (gallery, gallery_labels) = if trial.queries == trial.gallery {
            (queries.clone(), query_labels.clone())
        } else {
            select(rows, labels, &trial.gallery)
        };
        let relation = Relation::new(&query_labels, &gallery_labels).ignoring(trial.exclude.into());
        Metrics::measure(&queries, &gallery, &relation, config, options)
    };
    let each: Vec<Metrics> = trials.iter().map(judge).collect::<Result<_, _>>()?;
    let mean = Metrics::mean(&each).ok_or(Error::NoQueries { queries: 0, gallery: 0 })?;
    Ok(TrialMetrics { mean, each })
}

/// Some rows and their labels; nothing is copied where they are all of them, in order.
fn select<'a>(
    rows: &'a Vectors,
    labels: &'a [u32],
    wanted: &[u32],
) -> (Cow<'a, Vectors>, Cow<'a, [u32]>) {
    if wanted.len() == rows.len() && (0..).zip(wanted).all(|(at, &row)| at == row) {
        return (Cow::Borrowed(rows), Cow::Borrowed(labels));
    }
    let of = |&row: &u32| labels[row as usize];
    (Cow::Owned(rows.select(wanted)), Cow::Owned(wanted.iter().map(of).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{held_out_classes, leave_one_out, one_gallery_row};
    use crate::{Similarity, evaluate_self};

    fn rows() -> (Vectors, Vec<u32>) {
        let value = |i: usize| ((i as f64 * 12.9898).sin() * 43758.5453).fract() as f32;
        let data: Vec<f32> = (0..200).map(value).collect();
        let labels = (0..50).map(|row| row % 9).collect();
        (Vectors::new(data, 4, Similarity::Cosine).unwrap(), labels)
    }

    #[test]
    fn one_set_is_a_self_search() {
        let (rows, labels) = rows();
        let config = MetricsConfig::default();
        let trial = leave_one_out(50);
        let found = evaluate_trials(&rows, &labels, &[trial], &config, &Options::default());
        let expected = evaluate_self(&rows, &labels, &config, &|_, _| {}).unwrap();
        assert_eq!(found.unwrap().mean, expected);
    }

    #[test]
    fn test_classes_are_searched_alone() {
        let (rows, labels) = rows();
        let config = MetricsConfig::default();
        let test: Vec<bool> = labels.iter().map(|&label| label > 4).collect();
        let trial = held_out_classes(&labels, &test).unwrap();
        let kept = rows.select(&trial.queries);
        let kept_labels: Vec<u32> = labels.iter().copied().filter(|&label| label > 4).collect();
        let expected = evaluate_self(&kept, &kept_labels, &config, &|_, _| {}).unwrap();
        let found = evaluate_trials(&rows, &labels, &[trial], &config, &Options::default());
        assert_eq!(found.unwrap().each, [expected]);
    }

    #[test]
    fn draws_are_averaged() {
        let (rows, labels) = rows();
        let (config, options) = (MetricsConfig::default(), Options::default());
        let trials = one_gallery_row(&labels, 5, 1);
        let found = evaluate_trials(&rows, &labels, &trials, &config, &options).unwrap();
        let mean = found.each.iter().map(|each| each.mean_reciprocal_rank).sum::<f64>() / 5.0;
        assert!((found.mean.mean_reciprocal_rank - mean).abs() < 1e-15);
        assert_eq!((found.mean.queries, found.each[0].queries), (41, 41));
        // One positive each: recall, and MAP@R at R = 1, are the same.
        assert_eq!(found.mean.recall(1), Some(found.mean.map_at_r));
        assert!(evaluate_trials(&rows, &labels, &[], &config, &options).is_err());
    }
}
