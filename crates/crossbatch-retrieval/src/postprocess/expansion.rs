//! Query expansion and database augmentation: each vector becomes a weighted sum of itself and its nearest.

use rayon::prelude::*;

use crate::vectors::normalise;
use crate::{Error, Ignore, Options, Similarity, Vectors, nearest};

/// How many neighbours join, and with what weight.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Expansion {
    /// How many of the nearest join. Default: 3. The best value grows with the number of positives a query has.
    pub neighbours: usize,
    /// A neighbour's weight is its cosine to this power, nothing if the cosine is negative; the vector itself has weight
    /// 1. With 0 all neighbours weigh the same, which is average query expansion. Default: 3.
    pub alpha: f64,
}

impl Default for Expansion {
    fn default() -> Self {
        Self { neighbours: 3, alpha: 3.0 }
    }
}

/// Query expansion: each query becomes the unit vector along q + Σ cos(q, g)^α g over its nearest gallery items g.
///
/// Average query expansion: Chum et al., "Total Recall", ICCV 2007; with weights: Radenović, Tolias and Chum, "Fine-tuning
/// CNN Image Retrieval with No Human Annotation", TPAMI 2019, section 3.5. What a query ignores does not join it. Search the
/// gallery with the answer.
///
/// # Errors
///
/// [`Error::NotCosine`] if the vectors are not prepared for cosines, [`Error::Setting`] for a negative or infinite α, and as
/// [`nearest`].
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Ignore, Options, Similarity, Vectors};
/// use crossbatch_retrieval::postprocess::{Expansion, expand_queries};
///
/// let gallery = Vectors::new(vec![0.0, 1.0, -1.0, 0.0], 2, Similarity::Cosine)?;
/// let query = Vectors::new(vec![1.0, 1.0], 2, Similarity::Cosine)?;
/// let average = Expansion { neighbours: 1, alpha: 0.0 };
/// let found = expand_queries(&query, &gallery, &Ignore::nothing(), &average, &Options::default())?;
/// // (0.7, 0.7) + (0, 1), scaled: half way between the two.
/// assert!((found.row(0)[1] - 22.5f32.to_radians().cos()).abs() < 1e-6);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn expand_queries(
    queries: &Vectors,
    gallery: &Vectors,
    ignore: &Ignore<'_>,
    expansion: &Expansion,
    options: &Options<'_>,
) -> Result<Vectors, Error> {
    let Expansion { neighbours, alpha } = *expansion;
    if queries.similarity() != Similarity::Cosine {
        return Err(Error::NotCosine { what: "expansion", similarity: queries.similarity() });
    }
    if !(alpha >= 0.0 && alpha.is_finite()) {
        let expected = "weights need a finite power of at least 0";
        return Err(Error::Setting { name: "alpha", value: alpha, expected });
    }
    // The neighbours, the rows of the answer, and the answer.
    let held = queries.len() * (8 * neighbours.min(gallery.len()) + 8 * queries.dim() + 24);
    let found = nearest(queries, gallery, neighbours, ignore, &options.less(held)?)?;
    let expand = |query: usize| {
        let mut sum: Vec<f64> = queries.row(query).iter().map(|&x| f64::from(x)).collect();
        let (items, cosines) = found.row(query);
        for (&item, &cosine) in items.iter().zip(cosines) {
            let weight = if alpha == 0.0 { 1.0 } else { f64::from(cosine.max(0.0)).powf(alpha) };
            let row = gallery.row(item as usize);
            sum.iter_mut().zip(row.iter()).for_each(|(sum, &x)| *sum += weight * f64::from(x));
        }
        let mut row: Vec<f32> = sum.into_iter().map(|x| x as f32).collect();
        normalise(&mut row);
        row
    };
    let rows: Vec<Vec<f32>> = (0..queries.len()).into_par_iter().map(expand).collect();
    Vectors::new(rows.concat(), queries.dim(), Similarity::Cosine)
}

/// Database augmentation: every gallery item is expanded by its nearest other items, as a query would be.
///
/// Turcot and Lowe, "Better matching with fewer features", ICCV workshops 2009; Arandjelović and Zisserman, "Three things
/// everyone should know to improve object retrieval", CVPR 2012. A set searched with itself is expanded once: its rows are
/// queries and gallery at the same time.
///
/// # Errors
///
/// As [`expand_queries`].
pub fn augment_database(
    gallery: &Vectors,
    expansion: &Expansion,
    options: &Options<'_>,
) -> Result<Vectors, Error> {
    expand_queries(gallery, gallery, &Ignore::same_index(), expansion, options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_angles(angles: &[f32]) -> Vectors {
        let data = angles.iter().flat_map(|a| [a.to_radians().cos(), a.to_radians().sin()]);
        Vectors::new(data.collect::<Vec<f32>>(), 2, Similarity::Cosine).unwrap()
    }

    #[test]
    fn weights_are_powers_of_the_cosine() {
        let rows = at_angles(&[0.0, 60.0, 180.0]);
        let expansion = Expansion { neighbours: 2, alpha: 2.0 };
        let found = augment_database(&rows, &expansion, &Options::default()).unwrap();
        // Row 0: itself and a quarter of the row at 60°; the row at 180° has a negative cosine.
        let expected =
            at_angles(&[(0.25 * 60f32.to_radians().sin()).atan2(1.0 + 0.25 * 0.5).to_degrees()]);
        for (found, expected) in found.row(0).iter().zip(expected.row(0).iter()) {
            assert!((found - expected).abs() < 1e-6);
        }
    }

    #[test]
    fn ignored_items_do_not_join() {
        let rows = at_angles(&[0.0, 1.0, 50.0]);
        let capture = [0, 0, 1];
        let ignore = Ignore::same_index().same(&[crate::Column::within(&capture)]);
        let expansion = Expansion { neighbours: 1, alpha: 0.0 };
        let found = expand_queries(&rows, &rows, &ignore, &expansion, &Options::default()).unwrap();
        assert!((found.row(0)[0] - 25f32.to_radians().cos()).abs() < 1e-6);
    }

    #[test]
    fn mistakes_are_errors() {
        let rows = Vectors::new(vec![1.0, 2.0], 1, Similarity::Dot).unwrap();
        let found = augment_database(&rows, &Expansion::default(), &Options::default());
        assert!(matches!(found, Err(Error::NotCosine { .. })));
        let rows = at_angles(&[0.0, 1.0]);
        let expansion = Expansion { alpha: f64::NAN, ..Expansion::default() };
        assert!(augment_database(&rows, &expansion, &Options::default()).is_err());
    }
}
