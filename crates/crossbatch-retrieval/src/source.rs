//! Galleries that are read piece by piece, because they do not fit into memory.

use std::io;
use std::ops::Range;

use rayon::prelude::*;

use crate::{Error, Options, Precision, Similarity, Values, Vectors};

/// Rows `[len, dim]` that can be read in any order and by several threads at once: an embeddings file.
///
/// # Example
///
/// ```
/// use std::{io, ops::Range};
/// use crossbatch_retrieval::RowSource;
///
/// /// Rows that are computed.
/// struct Circle(usize);
///
/// impl RowSource for Circle {
///     fn len(&self) -> usize {
///         self.0
///     }
///     fn dim(&self) -> usize {
///         2
///     }
///     fn read(&self, rows: Range<usize>, out: &mut [f32]) -> io::Result<()> {
///         for (i, row) in rows.zip(out.chunks_exact_mut(2)) {
///             let angle = i as f32 / self.0 as f32;
///             row.copy_from_slice(&[angle.cos(), angle.sin()]);
///         }
///         Ok(())
///     }
/// }
/// ```
pub trait RowSource: Sync {
    /// The number of rows.
    fn len(&self) -> usize;

    /// Whether there is no row.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of values in a row, at least one.
    fn dim(&self) -> usize;

    /// The precision that the values are kept in, so that prepared rows are rounded as [`Vectors`] of all of them are.
    fn precision(&self) -> Precision {
        Precision::F32
    }

    /// Writes some rows as f32, one after the other: `out` holds `rows.len() * dim` values, and `rows` ends at `len` at
    /// the latest. The same rows must come out whenever they are asked for.
    ///
    /// # Errors
    ///
    /// Whatever reading runs into; the caller reports it as [`Error::Read`](crate::Error::Read).
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> io::Result<()>;
}

/// Bytes that a prepared row takes while it is read, at most.
pub(crate) fn row_bytes(rows: &dyn RowSource) -> usize {
    let rounded = if rows.precision() == Precision::F32 { 0 } else { rows.precision().bytes() };
    (4 + rounded) * rows.dim()
}

/// Some rows of a source, ready to compare.
pub(crate) fn read_rows(
    source: &dyn RowSource,
    rows: Range<usize>,
    similarity: Similarity,
    options: &Options<'_>,
) -> Result<Vectors, Error> {
    options.check()?;
    let (dim, first) = (source.dim(), rows.start);
    let mut values = vec![0.0; rows.len() * dim];
    // Several threads read and convert at once.
    let at_once = ((1 << 20) / dim).max(1);
    values.par_chunks_mut(at_once * dim).enumerate().try_for_each(|(i, out)| {
        let first = rows.start + i * at_once;
        let end = first + out.len() / dim;
        let reason = |error: io::Error| Error::Read { first, end, reason: error.to_string() };
        source.read(first..end, out).map_err(reason)
    })?;
    let values = Values::rounded(values, source.precision());
    Vectors::new(values, dim, similarity).map_err(|error| match error {
        Error::NotFinite { row, column, value } => {
            Error::NotFinite { row: first + row, column, value }
        }
        other => other,
    })
}

/// A gallery that a search walks over.
#[derive(Clone, Copy)]
pub(crate) enum Gallery<'a> {
    /// All of it at once.
    Memory(&'a Vectors),
    /// So many rows at a time.
    Blocks(&'a dyn RowSource, usize),
}

impl Gallery<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(vectors) => vectors.len(),
            Self::Blocks(source, _) => source.len(),
        }
    }

    /// Calls `take` with each block and the index of its first row. Of a source, one half of a block is read while the other
    /// is worked on.
    pub(crate) fn each(
        &self,
        similarity: Similarity,
        options: &Options<'_>,
        mut take: impl FnMut(&Vectors, usize) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        let (source, half) = match *self {
            Self::Memory(vectors) => return take(vectors, 0),
            Self::Blocks(source, block) => (source, block.div_ceil(2)),
        };
        let read = |first: usize| {
            let rows = first..source.len().min(first + half);
            (!rows.is_empty()).then(|| read_rows(source, rows, similarity, options)).transpose()
        };
        let (mut first, mut block) = (0, read(0)?);
        while let Some(vectors) = block {
            let (next, taken) = rayon::join(|| read(first + half), || take(&vectors, first));
            taken?;
            (first, block) = (first + half, next?);
        }
        Ok(())
    }
}
