//! Every query against every gallery item, one block at a time.

use crate::{Error, Vectors};

/// Checks that queries and gallery fit together.
pub(crate) fn check_sides(queries: &Vectors, gallery: &Vectors) -> Result<(), Error> {
    if queries.dim() != gallery.dim() {
        return Err(Error::Dim { queries: queries.dim(), gallery: gallery.dim() });
    }
    if queries.similarity() != gallery.similarity() {
        let (queries, gallery) = (queries.similarity(), gallery.similarity());
        return Err(Error::Similarity { queries, gallery });
    }
    if gallery.len() > u32::MAX as usize {
        return Err(Error::TooManyRows { rows: gallery.len() });
    }
    Ok(())
}
