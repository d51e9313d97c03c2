//! Exact nearest neighbours by cosine similarity.

use rayon::prelude::*;

use crate::scan::{Scan, Tally};
use crate::top_k::TopK;
use crate::{Error, Exclude, UnitRows};

/// The best `k` gallery items of each query.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// How many neighbours each query has. Less than what was asked for if the gallery offers less.
    pub k: usize,
    /// Gallery indices, `[queries, k]`, best first.
    pub indices: Vec<u32>,
    /// Cosine similarities, `[queries, k]`: f64 dot products rounded to f32. Rounding of the unit rows can bring
    /// that of equal rows slightly above 1.
    pub similarities: Vec<f32>,
}

impl Neighbours {
    /// Indices and similarities of the neighbours of `query`, best first.
    ///
    /// # Panics
    ///
    /// If there are not more than `query` queries.
    pub fn row(&self, query: usize) -> (&[u32], &[f32]) {
        let places = query * self.k..(query + 1) * self.k;
        (&self.indices[places.clone()], &self.similarities[places])
    }
}

/// The `k` gallery items most similar to each query.
///
/// The search is exact. Items are ordered by similarity, highest first, then by index, lowest first; the similarity
/// that counts is the f64 dot product of the unit rows, so the answer does not depend on threads, blocks or processor.
/// `k` is cut to what the gallery offers (one less than its length with [`Exclude::SameIndex`]).
///
/// Runs on rayon's current pool. Besides the answer, each thread holds one block of similarities and the candidate
/// lists of one block of queries. `progress` is called with the number of queries done and their total, one thread at
/// a time, in ascending order.
///
/// # Errors
///
/// [`Error::ZeroK`] if `k` is zero, [`Error::Dim`] if queries and gallery differ in dimension, and
/// [`Error::TooManyRows`] for a gallery beyond 32-bit indices.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Exclude, UnitRows, search};
///
/// let gallery = UnitRows::new(vec![1.0, 0.0, 0.0, 1.0, 1.0, 1.0], 2)?;
/// let query = UnitRows::new(vec![3.0, 4.0], 2)?;
/// let found = search(&query, &gallery, 2, Exclude::Nothing, &|_, _| {})?;
/// assert_eq!(found.row(0).0, [2, 1]); // 7 / (5 √2) = 0.99, then 4 / 5
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn search(
    queries: &UnitRows,
    gallery: &UnitRows,
    k: usize,
    exclude: Exclude,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Neighbours, Error> {
    if k == 0 {
        return Err(Error::ZeroK);
    }
    let mut scan = Scan::new(queries, gallery, exclude)?;
    let k = k.min(scan.offered());
    scan.blocks = scan.blocks.holding(TopK::bytes(k));
    Ok(search_blocks(&scan, k, progress))
}

/// The search itself, for a `k` that the gallery offers.
fn search_blocks(
    scan: &Scan<'_>,
    k: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Neighbours {
    let queries = scan.queries.len();
    let mut indices = vec![0; queries * k];
    let mut similarities = vec![0.0; queries * k];
    if k > 0 {
        let tally = Tally::new(queries, progress);
        let block = scan.blocks.queries * k;
        indices
            .par_chunks_mut(block)
            .zip(similarities.par_chunks_mut(block))
            .enumerate()
            .for_each_init(
                || (Vec::new(), Vec::new()),
                |(buffer, lists), (block, (indices, similarities))| {
                    search_block(scan, block, k, buffer, lists, indices, similarities);
                    tally.add(scan.block(block).len());
                },
            );
    }
    Neighbours { k, indices, similarities }
}

/// The neighbours of one block of queries. `buffer` and `lists` are reused from block to block.
fn search_block(
    scan: &Scan<'_>,
    block: usize,
    k: usize,
    buffer: &mut Vec<f32>,
    lists: &mut Vec<TopK>,
    indices: &mut [u32],
    similarities: &mut [f32],
) {
    let queries = scan.block(block);
    lists.resize_with(scan.blocks.queries, || TopK::new(k, scan.gallery.dim()));
    lists.iter_mut().for_each(TopK::clear);
    scan.visit(queries.clone(), buffer, |query, first, values| {
        lists[query - queries.start].offer(first, values, |item| scan.exact(query, item));
    });
    let places = indices.chunks_exact_mut(k).zip(similarities.chunks_exact_mut(k));
    for ((query, list), (indices, similarities)) in queries.zip(lists).zip(places) {
        list.finish(|item| scan.exact(query, item), indices, similarities);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::Blocks;

    fn compass() -> UnitRows {
        UnitRows::new(vec![1.0, 0.0, 0.0, 1.0, -1.0, 0.0, 0.0, -1.0, 0.0, 0.0], 2).unwrap()
    }

    #[test]
    fn ties_stand_in_index_order() {
        let rows = compass();
        let found = search(&rows, &rows, 5, Exclude::Nothing, &|_, _| {}).unwrap();
        assert_eq!(found.row(0), (&[0, 1, 3, 4, 2][..], &[1.0, 0.0, 0.0, 0.0, -1.0][..]));
        assert_eq!(found.row(4).0, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn self_search_leaves_the_query_out_and_cuts_k() {
        let rows = compass();
        let found = search(&rows, &rows, 100, Exclude::SameIndex, &|_, _| {}).unwrap();
        assert_eq!(found.k, 4);
        assert_eq!(found.row(1).0, [0, 2, 4, 3]);
    }

    #[test]
    fn empty_sides_give_empty_answers() {
        let (rows, none) = (compass(), UnitRows::new(vec![], 2).unwrap());
        let found = search(&rows, &none, 3, Exclude::Nothing, &|_, _| {}).unwrap();
        assert_eq!((found.k, found.row(4)), (0, (&[][..], &[][..])));
        let found = search(&none, &rows, 3, Exclude::Nothing, &|_, _| {}).unwrap();
        assert_eq!((found.k, found.indices.len()), (3, 0));
    }

    #[test]
    fn mistakes_are_errors() {
        let rows = compass();
        let other = UnitRows::new(vec![1.0; 3], 3).unwrap();
        let quiet = |_, _| {};
        let found = search(&rows, &rows, 0, Exclude::Nothing, &quiet);
        assert_eq!(found, Err(Error::ZeroK));
        let found = search(&rows, &other, 1, Exclude::Nothing, &quiet);
        assert_eq!(found, Err(Error::Dim { queries: 2, gallery: 3 }));
    }

    #[test]
    fn block_sizes_change_nothing() {
        // Families of near-copies, 1e-6 apart, so that f32 cannot order them.
        let data = (0..700 * 24)
            .map(|i| ((i / 24 % 9 * 31 + i % 24) as f32).sin() + ((i * 37) as f32).sin() * 1e-6)
            .collect();
        let rows = UnitRows::new(data, 24).unwrap();
        let mut scan = Scan::new(&rows, &rows, Exclude::SameIndex).unwrap();
        let expected = search_blocks(&scan, 20, &|_, _| {});
        for (queries, gallery) in [(1, 1), (1, 700), (3, 17), (64, 5), (700, 700), (33, 256)] {
            scan.blocks = Blocks { queries, gallery };
            assert_eq!(search_blocks(&scan, 20, &|_, _| {}), expected, "{queries} x {gallery}");
        }
    }

    #[test]
    fn progress_grows_to_the_total() {
        let rows = UnitRows::new((0..600).map(|i| (i as f32).cos()).collect(), 2).unwrap();
        let calls = std::sync::Mutex::new(Vec::new());
        let note = |done, total| calls.lock().unwrap().push((done, total));
        search(&rows, &rows, 3, Exclude::SameIndex, &note).unwrap();
        let calls = calls.into_inner().unwrap();
        assert!(calls.is_sorted_by(|a, b| a.0 < b.0), "{calls:?}");
        assert_eq!(calls.last(), Some(&(300, 300)));
    }
}
