//! From vectors and a relation to the ranks of all positives.

use crossbatch_math::fixed::{Bands, PANEL, scratch_bytes};

use crate::count::{Count, Plan};
use crate::options::Tally;
use crate::plan::{Extent, choose};
use crate::relation::Positives;
use crate::scan::check_sides;
use crate::wanted::Wanted;
use crate::{Error, Options, Ranking, Relation, RowSource, Vectors};

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
    let mut wanted = Wanted::new(&positives, queries.len(), gallery.len(), options)?;
    wanted.see(queries, gallery, 0, options)?;
    wanted.sort();
    let tally = wanted.tally(gallery.len(), options);
    count_block(queries, gallery, 0, &mut wanted, options, &tally, None)?;
    wanted.take_ignored(&positives, queries, gallery, 0, options)?;
    tally.finish();
    Ok(wanted.into_ranking())
}

/// As [`rank`], for a gallery that is read block by block: once for the similarities of the positives, and once for all
/// others.
///
/// Rows are read as f32 and prepared like [`Vectors`] of f32 with the queries' similarity. Blocks take a quarter of the
/// memory allowed, or 256 MiB.
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
    let (len, dim) = (gallery.len(), gallery.dim());
    if queries.dim() != dim {
        return Err(Error::Dim { queries: queries.dim(), gallery: dim });
    }
    if len > u32::MAX as usize {
        return Err(Error::TooManyRows { rows: len });
    }
    let positives = Positives::new(relation, queries.len(), len)?;
    let mut wanted = Wanted::new(&positives, queries.len(), len, options)?;
    let bytes = (options.memory() / 4).min(256 << 20);
    let rows = (bytes / (4 * dim)).max(1);
    let rest = options.with_memory(options.memory() - bytes.min(options.memory()));
    let block = |first: usize| -> Result<Vectors, Error> {
        options.check()?;
        let end = len.min(first + rows);
        let mut values = vec![0.0; (end - first) * dim];
        gallery.read(first..end, &mut values).map_err(|error| Error::Read {
            first,
            end,
            reason: error.to_string(),
        })?;
        Vectors::new(values, dim, queries.similarity()).map_err(|error| match error {
            Error::NotFinite { row, column, value } => {
                Error::NotFinite { row: first + row, column, value }
            }
            other => other,
        })
    };
    for first in (0..len).step_by(rows) {
        wanted.see(queries, &block(first)?, first, options)?;
    }
    wanted.sort();
    let tally = wanted.tally(len, options);
    for first in (0..len).step_by(rows) {
        let block = block(first)?;
        count_block(queries, &block, first, &mut wanted, &rest, &tally, None)?;
        wanted.take_ignored(&positives, queries, &block, first, options)?;
    }
    tally.finish();
    Ok(wanted.into_ranking())
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
        let mut both = std::ptr::eq(queries, block) && 2 * active.len() > queries.len();
        let products = if both { 0.5 } else { 1.0 };
        let width = choose(queries, active, block, extents, |query| wanted.of(query), products);
        let lens = |query: &u32| wanted.of(*query as usize).len();
        let most = active.iter().map(lens).max().unwrap_or(0);
        let panels = active.chunks(PANEL).map(|panel| panel.iter().map(lens).max().unwrap_or(0));
        let bands = Bands::bytes(queries.len().div_ceil(PANEL), panels.sum());

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
            return Err(Error::Memory { needed, budget });
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
    use crate::{Column, Ignore, Similarity, Values};
    use crossbatch_math::fixed::Width;
    use half::{bf16, f16};
    use proptest::prelude::*;
    use std::ops::Range;
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

    fn planned(
        queries: &Vectors,
        gallery: &Vectors,
        relation: &Relation<'_>,
        plan: Plan,
    ) -> Ranking {
        let options = Options::default();
        let positives = Positives::new(relation, queries.len(), gallery.len()).unwrap();
        let mut wanted = Wanted::new(&positives, queries.len(), gallery.len(), &options).unwrap();
        wanted.see(queries, gallery, 0, &options).unwrap();
        wanted.sort();
        let tally = wanted.tally(gallery.len(), &options);
        count_block(queries, gallery, 0, &mut wanted, &options, &tally, Some(plan)).unwrap();
        wanted.take_ignored(&positives, queries, gallery, 0, &options).unwrap();
        wanted.into_ranking()
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

    struct Rows<'a>(&'a Vectors);

    impl RowSource for Rows<'_> {
        fn len(&self) -> usize {
            self.0.len()
        }
        fn dim(&self) -> usize {
            self.0.dim()
        }
        fn read(&self, rows: Range<usize>, out: &mut [f32]) -> std::io::Result<()> {
            out.copy_from_slice(&self.0.rows(rows));
            Ok(())
        }
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
            let make = |data: &[f32]| Vectors::new(stored(data, storage), dim, similarity).unwrap();
            let (one, other) = (make(&one), make(&other));
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
                prop_assert_eq!(&planned(queries, gallery, &relation, plan), &expected);
                let chosen = rank(queries, gallery, &relation, &Options::default()).unwrap();
                prop_assert_eq!(&chosen, &expected);
                if storage == 0 && similarity != Similarity::Cosine {
                    // Small blocks; cosine would scale the rows a second time.
                    let options = Options::default().with_memory(1 << 20);
                    let source = Rows(gallery);
                    let found = rank_source(queries, &source, &relation, &options).unwrap();
                    prop_assert_eq!(&found, &expected);
                }
                Ok(())
            })?;
        }
    }

    #[test]
    fn a_budget_is_kept_or_refused() {
        let data: Vec<f32> = (0..900 * 40).map(|i| ((i * i % 977) as f32).sin()).collect();
        let vectors = Vectors::new(data, 40, Similarity::Cosine).unwrap();
        let labels: Vec<u32> = (0..900).map(|i| i / 4).collect();
        let relation = Relation::within(&labels);
        let expected = rank(&vectors, &vectors, &relation, &Options::default()).unwrap();
        assert_eq!(expected, plainly(&vectors, &vectors, &relation));
        let mut kept = 0;
        for bytes in [4 << 20, 1 << 20, 600_000, 400_000, 1000] {
            match rank(&vectors, &vectors, &relation, &Options::default().with_memory(bytes)) {
                Ok(found) => {
                    assert_eq!(found, expected);
                    kept += 1;
                }
                Err(Error::Memory { needed, budget }) => assert!(needed > budget),
                Err(other) => panic!("{other}"),
            }
        }
        assert!((1..5).contains(&kept), "{kept}");
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
