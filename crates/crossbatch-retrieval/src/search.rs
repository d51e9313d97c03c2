//! Exact nearest neighbours.

use std::ops::Range;

use crossbatch_math::fixed::{self, PANEL, Width};
use rayon::prelude::*;

use crate::options::Tally;
use crate::order::Seen;
use crate::piece::{Piece, Place};
use crate::plan::{Extent, rough_error};
use crate::relation::Ignored;
use crate::scan::check_sides;
use crate::top_k::TopK;
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
    /// From what was found for each query.
    fn new(queries: &Vectors, k: usize, found: &[Vec<Seen>]) -> Self {
        let mut indices = vec![u32::MAX; found.len() * k];
        let mut similarities = vec![f32::NEG_INFINITY; found.len() * k];
        for (query, found) in found.iter().enumerate() {
            for (place, seen) in (query * k..).zip(found) {
                indices[place] = seen.index;
                similarities[place] = shown(queries.similarity(), seen.similarity);
            }
        }
        Self { k, indices, similarities }
    }

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
    let (ignored, k) = offered(queries.len(), gallery.len(), k, ignore)?;
    let tally = options.tally(queries.len() as u64, queries.len());
    let found = nearest_in_block(queries, gallery, 0, k, &ignored, options, &tally)?;
    Ok(Neighbours::new(queries, k, &found))
}

/// What is ignored, and the largest `k` that any query can fill.
fn offered<'a>(
    queries: usize,
    gallery: usize,
    k: usize,
    ignore: &Ignore<'a>,
) -> Result<(Ignored<'a>, usize), Error> {
    let ignored = Ignored::new(ignore, queries, gallery)?;
    let mut items = Vec::new();
    let mut most = if queries == 0 { gallery } else { 0 };
    for query in 0..queries {
        ignored.of(query, &mut items);
        most = most.max(gallery - items.len());
    }
    Ok((ignored, k.min(most)))
}

/// Gallery items that are multiplied with a block of queries at once.
const COLUMNS: usize = 960;

/// The best `k` (or as many as it meets) of each query in `block`, the gallery items from `first` on; best first.
fn nearest_in_block(
    queries: &Vectors,
    block: &Vectors,
    first: usize,
    k: usize,
    ignored: &Ignored<'_>,
    options: &Options<'_>,
    tally: &Tally<'_>,
) -> Result<Vec<Vec<Seen>>, Error> {
    if k == 0 || block.is_empty() || queries.is_empty() {
        tally.add(queries.len() as u64);
        return Ok(vec![Vec::new(); queries.len()]);
    }
    let extent = Extent::of(queries);
    let same = std::ptr::eq(queries, block);
    let extents = (extent, if same { extent } else { Extent::of(block) });
    let width = choose_for_search(queries, block, extents);
    let plan = Blocks::new(queries, block, width, k.min(block.len()), options)?;
    let piece = |rows: Range<usize>| {
        Piece::new(block, width, extents.1, extents, rows.len(), |i| rows.start + i)
    };
    let whole = plan.whole.then(|| piece(0..block.len()));
    let starts: Vec<usize> = (0..queries.len()).step_by(plan.queries).collect();
    let found = starts.into_par_iter().map_init(
        || (Vec::new(), Vec::new(), Vec::new()),
        |(products, lists, hidden): &mut (Vec<i32>, Vec<TopK>, Vec<u32>), start| {
            let rows = start..queries.len().min(start + plan.queries);
            let left =
                Piece::new(queries, width, extents.0, extents, rows.len(), |i| rows.start + i);
            lists.resize_with(rows.len().max(lists.len()), || TopK::new(k, 0.0));
            let exact =
                |query: usize, item: u32| queries.closeness(query, block, item as usize - first);
            let mut places: Vec<Place> = Vec::new();
            for columns in (0..block.len()).step_by(COLUMNS) {
                options.check()?;
                let columns = columns..block.len().min(columns + COLUMNS);
                let own = whole.is_none().then(|| piece(columns.clone()));
                let (right, local) = match (&whole, &own) {
                    (Some(whole), _) => (whole, columns.clone()),
                    (None, own) => (own.as_ref().expect("made above"), 0..columns.len()),
                };
                // A piece's rounding is its own, so that the bound is, too.
                if places.is_empty() || own.is_some() {
                    let place = |query: usize| {
                        let (row, norm) = (queries.row(query), extents.1.norm);
                        let (left, right) = (&left.rows, &right.rows);
                        Place::new(queries.similarity(), &row, left, right, norm)
                    };
                    places = rows.clone().map(place).collect();
                }
                let stride = columns.len().next_multiple_of(PANEL);
                products.resize(rows.len() * stride, 0);
                fixed::products(&left.rows, 0..rows.len(), right.operand(), local, products);
                let lines = products.chunks_exact_mut(stride).zip(&mut *lists).zip(&places);
                for (query, ((line, list), place)) in rows.clone().zip(lines) {
                    if columns.start == 0 {
                        list.start(place.error);
                    }
                    list.widen(place.error);
                    ignored.of(query, hidden);
                    let items = first + columns.start..first + columns.end;
                    for &item in &hidden[hidden.partition_point(|&i| (i as usize) < items.start)..]
                    {
                        if item as usize >= items.end {
                            break;
                        }
                        line[item as usize - items.start] = i32::MIN;
                    }
                    list.offer(
                        items.start,
                        &line[..columns.len()],
                        |item| exact(query, item),
                        |closeness| place.middle(closeness),
                    );
                }
            }
            tally.add(rows.len() as u64);
            let lists = rows.clone().zip(&mut *lists);
            Ok(lists
                .map(|(query, list)| list.finish(|item| exact(query, item)).collect())
                .collect())
        },
    );
    let found: Vec<Vec<Vec<Seen>>> = found.collect::<Result<_, Error>>()?;
    Ok(found.into_iter().flatten().collect())
}

/// How a search is cut up. Results do not depend on it.
struct Blocks {
    /// Queries that a thread works on at once, in whole panels.
    queries: usize,
    /// Whether the gallery is kept in fixed point; otherwise it is made anew for every block of queries.
    whole: bool,
}

impl Blocks {
    /// Within the memory allowed.
    fn new(
        queries: &Vectors,
        block: &Vectors,
        width: Width,
        k: usize,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let dim = queries.dim();
        let threads = rayon::current_num_threads();
        let panel = TopK::bytes(k) * PANEL
            + 4 * COLUMNS * PANEL
            + Piece::bytes(width, PANEL, dim)
            + PANEL * size_of::<Place>();
        let column_piece = Piece::bytes(width, COLUMNS, dim);
        let everything = Piece::bytes(width, block.len(), dim);
        let budget = options.memory();
        let needed = |panels: usize, whole: bool| {
            threads * panels * panel + if whole { everything } else { threads * column_piece }
        };
        let share = queries.len().div_ceil(4 * threads).div_ceil(PANEL);
        // Lists that are too long for the cache gain nothing from more queries at once.
        let mut panels = ((32 << 20) / panel).clamp(1, 8).min(share.max(1));
        let mut whole = true;
        while needed(panels, whole) > budget {
            if panels > 1 {
                panels /= 2;
            } else if whole {
                whole = false;
            } else {
                return Err(Error::Memory { needed: needed(1, false), budget });
            }
        }
        Ok(Self { queries: panels * PANEL, whole })
    }
}

/// 16 bits, unless all similarities are so near to each other that these would tell few apart.
fn choose_for_search(queries: &Vectors, block: &Vectors, extents: (Extent, Extent)) -> Width {
    let widths: Vec<Width> = extents.0.with(extents.1).widths(queries.dim()).collect();
    let step = |len: usize| len.div_ceil(32).max(1);
    let pairs = (0..queries.len()).step_by(step(queries.len())).flat_map(|query| {
        (0..block.len()).step_by(step(block.len())).map(move |item| (query, item))
    });
    let values: Vec<f64> =
        pairs.map(|(query, item)| queries.closeness(query, block, item)).collect();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let variance =
        values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
    let error = rough_error(Width::I16, queries.dim(), extents, queries.similarity());
    let near = variance.sqrt() < 16.0 * error;
    if near && widths.contains(&Width::F32) { Width::F32 } else { Width::I16 }
}
