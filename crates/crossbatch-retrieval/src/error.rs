//! What can be wrong with vectors and labels that a caller hands over.

use thiserror::Error;

use crate::Similarity;

/// Why vectors could not be searched or judged.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A vector holds NaN or an infinity, which no ranking can place.
    #[error("row {row}, column {column} is {value}: every value must be finite")]
    NotFinite {
        /// Row of the value, from zero.
        row: usize,
        /// Column of the value, from zero.
        column: usize,
        /// The value itself.
        value: f32,
    },
    /// The values do not divide into rows.
    #[error("{values} values do not make whole rows of {dim}")]
    Length {
        /// How many values were given.
        values: usize,
        /// How many a row should have.
        dim: usize,
    },
    /// A row length of zero.
    #[error("vectors must have at least one dimension, got 0")]
    ZeroDim,
    /// Queries and gallery were embedded by different models.
    #[error(
        "queries have {queries} dimensions and the gallery has {gallery}: both must come from the same model"
    )]
    Dim {
        /// Dimensions of a query.
        queries: usize,
        /// Dimensions of a gallery item.
        gallery: usize,
    },
    /// Queries and gallery are to be compared in different ways.
    #[error(
        "queries are prepared for {queries:?} and the gallery for {gallery:?}: both need the same similarity"
    )]
    Similarity {
        /// How queries are compared.
        queries: Similarity,
        /// How gallery items are compared.
        gallery: Similarity,
    },
    /// Rows and labels, or another column, do not pair up.
    #[error("the {side} has {rows} rows and {values} {what}: each row needs one")]
    ColumnLength {
        /// `"query set"` or `"gallery"`.
        side: &'static str,
        /// `"labels"`, or what else the values are.
        what: &'static str,
        /// How many rows were given.
        rows: usize,
        /// How many values were given.
        values: usize,
    },
    /// The caller wanted no more.
    #[error("cancelled before it was done")]
    Cancelled,
    /// The work does not fit into the memory allowed.
    #[error(
        "{budget} bytes of memory are too few, {needed} are needed: allow as many, or use fewer threads"
    )]
    Memory {
        /// Bytes needed.
        needed: usize,
        /// Bytes allowed.
        budget: usize,
    },
    /// Rows too long for the sums of their products.
    #[error("vectors have {dim} dimensions, at most {most} can be compared: reduce them first")]
    Wide {
        /// Dimensions of a row.
        dim: usize,
        /// The most that are possible.
        most: usize,
    },
    /// More rows than a 32-bit index can name.
    #[error("{rows} rows are more than one search can index ({}): split the gallery", u32::MAX)]
    TooManyRows {
        /// How many rows were given.
        rows: usize,
    },
    /// A cut of zero, in a search or in a metric.
    #[error("a ranking cannot be cut at K = 0: the smallest K is 1")]
    ZeroK,
    /// Rows of a gallery could not be read.
    #[error("cannot read rows {first}..{end}: {reason}")]
    Read {
        /// The first of the rows, from zero.
        first: usize,
        /// One past the last of the rows.
        end: usize,
        /// What went wrong.
        reason: String,
    },
    /// Ranks that no ranking can have.
    #[error(
        "the ranks of query {query} are impossible: they must ascend from 1 at the lowest to the number of items met, a list for each query"
    )]
    Ranks {
        /// The query, from zero.
        query: usize,
    },
    /// Fewer rows than clusters, or no cluster.
    #[error("{rows} rows cannot make {clusters} clusters: ask for 1 to {rows}")]
    Clusters {
        /// How many clusters were asked for.
        clusters: usize,
        /// How many rows there are.
        rows: usize,
    },
    /// Two labellings of different numbers of rows.
    #[error(
        "lists of {first} and {second} labels cannot be compared: both must label the same rows"
    )]
    LabelLists {
        /// Labels in the first list.
        first: usize,
        /// Labels in the second list.
        second: usize,
    },
    /// Scores of different metrics.
    #[error("the two runs were scored by different metrics: ask for the same metrics and cuts")]
    Metrics,
    /// An interval that cannot be computed.
    #[error(
        "confidence {confidence} with {resamples} resamples: confidence must lie between 0 and 1, \
         and there must be at least one resample"
    )]
    Confidence {
        /// The confidence asked for.
        confidence: f64,
        /// How many resamples were asked for.
        resamples: usize,
    },
    /// Pairs of only one kind.
    #[error(
        "verification needs pairs of both kinds, got {positives} positive and {negatives} negative pairs"
    )]
    OneKindOfPair {
        /// Pairs with the same label.
        positives: u64,
        /// Pairs with different labels.
        negatives: u64,
    },
    /// A value outside its range.
    #[error("{name} is {value}: {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What it was.
        value: f64,
        /// What it may be.
        expected: &'static str,
    },
    /// An operation that works on cosines only.
    #[error("{what} works on cosine similarities, these vectors are prepared for {similarity:?}")]
    NotCosine {
        /// What was to be done.
        what: &'static str,
        /// How the vectors are compared.
        similarity: Similarity,
    },
    /// No rows where some are needed.
    #[error("{what} needs at least one row")]
    NoRows {
        /// What was to be done.
        what: &'static str,
    },
    /// A class on both sides of a class-disjoint split.
    #[error(
        "class {label} is on both sides of the split: training and test classes must not overlap"
    )]
    SharedClass {
        /// The class.
        label: u32,
    },
    /// Another number of identities than the protocol's set has.
    #[error(
        "this set of the protocol has {expected} identities, the labels have {found}: give its own list"
    )]
    Identities {
        /// Identities of the set.
        expected: usize,
        /// Different labels.
        found: usize,
    },
    /// Not one query has anything to find.
    #[error(
        "no query has a match in the gallery ({queries} queries, {gallery} gallery items): \
         a set searched with itself needs classes of at least two images; separate queries and \
         gallery need the same labels"
    )]
    NoQueries {
        /// How many queries were given.
        queries: usize,
        /// How many gallery items were given.
        gallery: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_where_and_what() {
        let error = Error::NotFinite { row: 3, column: 7, value: f32::NAN };
        assert_eq!(error.to_string(), "row 3, column 7 is NaN: every value must be finite");
        let error = Error::NoQueries { queries: 4, gallery: 4 };
        assert!(error.to_string().contains("at least two images"), "{error}");
        let error = Error::TooManyRows { rows: 5_000_000_000 };
        assert!(error.to_string().contains("4294967295"), "{error}");
    }
}
