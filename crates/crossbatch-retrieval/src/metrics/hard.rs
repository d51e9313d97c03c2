//! Where a ranking fails: the worst queries, and the classes that are taken for each other.

use rayon::prelude::*;

use super::metric::Metric;
use super::scores::Scores;
use crate::order::Seen;
use crate::relation::Positives;
use crate::scan::check_sides;
use crate::{Error, Neighbours, Options, Ranking, Relation, Vectors};

/// A query that finds its positives late.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HardQuery {
    /// The query.
    pub query: u32,
    /// Its average precision over the whole ranking.
    pub average_precision: f64,
    /// The rank of its first positive, from 1.
    pub first_positive: u32,
    /// The nearest gallery item of another label and how near it is ([`Vectors::closeness`]); nothing if there is none.
    pub nearest_wrong: Option<(u32, f64)>,
}

/// The `count` queries with the lowest average precision, lowest first, equal ones by query.
///
/// `ranking` is what [`rank`](crate::rank()) made of the same vectors and relation. Looks at the whole gallery for each of
/// the queries reported, and only for these.
///
/// # Errors
///
/// As [`rank`](crate::rank()), and [`Error::NoQueries`] if no query has a positive.
pub fn worst_queries(
    queries: &Vectors,
    gallery: &Vectors,
    relation: &Relation<'_>,
    ranking: &Ranking,
    count: usize,
    options: &Options<'_>,
) -> Result<Vec<HardQuery>, Error> {
    check_sides(queries, gallery)?;
    let positives = Positives::new(relation, queries.len(), gallery.len())?;
    let scores = Scores::of(ranking, &[Metric::MeanAveragePrecision])?;
    let worst = scores.worst(Metric::MeanAveragePrecision, count).unwrap_or_default();
    let labels = relation.labels();
    let hard = |row: usize| {
        options.check()?;
        let query = scores.queries()[row] as usize;
        let mut ignored = Vec::new();
        positives.ignored.of(query, &mut ignored);
        let wrong = (0..gallery.len() as u32).filter(|&item| {
            labels.gallery[item as usize] != labels.queries[query]
                && ignored.binary_search(&item).is_err()
        });
        let seen = |index: u32| Seen {
            similarity: queries.closeness(query, gallery, index as usize),
            index,
        };
        let nearest = wrong.map(seen).min_by(Seen::compare);
        Ok(HardQuery {
            query: query as u32,
            average_precision: scores.row(row)[0],
            first_positive: ranking.ranks(query)[0],
            nearest_wrong: nearest.map(|seen| (seen.index, seen.similarity)),
        })
    };
    worst.into_par_iter().map(hard).collect()
}

/// How often queries of one class have items of another among their nearest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confusion {
    /// The class of the queries.
    pub query_label: u32,
    /// The class of what they found.
    pub found_label: u32,
    /// How many neighbours were of that class.
    pub count: usize,
    /// How many neighbours the queries of `query_label` have in all, right ones included.
    pub of: usize,
}

/// The classes that are taken for each other in lists of nearest neighbours, most often first, equal ones by label.
///
/// With lists of one neighbour, as from `nearest(…, 1, …)`, this counts the wrong answers at rank 1. Labels are as many as
/// queries and gallery items.
///
/// # Errors
///
/// [`Error::ColumnLength`] if there are not as many query labels as lists.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Exclude, Similarity, Vectors, confusions, search};
///
/// let rows = Vectors::new(vec![0.0, 1.0, 1.4, 9.0], 1, Similarity::Euclidean)?;
/// let nearest = search(&rows, &rows, 1, Exclude::SameIndex, &|_, _| {})?;
/// let found = confusions(&nearest, &[5, 5, 6, 6], &[5, 5, 6, 6])?;
/// assert_eq!((found[0].query_label, found[0].found_label), (5, 6)); // 1.0 finds 1.4
/// assert_eq!((found[0].count, found[0].of), (1, 2));
/// assert_eq!(found.len(), 2);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
///
/// # Panics
///
/// If a gallery item has no label.
pub fn confusions(
    neighbours: &Neighbours,
    query_labels: &[u32],
    gallery_labels: &[u32],
) -> Result<Vec<Confusion>, Error> {
    let lists = neighbours.indices.len().checked_div(neighbours.k).unwrap_or(query_labels.len());
    if lists != query_labels.len() {
        let (side, what, values) = ("query set", "labels", query_labels.len());
        return Err(Error::ColumnLength { side, what, rows: lists, values });
    }
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for (query, &label) in query_labels.iter().enumerate() {
        let (found, _) = neighbours.row(query);
        pairs.extend(found.iter().map(|&item| (label, gallery_labels[item as usize])));
    }
    pairs.sort_unstable();
    let of_class = pairs.chunk_by(|a, b| a.0 == b.0);
    let mut confusions: Vec<Confusion> = of_class
        .flat_map(|pairs| {
            let wrong = pairs.chunk_by(|a, b| a == b).filter(|run| run[0].0 != run[0].1);
            wrong.map(|run| Confusion {
                query_label: run[0].0,
                found_label: run[0].1,
                count: run.len(),
                of: pairs.len(),
            })
        })
        .collect();
    confusions.sort_by_key(|found| std::cmp::Reverse(found.count)); // stable: labels stay in order
    Ok(confusions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Exclude, Similarity, rank, search};

    #[test]
    fn the_worst_query_and_what_stands_in_its_way() {
        let rows = Vectors::new(vec![0.0, 1.0, 5.0, 5.5, 9.0], 1, Similarity::Euclidean).unwrap();
        let labels = [1, 1, 2, 1, 2];
        let (relation, options) = (Relation::within(&labels), Options::default());
        let ranking = rank(&rows, &rows, &relation, &options).unwrap();
        let found = worst_queries(&rows, &rows, &relation, &ranking, 2, &options).unwrap();
        // Ranks of positives: 0 → 1, 3; 1 → 1, 3; 2 → 3; 3 → 3, 4; 4 → 2.
        assert_eq!((found[0].query, found[0].first_positive), (2, 3));
        assert_eq!(found[0].average_precision, 1.0 / 3.0);
        assert_eq!(found[0].nearest_wrong, Some((3, -0.25)));
        assert_eq!(
            (found[1].query, found[1].average_precision),
            (3, (1.0 / 3.0 + 2.0 / 4.0) / 2.0)
        );
        assert_eq!(found[1].nearest_wrong.unwrap().0, 2);
    }

    #[test]
    fn nothing_wrong_to_find() {
        let rows = Vectors::new(vec![0.0, 1.0], 1, Similarity::Euclidean).unwrap();
        let (relation, options) = (Relation::within(&[4, 4]), Options::default());
        let ranking = rank(&rows, &rows, &relation, &options).unwrap();
        let found = worst_queries(&rows, &rows, &relation, &ranking, 9, &options).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].average_precision, found[0].nearest_wrong), (1.0, None));
        let nearest = search(&rows, &rows, 1, Exclude::SameIndex, &|_, _| {}).unwrap();
        assert!(confusions(&nearest, &[4, 4], &[4, 4]).unwrap().is_empty());
        assert!(confusions(&nearest, &[4], &[4, 4]).is_err());
    }
}
