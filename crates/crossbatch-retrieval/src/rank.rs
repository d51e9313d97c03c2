//! From vectors and a relation to the ranks of all positives.

use crossbatch_math::fixed::{Bands, PANEL, scratch_bytes};

use crate::count::{Count, Plan};
use crate::plan::{Extent, choose};
use crate::relation::Positives;
use crate::scan::check_sides;
use crate::wanted::Wanted;
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
    let mut wanted = Wanted::new(&positives, queries.len(), gallery.len(), options)?;
    wanted.see(queries, gallery, 0, options)?;
    wanted.sort();
    count_block(queries, gallery, 0, &mut wanted, options, None)?;
    wanted.take_ignored(&positives, queries, gallery, 0, options)?;
    Ok(wanted.into_ranking())
}

/// Counts one block of gallery items, as `plan` says or as seems cheapest.
fn count_block(
    queries: &Vectors,
    block: &Vectors,
    first: usize,
    wanted: &mut Wanted,
    options: &Options<'_>,
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
    let tally = options.tally(active.len() as u64 * block.len() as u64, queries.len());
    let count = Count { queries, active: &active, block, first, extents, plan };
    count.run(wanted, options, &tally)
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
