//! How precise the first look at a product should be.

use crossbatch_math::fixed::Width;
use crossbatch_math::product::dot_f64;
use rayon::prelude::*;

use crate::{Similarity, Vectors};

/// How large vectors are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Extent {
    /// The largest length.
    pub(crate) norm: f64,
    /// The largest absolute value.
    pub(crate) peak: f64,
}

impl Extent {
    pub(crate) fn of(vectors: &Vectors) -> Self {
        let rows = (0..vectors.len()).into_par_iter().with_min_len(1024).map(|i| {
            let row = vectors.row(i);
            let peak = row.iter().fold(0.0f32, |peak, value| peak.max(value.abs()));
            (dot_f64(&row, &row), f64::from(peak))
        });
        let (square, peak) = rows.reduce(|| (0.0, 0.0), |a, b| (a.0.max(b.0), a.1.max(b.1)));
        // With room for the rounding of the sum.
        Self { norm: square.sqrt() * (1.0 + 1e-9), peak }
    }

    /// Large enough for both.
    pub(crate) fn with(self, other: Self) -> Self {
        Self { norm: self.norm.max(other.norm), peak: self.peak.max(other.peak) }
    }

    /// The widths that can hold products of vectors like these with `dim` values.
    pub(crate) fn widths(self, dim: usize) -> impl Iterator<Item = Width> {
        // Products and unit must be ordinary f32 numbers.
        let ordinary = (1e-10..1e12).contains(&self.norm);
        [(Width::I8, dim <= 1 << 15), (Width::I16, dim <= 1 << 20), (Width::F32, ordinary)]
            .into_iter()
            .filter_map(|(width, fits)| fits.then_some(width))
    }
}

/// How many queries and how many items a guess looks at.
const SAMPLE: (usize, usize) = (48, 1024);

/// The width with which the least work is to be expected, judged by a sample of pairs.
///
/// `bands(query)` are the similarities around which a product that is not precise enough has to be computed again, and
/// `products` says how many products there are for each pair (a half where one serves two).
pub(crate) fn choose<'a>(
    queries: &Vectors,
    active: &[u32],
    gallery: &Vectors,
    extents: (Extent, Extent),
    bands: impl Fn(usize) -> &'a [crate::order::Seen],
    products: f64,
) -> Width {
    let dim = queries.dim();
    let widths: Vec<Width> = extents.0.with(extents.1).widths(dim).collect();
    let step = |len: usize, wanted: usize| len.div_ceil(wanted).max(1);
    let mut pairs = 0u32;
    let mut unsure = vec![0u32; widths.len()];
    let items: Vec<usize> = (0..gallery.len()).step_by(step(gallery.len(), SAMPLE.1)).collect();
    let rough: Vec<f64> = widths
        .iter()
        .map(|&width| rough_error(width, dim, extents, queries.similarity()))
        .collect();
    for &query in active.iter().step_by(step(active.len(), SAMPLE.0)) {
        let bands = bands(query as usize);
        for &item in &items {
            let similarity = queries.closeness(query as usize, gallery, item);
            pairs += 1;
            let after = bands.partition_point(|band| band.similarity > similarity);
            let neighbours = &bands[after.saturating_sub(1)..bands.len().min(after + 1)];
            let distances = neighbours.iter().map(|band| (band.similarity - similarity).abs());
            let distance = distances.fold(f64::INFINITY, f64::min);
            for (unsure, &error) in unsure.iter_mut().zip(&rough) {
                *unsure += u32::from(distance <= error);
            }
        }
    }
    let again = 60.0 + dim as f64;
    let cost = |(width, unsure): (Width, u32)| {
        let share = f64::from(unsure) / f64::from(pairs.max(1));
        width.cost(dim) * products + share * again
    };
    let costs = widths.into_iter().zip(unsure);
    costs.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).map_or(Width::I16, |(width, _)| width)
}

/// About as far as a product can be off, in units of similarity.
pub(crate) fn rough_error(
    width: Width,
    dim: usize,
    (queries, gallery): (Extent, Extent),
    similarity: Similarity,
) -> f64 {
    let side = |extent: Extent| match width {
        Width::F32 => dim as f64 * 2f64.powi(-25) * extent.norm,
        _ => 0.3 * (dim as f64).sqrt() / width.scale(extent.peak, extent.norm),
    };
    let error = side(queries) * gallery.norm + side(gallery) * queries.norm;
    if similarity == Similarity::Euclidean { 2.0 * error } else { error }
}
