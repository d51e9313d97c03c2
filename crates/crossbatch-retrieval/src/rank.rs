//! From vectors and a relation to the ranks of all positives.

use std::ops::Range;

use crossbatch_math::fixed::{Bands, PANEL, Width, scratch_bytes};

use crate::count::{Count, Plan};
use crate::dense::Dense;
use crate::ladder::{Ladders, MANY};
use crate::options::Tally;
use crate::piece::Piece;
use crate::plan::{Extent, choose};
use crate::relation::Positives;
use crate::scan::{check_dim, check_len, check_sides};
use crate::source::{Gallery, read_rows, row_bytes};
use crate::wanted::Wanted;
use crate::{Error, Options, Ranking, Relation, RowSource, Similarity, Vectors};

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
    let (mut ranking, options) = empty_ranking(&positives, queries.len(), options)?;
    rank_vectors(queries, gallery, &positives, &options, &mut |part| ranking.append(&part))?;
    Ok(ranking)
}

/// As [`rank`], for a gallery that is read block by block: once for the similarities of the positives, and once for all
/// others.
///
/// Rows are read as f32 and prepared like [`Vectors`] of their [precision](RowSource::precision) with the queries'
/// similarity. Blocks take a quarter of the memory allowed, or 256 MiB.
///
/// # Errors
///
/// As [`rank`]; besides [`Error::Read`], and [`Error::NotFinite`] naming the gallery's row.
pub fn rank_source(
    queries: &Vectors,
    gallery: &dyn RowSource,
    relation: &Relation<'_>,
    options: &Options<'_>,
) -> Result<Ranking, Error> {
    check_dims(queries.dim(), gallery)?;
    let positives = Positives::new(relation, queries.len(), gallery.len())?;
    let (mut ranking, options) = empty_ranking(&positives, queries.len(), options)?;
    let (blocks, rest) = blocks(gallery, &options)?;
    let tally = options.tally(queries.len() as u64 * gallery.len() as u64, queries.len());
    let sink: &mut Sink<'_> = &mut |part| ranking.append(&part);
    rank_queries(queries, 0, &blocks, &positives, &rest, &tally, sink)
        .map_err(|error| options.halved(&rest, error))?;
    tally.finish();
    Ok(ranking)
}

/// As [`rank`], where neither side need fit into memory: queries are read a stretch at a time, and the gallery
/// block by block for each stretch, twice.
///
/// Both are prepared for `similarity` like [`Vectors`] of their [precision](RowSource::precision), so that the answer is
/// that of [`rank`] over all of the rows. A set searched with itself is both sides. A stretch takes a quarter of
/// the memory allowed (or 1 GiB), a block another (or 256 MiB).
///
/// # Errors
///
/// As [`rank_source`]; a row that cannot be read or is not finite may be of either side.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Embeddings, FileRows, Options, Relation, Similarity, rank_sources};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("set.npy");
/// Embeddings::new(vec![0.0f32, 1.0, 2.5, 7.0], 1)?.save(&path)?;
///
/// let rows = FileRows::open(&path)?;
/// let (relation, options) = (Relation::within(&[1, 2, 1, 2]), Options::default().with_memory(1 << 20));
/// let ranking = rank_sources(&rows, &rows, Similarity::Euclidean, &relation, &options)?;
/// assert_eq!((ranking.ranks(0), ranking.ranks(3)), (&[2][..], &[2][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn rank_sources(
    queries: &dyn RowSource,
    gallery: &dyn RowSource,
    similarity: Similarity,
    relation: &Relation<'_>,
    options: &Options<'_>,
) -> Result<Ranking, Error> {
    check_dims(queries.dim(), gallery)?;
    let positives = Positives::new(relation, queries.len(), gallery.len())?;
    let (mut ranking, options) = empty_ranking(&positives, queries.len(), options)?;
    let sink: &mut Sink<'_> = &mut |part| ranking.append(&part);
    rank_rows(queries, gallery, similarity, &positives, &options, sink)?;
    Ok(ranking)
}

/// Takes the ranks of some queries after those of the queries before them.
pub(crate) type Sink<'s> = dyn FnMut(Ranking) + 's;

/// Ranks sides in memory.
pub(crate) fn rank_vectors(
    queries: &Vectors,
    gallery: &Vectors,
    positives: &Positives<'_>,
    options: &Options<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let tally = options.tally(queries.len() as u64 * gallery.len() as u64, queries.len());
    match Dense::new(queries, gallery, positives, options) {
        Some(dense) => dense.rank(options, &tally, sink)?,
        None => {
            let whole = Gallery::Memory(gallery);
            rank_queries(queries, 0, &whole, positives, options, &tally, sink)?;
        }
    }
    tally.finish();
    Ok(())
}

/// Ranks sides that are read.
pub(crate) fn rank_rows(
    queries: &dyn RowSource,
    gallery: &dyn RowSource,
    similarity: Similarity,
    positives: &Positives<'_>,
    options: &Options<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let (blocks, rest) = blocks(gallery, options)?;
    let (stretches, rest) = stretches(queries, &rest)?;
    let tally = options.tally(queries.len() as u64 * gallery.len() as u64, queries.len());
    for rows in stretches {
        let base = rows.start;
        let rows = read_rows(queries, rows, similarity, &rest)?;
        rank_queries(&rows, base, &blocks, positives, &rest, &tally, sink)
            .map_err(|error| options.halved(&rest, error))?;
    }
    tally.finish();
    Ok(())
}

/// Room for the ranks of all queries, and what that and the relation leave of the memory.
fn empty_ranking<'o>(
    positives: &Positives<'_>,
    queries: usize,
    options: &Options<'o>,
) -> Result<(Ranking, Options<'o>), Error> {
    let pairs = (0..queries).map(|query| positives.at_most(query)).sum();
    let held = positives.bytes().saturating_add(Ranking::bytes(queries, pairs));
    let rest = options.less(held)?;
    Ok((Ranking::with_capacity(queries, pairs), rest))
}

/// Checks a gallery that is read.
pub(crate) fn check_dims(queries: usize, gallery: &dyn RowSource) -> Result<(), Error> {
    if queries != gallery.dim() {
        return Err(Error::Dim { queries, gallery: gallery.dim() });
    }
    if queries == 0 {
        return Err(Error::ZeroDim);
    }
    check_dim(queries)?;
    check_len(gallery.len())
}

/// A gallery in blocks of a quarter of the memory allowed or 256 MiB, and what is left of the memory.
pub(crate) fn blocks<'a, 'o>(
    gallery: &'a dyn RowSource,
    options: &Options<'o>,
) -> Result<(Gallery<'a>, Options<'o>), Error> {
    let row = row_bytes(gallery);
    let rows = ((options.memory() / 4).min(256 << 20) / row).clamp(1, gallery.len().max(1));
    Ok((Gallery::Blocks(gallery, rows), options.less(rows * row)?))
}

/// Queries in stretches of a third of the memory that blocks have left, or 1 GiB, and what is left of it.
pub(crate) fn stretches<'o>(
    queries: &dyn RowSource,
    options: &Options<'o>,
) -> Result<(impl Iterator<Item = Range<usize>> + use<'o>, Options<'o>), Error> {
    let (row, len) = (row_bytes(queries), queries.len());
    let rows = ((options.memory() / 3).min(1 << 30) / row).clamp(1, len.max(1));
    let ranges = (0..len).step_by(rows).map(move |first| first..len.min(first + rows));
    Ok((ranges, options.less(rows * row)?))
}

/// Ranks the positives of all `queries`, which the relation knows by numbers `base` higher; as many queries at a time as
/// the lists of their positives leave memory for.
fn rank_queries(
    queries: &Vectors,
    base: usize,
    gallery: &Gallery<'_>,
    positives: &Positives<'_>,
    options: &Options<'_>,
    tally: &Tally<'_>,
    sink: &mut Sink<'_>,
) -> Result<(), Error> {
    let similarity = queries.similarity();
    let lists = options.memory().min(lists(queries, base, gallery, positives));
    let mut start = 0;
    while start < queries.len() {
        let end = stretch_end(queries, start, base, positives, lists);
        let pairs = (start..end).map(|query| positives.at_most(base + query)).sum();
        let rest = options.less(Wanted::bytes(end - start, pairs))?;
        let mut wanted = Wanted::new(positives, start..end, base, gallery.len(), &rest)?;
        gallery.each(similarity, &rest, |block, first| wanted.see(queries, block, first, &rest))?;
        wanted.sort();
        let idle = end - start - wanted.active().len();
        tally.add(idle as u64 * gallery.len() as u64);
        if idle < end - start {
            gallery.each(similarity, &rest, |block, first| {
                count_block(queries, block, first, &mut wanted, &rest, tally, None)?;
                wanted.take_ignored(positives, queries, block, first, &rest)
            })?;
        }
        sink(wanted.into_ranking());
        start = end;
    }
    Ok(())
}

/// Memory for which lists of positives, and what is counted for them, are made where no budget says less: classes of
/// thousands have more pairs than fit. More of it saves work only where each stretch of queries reads the gallery, and
/// where a product serves both of its rows if all queries are counted at once.
fn lists(
    queries: &Vectors,
    base: usize,
    gallery: &Gallery<'_>,
    positives: &Positives<'_>,
) -> usize {
    let pairs: usize = (0..queries.len()).map(|query| positives.at_most(base + query)).sum();
    let many = pairs >= MANY * queries.len();
    if many && matches!(gallery, Gallery::Memory(_)) { 256 << 20 } else { 2 << 30 }
}

/// Up to which query the lists of positives, and what is counted for them, leave room for the counting within `budget`;
/// a panel at least.
fn stretch_end(
    queries: &Vectors,
    start: usize,
    base: usize,
    positives: &Positives<'_>,
    budget: usize,
) -> usize {
    let (mut end, mut held, mut most) = (start, 0usize, 0);
    while end < queries.len() {
        let panel = end..queries.len().min(end + PANEL);
        let lens = || panel.clone().map(|query| positives.at_most(base + query));
        let (pairs, longest): (usize, usize) = (lens().sum(), lens().max().unwrap_or(0));
        held += Wanted::bytes(panel.len(), pairs) + Bands::bytes(1, longest);
        most = most.max(longest);
        let fixed = rayon::current_num_threads() * scratch_bytes(TILE_STEP, TILE_STEP, most)
            + 2 * Piece::bytes(Width::F32, PANEL, queries.dim());
        if end > start && held > (budget / 2).min(budget.saturating_sub(fixed)) {
            break;
        }
        end = panel.end;
    }
    end
}

/// Counts one block of gallery items, as `plan` says or as seems cheapest.
fn count_block(
    queries: &Vectors,
    block: &Vectors,
    first: usize,
    wanted: &mut Wanted,
    options: &Options<'_>,
    tally: &Tally<'_>,
    plan: Option<Plan>,
) -> Result<(), Error> {
    let mut active = wanted.active();
    if active.is_empty() || block.is_empty() {
        return Ok(());
    }
    let same = std::ptr::eq(queries, block);
    let extent = Extent::of(queries);
    let extents = (extent, if same { extent } else { Extent::of(block) });
    if plan.is_none()
        && let Some(ladders) = Ladders::new(queries, &active, block, extents, wanted, options)
    {
        return ladders.count(queries, block, first, wanted, options, tally);
    }
    let plan = match plan {
        Some(plan) => plan,
        None => Plan::new(queries, &active, block, extents, wanted, options)?,
    };
    if plan.both {
        active = (0..queries.len() as u32).collect();
    }
    let count = Count { queries, active: &active, block, first, extents, plan };
    count.run(wanted, options, tally)
}

impl Plan {
    /// The cheapest way, within the memory allowed.
    fn new(
        queries: &Vectors,
        active: &[u32],
        block: &Vectors,
        extents: (Extent, Extent),
        wanted: &Wanted,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let dim = queries.dim();
        // Half of the products, but for all queries: pays where most of them have positives.
        let mut both = std::ptr::eq(queries, block)
            && wanted.queries() == (0..queries.len())
            && 2 * active.len() > queries.len();
        let products = if both { 0.5 } else { 1.0 };
        let width = choose(queries, active, block, extents, |query| wanted.of(query), products);
        let lens = |query: &u32| wanted.of(*query as usize).len();
        let most = active.iter().map(lens).max().unwrap_or(0);
        let panels = active.chunks(PANEL).map(|panel| panel.iter().map(lens).max().unwrap_or(0));
        let bands = Bands::bytes(wanted.queries().len().div_ceil(PANEL), panels.sum());

        let threads = rayon::current_num_threads();
        let rows = active.len().max(block.len());
        let mut tile = tile(width.bytes(PANEL, dim) / PANEL, rows, threads);
        let scratch = |tile| threads * scratch_bytes(tile, tile, most);
        let budget = options.memory();
        while tile > TILE_STEP && bands + scratch(tile) > budget / 2 {
            tile = (tile / 2).next_multiple_of(TILE_STEP);
        }
        let left = budget.saturating_sub(bands + scratch(tile));
        let fits = |rows: usize| width.bytes(rows, dim) + rows * 4;
        both &= fits(rows) <= left;
        let piece = if both || 2 * fits(rows) <= left {
            rows
        } else {
            (left / (2 * fits(PANEL) / PANEL)) / PANEL * PANEL
        };
        if piece == 0 {
            let needed = bands + scratch(tile) + 2 * fits(PANEL);
            return Err(options.too_small(needed));
        }
        Ok(Self { width, both, piece, tile })
    }
}

/// Tiles are whole numbers of the microkernel's columns.
const TILE_STEP: usize = 48;

/// Rows of a tile, so that a side stays in the second cache and every thread gets several tiles.
fn tile(row_bytes: usize, rows: usize, threads: usize) -> usize {
    let cache = (256 << 10) / row_bytes.max(1);
    let share = rows / (4 * threads);
    cache.min(share).clamp(TILE_STEP, 1920) / TILE_STEP * TILE_STEP
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Seen;
    use crate::{
        Column, Embeddings, Ignore, Metric, Scores, Similarity, Values, measure, measure_sources,
    };
    use crossbatch_math::fixed::Width;
    use half::{bf16, f16};
    use proptest::prelude::*;
    use std::sync::atomic::AtomicBool;

    /// The definition: every item that is met is compared with every positive.
    fn plainly(queries: &Vectors, gallery: &Vectors, relation: &Relation<'_>) -> Ranking {
        let positives = Positives::new(relation, queries.len(), gallery.len()).unwrap();
        let (mut ranks, mut met) = (Vec::new(), Vec::new());
        for query in 0..queries.len() {
            let mut ignored = Vec::new();
            positives.ignored.of(query, &mut ignored);
            let seen = |index: u32| Seen {
                similarity: queries.closeness(query, gallery, index as usize),
                index,
            };
            let items = (0..gallery.len() as u32).filter(|item| !ignored.contains(item));
            let items: Vec<Seen> = items.map(seen).collect();
            let rank = |positive: u32| {
                let before = items.iter().filter(|item| item.is_before(seen(positive)));
                before.count() as u32 + 1
            };
            let mut list: Vec<u32> = positives.of(query, &ignored).map(rank).collect();
            list.sort_unstable();
            ranks.push(list);
            met.push(items.len() as u32);
        }
        Ranking::from_ranks(&ranks, &met).unwrap()
    }

    /// Counted as `plan` says, or by ladders.
    fn planned(
        queries: &Vectors,
        gallery: &Vectors,
        relation: &Relation<'_>,
        plan: Plan,
        by_ladders: bool,
    ) -> Ranking {
        let options = Options::default();
        let positives = Positives::new(relation, queries.len(), gallery.len()).unwrap();
        let all = 0..queries.len();
        let mut wanted = Wanted::new(&positives, all, 0, gallery.len(), &options).unwrap();
        wanted.see(queries, gallery, 0, &options).unwrap();
        wanted.sort();
        let tally = options.tally(1, 1);
        if by_ladders {
            let ladders =
                Ladders { extents: (Extent::of(queries), Extent::of(gallery)), width: plan.width };
            ladders.count(queries, gallery, 0, &mut wanted, &options, &tally).unwrap();
        } else {
            count_block(queries, gallery, 0, &mut wanted, &options, &tally, Some(plan)).unwrap();
        }
        wanted.take_ignored(&positives, queries, gallery, 0, &options).unwrap();
        wanted.into_ranking()
    }

    /// Sorted, with products of `width`, by panels or as many as usual at a time.
    fn sorted(
        queries: &Vectors,
        gallery: &Vectors,
        relation: &Relation<'_>,
        width: Width,
        panels: bool,
    ) -> Ranking {
        let positives = Positives::new(relation, queries.len(), gallery.len()).unwrap();
        let mut dense = Dense::of(queries, gallery, &positives);
        dense.width = width;
        let options = Options::default();
        let options = if panels { options.with_memory(dense.bytes()) } else { options };
        let mut ranking = Ranking::with_capacity(0, 0);
        let sink: &mut Sink<'_> = &mut |part| ranking.append(&part);
        dense.rank(&options, &options.tally(1, 1), sink).unwrap();
        ranking
    }

    /// Few directions, near-copies of these, equal rows, zeros, and rows of very different lengths.
    fn values(rows: Range<usize>, dim: usize) -> impl Strategy<Value = Vec<f32>> {
        let whole = || proptest::collection::vec(-2i8..=2, dim);
        let floats = |row: Vec<i8>| row.into_iter().map(f32::from).collect::<Vec<_>>();
        let row = prop_oneof![
            4 => whole().prop_map(floats),
            3 => (whole(), 0..dim, -4i8..=4).prop_map(move |(row, at, step)| {
                let mut row = floats(row);
                row[at] += f32::from(step) * 3e-7;
                row
            }),
            1 => Just(vec![1.0; dim]),
            1 => (whole(), 0u8..3).prop_map(move |(row, size)| {
                floats(row).iter().map(|value| value * 30f32.powi(i32::from(size))).collect()
            }),
            3 => proptest::collection::vec(-1.0f32..1.0, dim),
        ];
        proptest::collection::vec(row, rows).prop_map(|rows| rows.concat())
    }

    fn stored(values: &[f32], storage: u8) -> Values {
        match storage {
            0 => values.to_vec().into(),
            1 => values.iter().map(|&value| f16::from_f32(value)).collect::<Vec<_>>().into(),
            _ => values.iter().map(|&value| bf16::from_f32(value)).collect::<Vec<_>>().into(),
        }
    }

    /// The first values of an endless column in which some agree.
    fn column(rows: usize, seed: usize, different: usize) -> Vec<u32> {
        (0..rows).map(|i| ((i * 7919 + seed * 31 + i * i) % different) as u32).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn every_way_of_counting_equals_the_definition(
            (dim, one, other) in (1usize..12).prop_flat_map(|dim| {
                (Just(dim), values(1..70, dim), values(0..70, dim))
            }),
            (similarity, storage) in (0usize..3, 0u8..3),
            (width, piece, tile) in (0usize..3, 0usize..3, 0usize..3),
            (classes, cameras, rule, seed) in (1usize..20, 1usize..4, 0usize..4, 0usize..99),
            (within, both, threads) in (any::<bool>(), any::<bool>(), 1usize..4),
        ) {
            let similarity =
                [Similarity::Cosine, Similarity::Dot, Similarity::Euclidean][similarity];
            let (one_values, other_values) = (one, other);
            let make = |data: &[f32]| Vectors::new(stored(data, storage), dim, similarity).unwrap();
            let (one, other) = (make(&one_values), make(&other_values));
            let (queries, gallery) = if within { (&one, &one) } else { (&one, &other) };
            let (labels, more) =
                (column(queries.len(), seed, classes), column(gallery.len(), seed, classes));
            let (camera, place) =
                (column(queries.len(), 5, cameras), column(gallery.len(), 5, cameras));
            let (camera, label) = (Column::new(&camera, &place), Column::new(&labels, &more));
            let ignore = match rule {
                0 => Ignore::nothing(),
                1 => Ignore::same_index(),
                2 => Ignore::same_index().same(&[camera]),
                _ => Ignore::nothing().same(&[camera, label]),
            };
            let relation = Relation::new(&labels, &more).ignoring(ignore);
            let extent = Extent::of(queries).with(Extent::of(gallery));
            let widths: Vec<Width> = extent.widths(dim).collect();
            let plan = Plan {
                width: widths[width % widths.len()],
                both: within && both,
                piece: [16, 48, 1000][piece],
                tile: [16, 32, 96][tile],
            };
            let expected = plainly(queries, gallery, &relation);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                for by_ladders in [false, true] {
                    let found = planned(queries, gallery, &relation, plan, by_ladders);
                    prop_assert_eq!(&found, &expected);
                }
                if !gallery.is_empty() {
                    let found = sorted(queries, gallery, &relation, plan.width, both);
                    prop_assert_eq!(&found, &expected);
                }
                let chosen = rank(queries, gallery, &relation, &Options::default()).unwrap();
                prop_assert_eq!(&chosen, &expected);
                // Raw rows, read a few at a time and prepared then.
                let raw = |data: &[f32]| Embeddings::new(stored(data, storage), dim).unwrap();
                let (one, other) = (raw(&one_values), raw(&other_values));
                let kept = if within { &one } else { &other };
                let with = |bytes| {
                    let options = Options::default().with_memory(bytes);
                    rank_sources(&one, kept, similarity, &relation, &options)
                };
                for budget in [24 << 10, 64 << 10, 1 << 20] {
                    prop_assert_eq!(&enough(&with, budget), &expected);
                }
                let found =
                    rank_source(queries, kept, &relation, &Options::default()).unwrap();
                prop_assert_eq!(&found, &expected);
                let metrics = [Metric::MapAtR, Metric::RecallAt(2), Metric::MeanRank];
                let scores = Scores::of(&expected, &metrics);
                let options = Options::default();
                let found = measure(queries, gallery, &relation, &metrics, &options);
                prop_assert_eq!(&found, &scores);
                let found =
                    measure_sources(&one, kept, similarity, &relation, &metrics, &options);
                prop_assert_eq!(&found, &scores);
                Ok(())
            })?;
        }
    }

    /// 900 rows in classes of `class`, with what `rank` says of them.
    fn budget_case(class: u32) -> (Vectors, Vec<u32>, Ranking) {
        let data: Vec<f32> = (0..900 * 40).map(|i| ((i * i % 977) as f32).sin()).collect();
        let vectors = Vectors::new(data, 40, Similarity::Cosine).unwrap();
        let labels: Vec<u32> = (0..900).map(|i| i / class).collect();
        let relation = Relation::within(&labels);
        let options = Options::default();
        let positives = Positives::new(&relation, 900, 900).unwrap();
        let dense = Dense::new(&vectors, &vectors, &positives, &options);
        assert_eq!(dense.is_some(), class == 300);
        let expected = rank(&vectors, &vectors, &relation, &options).unwrap();
        assert_eq!(expected, plainly(&vectors, &vectors, &relation));
        (vectors, labels, expected)
    }

    #[test]
    fn a_budget_is_kept_or_what_would_do_is_said() {
        for class in [4, 300] {
            let (vectors, labels, expected) = budget_case(class);
            let relation = Relation::within(&labels);
            let with =
                |bytes| rank(&vectors, &vectors, &relation, &Options::default().with_memory(bytes));
            let mut kept = 0;
            for bytes in [64 << 20, 4 << 20, 1 << 20, 600_000, 400_000, 100_000, 1000] {
                match with(bytes) {
                    Ok(found) => {
                        assert_eq!(found, expected);
                        let metrics = [Metric::MeanAveragePrecision];
                        let options = Options::default().with_memory(bytes);
                        match measure(&vectors, &vectors, &relation, &metrics, &options) {
                            Err(Error::Memory { needed, .. }) => assert!(needed > bytes),
                            scores => assert_eq!(scores, Scores::of(&expected, &metrics)),
                        }
                        kept += 1;
                    }
                    Err(Error::Memory { needed, budget }) => {
                        assert!(needed > budget && budget == bytes, "{needed} {budget}");
                        assert_eq!(enough(&with, needed), expected, "class {class}, {bytes} bytes");
                    }
                    Err(other) => panic!("{other}"),
                }
            }
            assert!((1..7).contains(&kept), "{kept}");
        }
    }

    /// The answer with as many bytes, or with what an error said would do. Another stretch of queries may need more
    /// than the one that was short of memory.
    fn enough(with: &dyn Fn(usize) -> Result<Ranking, Error>, mut bytes: usize) -> Ranking {
        for _ in 0..4 {
            match with(bytes) {
                Ok(found) => return found,
                Err(Error::Memory { needed, .. }) => {
                    assert!(needed > bytes);
                    bytes = needed;
                }
                Err(other) => panic!("{other}"),
            }
        }
        panic!("{bytes} bytes were not enough either");
    }

    #[test]
    fn rows_too_long_are_an_error() {
        let dim = (1 << 20) + 1;
        let vectors = Vectors::new(vec![0.5; 2 * dim], dim, Similarity::Dot).unwrap();
        let found = rank(&vectors, &vectors, &Relation::within(&[1, 1]), &Options::default());
        assert_eq!(found, Err(Error::Wide { dim, most: 1 << 20 }));
    }

    #[test]
    fn a_raised_flag_ends_it_and_progress_reaches_the_total() {
        let vectors = Vectors::new(vec![0.5; 200], 2, Similarity::Dot).unwrap();
        let labels = [7; 100];
        let relation = Relation::within(&labels);
        let flag = AtomicBool::new(true);
        let options = Options::default().with_cancel(&flag);
        assert_eq!(rank(&vectors, &vectors, &relation, &options), Err(Error::Cancelled));
        let last = std::sync::Mutex::new((0, 0));
        let report = |done, total| *last.lock().unwrap() = (done, total);
        let options = Options::default().with_progress(&report);
        for labels in [vec![7; 100], (0..100).collect()] {
            rank(&vectors, &vectors, &Relation::within(&labels), &options).unwrap();
            assert_eq!(*last.lock().unwrap(), (100, 100));
        }
    }
}
