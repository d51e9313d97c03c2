//! Some rows in fixed point, and what belongs to them.

use std::borrow::Cow;

use crossbatch_math::fixed::{FixedRows, Operand, PANEL, Width};
use crossbatch_math::product::dot_f64;
use rayon::prelude::*;

use crate::plan::Extent;
use crate::{Similarity, Vectors};

/// Rows whose products approximate similarities.
pub(crate) struct Piece {
    pub(crate) rows: FixedRows,
    /// For distances, half the squared length of each row.
    pub(crate) offsets: Vec<i32>,
}

impl Piece {
    /// The rows `index(0)..index(len)` of vectors that reach `extent`; `extents` are those of both sides.
    pub(crate) fn new(
        vectors: &Vectors,
        width: Width,
        extent: Extent,
        extents: (Extent, Extent),
        len: usize,
        index: impl Fn(usize) -> usize + Sync,
    ) -> Self {
        let euclidean = vectors.similarity() == Similarity::Euclidean;
        // Products are compared with lengths there, so that both sides need one scale.
        let extent = if euclidean { extents.0.with(extents.1) } else { extent };
        let scale = width.scale(extent.peak, extent.norm);
        let row = |i: usize| -> Cow<'_, [f32]> { vectors.row(index(i)) };
        let rows = FixedRows::new(width, len, vectors.dim(), scale, &row);
        let offset = |i: usize| (half_square(&row(i)) * scale * scale).round() as i32;
        let mut offsets = Vec::new();
        if euclidean {
            // A panel is not shared out, so that a thread that makes one never takes up another's work in between.
            offsets = (0..len).into_par_iter().with_min_len(PANEL).map(offset).collect();
            offsets.resize(len.next_multiple_of(PANEL), 0);
        }
        Self { rows, offsets }
    }

    /// Bytes for `rows` rows.
    pub(crate) fn bytes(width: Width, rows: usize, dim: usize) -> usize {
        width.bytes(rows, dim) + 4 * rows.next_multiple_of(PANEL)
    }

    /// This piece as one side of a product, without bands.
    pub(crate) fn operand(&self) -> Operand<'_> {
        Operand { rows: &self.rows, bands: None, offsets: &self.offsets }
    }
}

/// Half the squared length of a row.
pub(crate) fn half_square(row: &[f32]) -> f64 {
    dot_f64(row, row) / 2.0
}

/// From a query's closeness to the fixed-point number that is compared, and how far that can be off.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    unit: f64,
    /// Added to a closeness before it is scaled.
    shift: f64,
    slope: f64,
    /// A bound on `|x - middle|`.
    pub(crate) error: f64,
}

impl Place {
    /// For the query `row` on the side `left`, against rows of at most length `norm` on the side `right`.
    pub(crate) fn new(
        similarity: Similarity,
        row: &[f32],
        left: &FixedRows,
        right: &FixedRows,
        norm: f64,
    ) -> Self {
        let half = half_square(row);
        // One more for each rounding: of the offset, of the threshold, and of f64.
        let error = left.error((2.0 * half).sqrt(), right, norm) + 3.0;
        // -|a - b|² = 2 <a, b> - |a|² - |b|², and the product less the offset is <a, b> - |b|² / 2.
        let (slope, shift) = match similarity {
            Similarity::Cosine | Similarity::Dot => (1.0, 0.0),
            Similarity::Euclidean => (0.5, half),
        };
        Self { unit: left.scale() * right.scale(), shift, slope, error }
    }

    /// Where an item of this closeness stands, up to the error.
    pub(crate) fn middle(&self, closeness: f64) -> f64 {
        (closeness * self.slope + self.shift) * self.unit
    }
}
