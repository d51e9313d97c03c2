//! Every query against every gallery item, one block at a time.

use crate::{Error, Vectors};

/// The longest rows that fixed-point products are made for.
pub(crate) const MOST_DIM: usize = 1 << 20;

/// Checks that queries and gallery fit together.
pub(crate) fn check_sides(queries: &Vectors, gallery: &Vectors) -> Result<(), Error> {
    if queries.dim() != gallery.dim() {
        return Err(Error::Dim { queries: queries.dim(), gallery: gallery.dim() });
    }
    check_dim(queries.dim())?;
    if queries.similarity() != gallery.similarity() {
        let (queries, gallery) = (queries.similarity(), gallery.similarity());
        return Err(Error::Similarity { queries, gallery });
    }
    check_len(gallery.len())
}

/// Checks that rows are short enough to be compared.
pub(crate) fn check_dim(dim: usize) -> Result<(), Error> {
    if dim > MOST_DIM { Err(Error::Wide { dim, most: MOST_DIM }) } else { Ok(()) }
}

/// Checks that an index can name every row.
pub(crate) fn check_len(rows: usize) -> Result<(), Error> {
    if rows > u32::MAX as usize { Err(Error::TooManyRows { rows }) } else { Ok(()) }
}
