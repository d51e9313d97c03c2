//! Exact nearest neighbours.

use rayon::prelude::*;

use crate::order::Seen;
use crate::relation::Ignored;
use crate::scan::check_sides;
use crate::vectors::shown;
use crate::{Error, Exclude, Ignore, Options, Vectors};

/// The best `k` gallery items of each query.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// How many places each query has. Less than what was asked for if no query meets that many items.
    pub k: usize,
    /// Gallery indices, `[queries, k]`, best first. A query that meets fewer than `k` items (because of what it
    /// ignores) has [`u32::MAX`] in the places that are left.
    pub indices: Vec<u32>,
    /// Similarities, `[queries, k]`: f64 values rounded to f32; minus infinity in places that are left. Cosines of
    /// equal rows can lie slightly above 1, by the rounding of the rows; [`Similarity::Euclidean`] gives minus the
    /// distance.
    ///
    /// [`Similarity::Euclidean`]: crate::Similarity::Euclidean
    pub similarities: Vec<f32>,
}

impl Neighbours {
    /// Indices and similarities of the neighbours of `query`, best first: `k`, or as many as it meets.
    ///
    /// # Panics
    ///
    /// If there are not more than `query` queries.
    pub fn row(&self, query: usize) -> (&[u32], &[f32]) {
        let places = query * self.k..(query + 1) * self.k;
        let (indices, similarities) = (&self.indices[places.clone()], &self.similarities[places]);
        let found = similarities.partition_point(|&similarity| similarity > f32::NEG_INFINITY);
        (&indices[..found], &similarities[..found])
    }
}

/// The `k` gallery items nearest to each query: [`nearest`] with the two simplest rules.
///
/// # Errors
///
/// As [`nearest`].
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Exclude, Similarity, Vectors, search};
///
/// let gallery = Vectors::new(vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0], 2, Similarity::Cosine)?;
/// let query = Vectors::new(vec![3.0, 4.0], 2, Similarity::Cosine)?;
/// let found = search(&query, &gallery, 2, Exclude::Nothing, &|_, _| {})?;
/// assert_eq!(found.row(0).0, [2, 1]); // 7 / (5 √2) = 0.99, then 4 / 5
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn search(
    queries: &Vectors,
    gallery: &Vectors,
    k: usize,
    exclude: Exclude,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Neighbours, Error> {
    let options = Options::default().with_progress(progress);
    nearest(queries, gallery, k, &exclude.into(), &options)
}

/// The `k` gallery items nearest to each query, those that it ignores left out.
///
/// The search is exact, and its order is that of [`rank`](crate::rank()). `k` is cut to what the gallery offers. Runs on
/// rayon's current pool.
///
/// # Errors
///
/// [`Error::ZeroK`] if `k` is zero, otherwise as [`rank`](crate::rank()).
pub fn nearest(
    queries: &Vectors,
    gallery: &Vectors,
    k: usize,
    ignore: &Ignore<'_>,
    options: &Options<'_>,
) -> Result<Neighbours, Error> {
    if k == 0 {
        return Err(Error::ZeroK);
    }
    check_sides(queries, gallery)?;
    let ignored = Ignored::new(ignore, queries.len(), gallery.len())?;
    let most = |query| {
        let mut items = Vec::new();
        ignored.of(query, &mut items);
        gallery.len() - items.len()
    };
    let k = k.min((0..queries.len()).map(most).max().unwrap_or(gallery.len()));
    let tally = options.tally(queries.len() as u64, queries.len());
    let found: Vec<Vec<Seen>> = (0..queries.len())
        .into_par_iter()
        .map(|query| {
            options.check()?;
            let mut hidden = Vec::new();
            ignored.of(query, &mut hidden);
            let met = (0..gallery.len() as u32).filter(|item| hidden.binary_search(item).is_err());
            let mut seen: Vec<Seen> = met
                .map(|item| Seen {
                    similarity: queries.closeness(query, gallery, item as usize),
                    index: item,
                })
                .collect();
            seen.sort_unstable_by(Seen::compare);
            seen.truncate(k);
            tally.add(1);
            Ok(seen)
        })
        .collect::<Result<_, Error>>()?;
    let mut indices = vec![u32::MAX; queries.len() * k];
    let mut similarities = vec![f32::NEG_INFINITY; queries.len() * k];
    for (query, found) in found.iter().enumerate() {
        for (place, seen) in found.iter().enumerate() {
            indices[query * k + place] = seen.index;
            similarities[query * k + place] = shown(queries.similarity(), seen.similarity);
        }
    }
    Ok(Neighbours { k, indices, similarities })
}
