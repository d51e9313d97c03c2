//! Scores without ranks that are kept.

use crate::metrics::Scoring;
use crate::rank::{check_dims, rank_rows, rank_vectors};
use crate::relation::Positives;
use crate::scan::check_sides;
use crate::{Error, Metric, Options, Relation, RowSource, Scores, Similarity, Vectors};

/// The scores of every query that has a positive: [`Scores::of`] what [`rank`](crate::rank()) says, to the last bit.
///
/// Queries are ranked some at a time, and their ranks dropped once they are scored. Where a class is a good part of the
/// gallery, ranks of all queries are most of the memory that [`rank`](crate::rank()) takes. Without a budget, lists of
/// positives and ranks take 256 MiB at most where queries have 48 positives or more, and each thread has working space
/// for the products of 16 queries; a copy of both sides in fixed point comes on top, no larger than they are as f32.
///
/// # Errors
///
/// As [`rank`](crate::rank()) and [`Scores::of`].
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Metric, Options, Relation, Similarity, Vectors, measure};
///
/// let vectors = Vectors::new(vec![0.0, 1.0, 2.5, 7.0], 1, Similarity::Euclidean)?;
/// let relation = Relation::within(&[1, 2, 1, 2]);
/// let metrics = [Metric::RecallAt(2), Metric::MeanRank];
/// let scores = measure(&vectors, &vectors, &relation, &metrics, &Options::default())?;
/// assert_eq!(scores.means(), [0.75, 2.25]); // matches are second, third, second, second
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn measure(
    queries: &Vectors,
    gallery: &Vectors,
    relation: &Relation<'_>,
    metrics: &[Metric],
    options: &Options<'_>,
) -> Result<Scores, Error> {
    check_sides(queries, gallery)?;
    let positives = Positives::new(relation, queries.len(), gallery.len())?;
    let (mut scoring, options) = empty_scores(&positives, queries.len(), metrics, options)?;
    rank_vectors(queries, gallery, &positives, &options, &mut |part| scoring.take(&part))?;
    scoring.finish()
}

/// As [`measure`], where neither side need fit into memory: [`Scores::of`] what
/// [`rank_sources`](crate::rank_sources) says.
///
/// # Errors
///
/// As [`rank_sources`](crate::rank_sources) and [`Scores::of`].
pub fn measure_sources(
    queries: &dyn RowSource,
    gallery: &dyn RowSource,
    similarity: Similarity,
    relation: &Relation<'_>,
    metrics: &[Metric],
    options: &Options<'_>,
) -> Result<Scores, Error> {
    check_dims(queries.dim(), gallery)?;
    let positives = Positives::new(relation, queries.len(), gallery.len())?;
    let (mut scoring, options) = empty_scores(&positives, queries.len(), metrics, options)?;
    let sink = &mut |part| scoring.take(&part);
    rank_rows(queries, gallery, similarity, &positives, &options, sink)?;
    scoring.finish()
}

/// Room for the scores of all queries, and what that and the relation leave of the memory.
fn empty_scores<'o>(
    positives: &Positives<'_>,
    queries: usize,
    metrics: &[Metric],
    options: &Options<'o>,
) -> Result<(Scoring, Options<'o>), Error> {
    let held = positives.bytes().saturating_add(Scoring::bytes(metrics.len(), queries));
    let rest = options.less(held)?;
    Ok((Scoring::new(metrics, queries)?, rest))
}
