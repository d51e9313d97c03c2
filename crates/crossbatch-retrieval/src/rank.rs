//! From vectors and a relation to the ranks of all positives.

use rayon::prelude::*;

use crate::order::Seen;
use crate::relation::Positives;
use crate::scan::check_sides;
use crate::{Error, Options, Ranking, Relation, Vectors};

/// The ranks of every query's positives.
///
/// The order of a ranking is defined by the vectors alone: by [`Vectors::closeness`], f64 arithmetic in a fixed order
/// over the stored values, highest first; equal values by index, lowest first. The answer therefore depends neither on
/// threads nor on memory nor on the processor. Items that a query ignores take no place. Queries without a positive have
/// no ranks. Runs on rayon's current pool.
///
/// # Errors
///
/// [`Error::ColumnLength`] if a row lacks a label or another column's value, [`Error::Dim`] and [`Error::Similarity`] if
/// queries and gallery do not fit together, [`Error::TooManyRows`] for a gallery beyond 32-bit indices,
/// [`Error::Cancelled`] and [`Error::Memory`] as [`Options`] says.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Options, Relation, Similarity, Vectors, rank};
///
/// let vectors = Vectors::new(vec![0.0, 1.0, 2.5, 7.0], 1, Similarity::Euclidean)?;
/// let ranking = rank(&vectors, &vectors, &Relation::within(&[1, 2, 1, 2]), &Options::default())?;
/// assert_eq!(ranking.ranks(0), [2]); // item 1 is nearer than item 2
/// assert_eq!(ranking.ranks(3), [2]);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn rank(
    queries: &Vectors,
    gallery: &Vectors,
    relation: &Relation<'_>,
    options: &Options<'_>,
) -> Result<Ranking, Error> {
    check_sides(queries, gallery)?;
    let positives = Positives::new(relation, queries.len(), gallery.len())?;
    let tally = options.tally(queries.len() as u64, queries.len());
    let ranks: Vec<(Vec<u32>, u32)> = (0..queries.len())
        .into_par_iter()
        .map(|query| {
            options.check()?;
            let mut ignored = Vec::new();
            positives.ignored.of(query, &mut ignored);
            let seen = |item: u32| Seen {
                similarity: queries.closeness(query, gallery, item as usize),
                index: item,
            };
            let wanted: Vec<Seen> = positives.of(query, &ignored).map(seen).collect();
            let mut ranks: Vec<u32> = vec![1; wanted.len()];
            if !wanted.is_empty() {
                for item in (0..gallery.len() as u32).filter(|i| ignored.binary_search(i).is_err())
                {
                    let item = seen(item);
                    for (rank, &positive) in ranks.iter_mut().zip(&wanted) {
                        *rank += u32::from(item.is_before(positive));
                    }
                }
            }
            ranks.sort_unstable();
            tally.add(1);
            Ok((ranks, (gallery.len() - ignored.len()) as u32))
        })
        .collect::<Result<_, Error>>()?;
    let (ranks, met): (Vec<_>, Vec<_>) = ranks.into_iter().unzip();
    let ends = ranks.iter().scan(0, |end, ranks| {
        *end += ranks.len();
        Some(*end)
    });
    let offsets = std::iter::once(0).chain(ends).collect();
    Ok(Ranking::from_parts(offsets, ranks.concat(), met))
}
