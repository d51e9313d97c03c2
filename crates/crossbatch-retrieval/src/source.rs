//! Galleries that are read piece by piece, because they do not fit into memory.

use std::io;
use std::ops::Range;

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

    /// Writes some rows as f32, one after the other: `out` holds `rows.len() * dim` values, and `rows` ends at `len` at
    /// the latest. The same rows must come out whenever they are asked for.
    ///
    /// # Errors
    ///
    /// Whatever reading runs into; the caller reports it as [`Error::Read`](crate::Error::Read).
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> io::Result<()>;
}
