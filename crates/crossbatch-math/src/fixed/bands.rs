//! Thresholds of many queries, and how many products were found above them.

use std::sync::atomic::{AtomicU32, Ordering};

use super::PANEL;

/// For each query a list of bands `low..=high` of fixed-point products, from the highest to the lowest, and a count for
/// each.
///
/// Queries lie in panels of 16, band after band with a lane for each query, so that one query's bands and one band of
/// 16 queries can both be compared with a vector of products.
#[derive(Debug)]
pub struct Bands {
    /// The bands of panel `p` are vectors `offsets[p]..offsets[p + 1]`.
    pub(super) offsets: Vec<usize>,
    /// One less than the lowest product inside, so that "inside or above" is a single comparison.
    pub(super) below: Vec<i32>,
    pub(super) high: Vec<i32>,
    /// The least of `below` for each query; none of its products up to here matters.
    pub(super) floor: Vec<i32>,
    pub(super) lens: Vec<u32>,
    counts: Vec<AtomicU32>,
}

impl Bands {
    /// `queries` queries with `lens(i)` bands each; `band(i, k)` gives the lowest and the highest product inside.
    ///
    /// # Panics
    ///
    /// If a band is empty, or reaches above the one before it.
    pub fn new(
        queries: usize,
        lens: impl Fn(usize) -> usize,
        mut band: impl FnMut(usize, usize) -> (i32, i32),
    ) -> Self {
        let padded = queries.next_multiple_of(PANEL);
        let mut bands = Self {
            offsets: vec![0],
            below: Vec::new(),
            high: Vec::new(),
            floor: vec![i32::MAX; padded],
            lens: vec![0; padded],
            counts: Vec::new(),
        };
        for first in (0..queries).step_by(PANEL) {
            let members = first..queries.min(first + PANEL);
            let most = members.clone().map(&lens).max().unwrap_or(0);
            let base = bands.below.len();
            // A band that nothing reaches.
            bands.below.resize(base + most * PANEL, i32::MAX);
            bands.high.resize(base + most * PANEL, i32::MAX);
            for query in members {
                bands.lens[query] = lens(query) as u32;
                for k in 0..lens(query) {
                    let (low, high) = band(query, k);
                    assert!(low <= high, "the band {low}..={high} of query {query} is empty");
                    let at = base + k * PANEL + query % PANEL;
                    let ordered = k == 0
                        || (low.saturating_sub(1) <= bands.below[at - PANEL]
                            && high <= bands.high[at - PANEL]);
                    assert!(ordered, "band {k} of query {query} reaches above the one before it");
                    bands.below[at] = low.saturating_sub(1);
                    bands.high[at] = high;
                    bands.floor[query] = bands.floor[query].min(bands.below[at]);
                }
            }
            bands.offsets.push(bands.below.len() / PANEL);
        }
        bands.counts.resize_with(bands.below.len(), AtomicU32::default);
        bands
    }

    /// Bytes for `panels` panels with `bands` bands (16 lanes each) in all.
    pub fn bytes(panels: usize, bands: usize) -> usize {
        panels * (8 + 8 * PANEL) + bands * 12 * PANEL
    }

    /// How many products were counted above band `k` of `query`.
    pub fn above(&self, query: usize, k: usize) -> u32 {
        self.counts[self.at(query, k)].load(Ordering::Relaxed)
    }

    /// Adds products that were found to count as above band `k` of `query`.
    pub fn add(&self, query: usize, k: usize, products: u32) {
        self.counts[self.at(query, k)].fetch_add(products, Ordering::Relaxed);
    }

    /// Calls `found` with the number of each band of `query` that `x` lies in.
    pub fn inside(&self, query: usize, x: i32, mut found: impl FnMut(usize)) {
        for k in 0..self.lens[query] as usize {
            let at = self.at(query, k);
            if self.below[at] < x && x <= self.high[at] {
                found(k);
            }
        }
    }

    /// Where band `k` of `query` lies.
    pub(super) fn at(&self, query: usize, k: usize) -> usize {
        debug_assert!(k < self.lens[query] as usize, "query {query} has no band {k}");
        (self.offsets[query / PANEL] + k) * PANEL + query % PANEL
    }

    /// Adds the counts of whole panels that one tile has gathered.
    pub(super) fn add_panels(&self, first: usize, gathered: &[i32]) {
        let counts = &self.counts[self.offsets[first] * PANEL..];
        for (count, &more) in counts.iter().zip(gathered) {
            if more != 0 {
                count.fetch_add(more.cast_unsigned(), Ordering::Relaxed);
            }
        }
    }
}
