//! Exact nearest neighbours.

use std::ops::Range;

use crossbatch_math::fixed::{self, PANEL, Width};
use rayon::prelude::*;

use crate::options::Tally;
use crate::order::Seen;
use crate::piece::{Piece, Place};
use crate::plan::{Extent, rough_error};
use crate::rank::{blocks, check_dims, stretches};
use crate::relation::Ignored;
use crate::scan::check_sides;
use crate::source::{Gallery, read_rows};
use crate::top_k::TopK;
use crate::vectors::shown;
use crate::{Error, Exclude, Ignore, Options, RowSource, Similarity, Vectors};

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
    /// Of no query yet, with room for `queries` of them.
    fn with_capacity(k: usize, queries: usize) -> Self {
        let places = queries * k;
        Self { k, indices: Vec::with_capacity(places), similarities: Vec::with_capacity(places) }
    }

    /// Adds queries with what was found for them, `k` places each.
    fn append(&mut self, similarity: Similarity, found: &[Seen]) {
        self.indices.extend(found.iter().map(|seen| seen.index));
        self.similarities.extend(found.iter().map(|seen| match seen.index {
            u32::MAX => f32::NEG_INFINITY,
            _ => shown(similarity, seen.similarity),
        }));
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
    let options = options.less(ignored.bytes())?;
    let tally = options.tally(queries.len() as u64 * gallery.len() as u64, queries.len());
    let mut neighbours = Neighbours::with_capacity(k, queries.len());
    let whole = Gallery::Memory(gallery);
    let rules = Rules { k, ignored, tally };
    rules.nearest_queries(queries, 0, &whole, &options, &mut neighbours)?;
    rules.tally.finish();
    Ok(neighbours)
}

/// As [`nearest`], where neither side need fit into memory: queries are read a stretch at a time, and the gallery block by
/// block for each stretch.
///
/// Both are prepared for `similarity` like [`Vectors`] of their [precision](RowSource::precision), so that the answer is
/// that of [`nearest`] over all of the rows. A stretch takes a quarter of the memory allowed (or 1 GiB), a block
/// another (or 256 MiB). [`Embeddings`](crate::Embeddings) are such a source, too.
///
/// # Errors
///
/// As [`nearest`]; besides [`Error::Read`], and [`Error::NotFinite`] naming the row, of either side.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Embeddings, FileRows, Ignore, Options, Similarity, nearest_sources};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("gallery.npy");
/// Embeddings::new(vec![1.0f32, 0.0, 0.0, 1.0, 1.0, 1.0], 2)?.save(&path)?;
///
/// let gallery = FileRows::open(&path)?;
/// let query = Embeddings::new(vec![3.0f32, 4.0], 2)?;
/// let (ignore, options) = (Ignore::nothing(), Options::default());
/// let found = nearest_sources(&query, &gallery, Similarity::Cosine, 2, &ignore, &options)?;
/// assert_eq!(found.row(0).0, [2, 1]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn nearest_sources(
    queries: &dyn RowSource,
    gallery: &dyn RowSource,
    similarity: Similarity,
    k: usize,
    ignore: &Ignore<'_>,
    options: &Options<'_>,
) -> Result<Neighbours, Error> {
    if k == 0 {
        return Err(Error::ZeroK);
    }
    check_dims(queries.dim(), gallery)?;
    let (ignored, k) = offered(queries.len(), gallery.len(), k, ignore)?;
    let options = options.less(ignored.bytes())?;
    let (blocks, rest) = blocks(gallery, &options)?;
    let (stretches, rest) = stretches(queries, &rest)?;
    let tally = options.tally(queries.len() as u64 * gallery.len() as u64, queries.len());
    let mut neighbours = Neighbours::with_capacity(k, queries.len());
    let rules = Rules { k, ignored, tally };
    for rows in stretches {
        let base = rows.start;
        let rows = read_rows(queries, rows, similarity, &rest)?;
        rules
            .nearest_queries(&rows, base, &blocks, &rest, &mut neighbours)
            .map_err(|error| options.halved(&rest, error))?;
    }
    rules.tally.finish();
    Ok(neighbours)
}

/// A place that nothing was found for.
const NOTHING: Seen = Seen { similarity: f64::NEG_INFINITY, index: u32::MAX };

/// Bytes of places that are filled at once, where memory allows.
const PLACES: usize = 64 << 20;

/// What holds for all of a search.
struct Rules<'a> {
    /// Places of a query.
    k: usize,
    ignored: Ignored<'a>,
    tally: Tally<'a>,
}

impl Rules<'_> {
    /// Finds the neighbours of all `queries`, by whose numbers plus `base` the rules know them, some queries at a time.
    fn nearest_queries(
        &self,
        queries: &Vectors,
        base: usize,
        gallery: &Gallery<'_>,
        options: &Options<'_>,
        neighbours: &mut Neighbours,
    ) -> Result<(), Error> {
        let panel = PANEL * self.k.max(1) * size_of::<Seen>();
        let least = Blocks::needed(Width::F32, queries.dim(), self.k, 1, FEWEST_COLUMNS, None);
        if options.memory() < panel + least {
            return Err(options.too_small(panel + least));
        }
        let share = PLACES.min(options.memory() / 4).min(options.memory().saturating_sub(least));
        let at_once = ((share / panel).max(1) * PANEL).min(queries.len());
        let rest = options.less(at_once * self.k * size_of::<Seen>())?;
        let mut found = Vec::new();
        for start in (0..queries.len()).step_by(at_once.max(1)) {
            let rows = start..queries.len().min(start + at_once);
            found.clear();
            found.resize(rows.len() * self.k, NOTHING);
            gallery.each(queries.similarity(), &rest, |block, first| {
                let side = Side { queries, rows: rows.clone(), base };
                self.nearest_in_block(&side, block, first, &rest, &mut found)
            })?;
            neighbours.append(queries.similarity(), &found);
        }
        Ok(())
    }
}

/// The rows of some vectors that search, by whose numbers plus `base` the rules know them.
struct Side<'a> {
    queries: &'a Vectors,
    rows: Range<usize>,
    base: usize,
}

/// Replaces `best`, in order and `NOTHING` at its end, by the best of it and `more`, which is in order.
fn merge(best: &mut [Seen], more: &[Seen], space: &mut Vec<Seen>) {
    let Some(first) = more.first() else {
        return;
    };
    let kept = best.partition_point(|own| own.is_before(*first));
    space.clear();
    space.extend_from_slice(&best[kept..]);
    let (mut own, mut other) = (space.iter().peekable(), more.iter().peekable());
    for place in &mut best[kept..] {
        let next = match (own.peek(), other.peek()) {
            (Some(a), Some(b)) if b.is_before(**a) => other.next(),
            (Some(_), _) => own.next(),
            (None, _) => other.next(),
        };
        match next {
            Some(seen) => *place = *seen,
            None => break,
        }
    }
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

/// Gallery items that are multiplied with a block of queries at once, where memory allows, and where it does not.
const COLUMNS: usize = 960;
const FEWEST_COLUMNS: usize = 48;

impl Rules<'_> {
    /// Takes what is best in `block`, the gallery items from `first` on, into the `k` places that each query has in `found`.
    fn nearest_in_block(
        &self,
        side: &Side<'_>,
        block: &Vectors,
        first: usize,
        options: &Options<'_>,
        found: &mut [Seen],
    ) -> Result<(), Error> {
        let Side { queries, rows: searching, base } = side;
        let Self { k: offered, ignored, tally } = self;
        if *offered == 0 || block.is_empty() || searching.is_empty() {
            return Ok(());
        }
        let k = block.len().min(*offered);
        let extent = Extent::of(queries);
        let same = std::ptr::eq(*queries, block);
        let extents = (extent, if same { extent } else { Extent::of(block) });
        let width = choose_for_search(queries, block, extents);
        let plan = Blocks::new(searching.len(), block, width, k, options)?;
        let piece = |rows: Range<usize>| {
            Piece::new(block, width, extents.1, extents, rows.len(), |i| rows.start + i)
        };
        let whole = plan.whole.then(|| piece(0..block.len()));
        let parts = found.par_chunks_mut(plan.queries * *offered).enumerate();
        parts.try_for_each_init(
            || (Vec::new(), Vec::new(), Vec::new()),
            |(products, lists, hidden): &mut (Vec<i32>, Vec<TopK>, Vec<u32>), (part, found)| {
                let start = searching.start + part * plan.queries;
                let rows = start..searching.end.min(start + plan.queries);
                let left =
                    Piece::new(queries, width, extents.0, extents, rows.len(), |i| rows.start + i);
                lists.resize_with(rows.len().max(lists.len()), || TopK::new(k, 0.0));
                let exact = |query: usize, item: u32| {
                    queries.closeness(query, block, item as usize - first)
                };
                let mut places: Vec<Place> = Vec::new();
                for columns in (0..block.len()).step_by(plan.columns) {
                    options.check()?;
                    let columns = columns..block.len().min(columns + plan.columns);
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
                        ignored.of(base + query, hidden);
                        let items = first + columns.start..first + columns.end;
                        for &item in
                            &hidden[hidden.partition_point(|&i| (i as usize) < items.start)..]
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
                tally.add(rows.len() as u64 * block.len() as u64);
                let (mut best, mut space) = (Vec::new(), Vec::new());
                for ((query, list), found) in
                    rows.zip(&mut *lists).zip(found.chunks_exact_mut(*offered))
                {
                    best.clear();
                    best.extend(list.finish(|item| exact(query, item)));
                    merge(found, &best, &mut space);
                }
                Ok(())
            },
        )
    }
}

/// How a search is cut up. Results do not depend on it.
struct Blocks {
    /// Queries that a thread works on at once, in whole panels.
    queries: usize,
    /// Gallery items that they are multiplied with at once.
    columns: usize,
    /// Whether the gallery is kept in fixed point; otherwise it is made anew for every block of queries.
    whole: bool,
}

impl Blocks {
    /// Bytes of a panel of queries, with their lists and products.
    fn panel(width: Width, dim: usize, k: usize, columns: usize) -> usize {
        TopK::bytes(k) * PANEL
            + 4 * columns * PANEL
            + Piece::bytes(width, PANEL, dim)
            + PANEL * size_of::<Place>()
    }

    /// Bytes for so many panels a thread, and as many rows of the gallery in fixed point or else a stretch a thread.
    fn needed(
        width: Width,
        dim: usize,
        k: usize,
        panels: usize,
        columns: usize,
        whole: Option<usize>,
    ) -> usize {
        let threads = rayon::current_num_threads();
        // What a list ends as, and is merged in.
        let lists = 2 * (k + 1) * size_of::<Seen>();
        let gallery = match whole {
            Some(rows) => Piece::bytes(width, rows, dim),
            None => threads * Piece::bytes(width, columns, dim),
        };
        threads * (panels * Self::panel(width, dim, k, columns) + lists) + gallery
    }

    /// For so many `queries`, within the memory allowed.
    fn new(
        queries: usize,
        block: &Vectors,
        width: Width,
        k: usize,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let panel = Self::panel(width, block.dim(), k, COLUMNS);
        let threads = rayon::current_num_threads();
        let budget = options.memory();
        let needed = |panels, columns, whole: bool| {
            Self::needed(width, block.dim(), k, panels, columns, whole.then_some(block.len()))
        };
        let share = queries.div_ceil(4 * threads).div_ceil(PANEL);
        // Lists that are too long for the cache gain nothing from more queries at once.
        let mut panels = ((32 << 20) / panel).clamp(1, 8).min(share.max(1));
        let (mut columns, mut whole) = (COLUMNS, true);
        while needed(panels, columns, whole) > budget {
            if panels > 1 {
                panels /= 2;
            } else if whole {
                whole = false;
            } else if columns > FEWEST_COLUMNS {
                columns =
                    (columns / 2).next_multiple_of(FEWEST_COLUMNS).min(columns - FEWEST_COLUMNS);
            } else {
                return Err(options.too_small(needed(1, columns, false)));
            }
        }
        Ok(Self { queries: panels * PANEL, columns, whole })
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
