//! Vectors as flat row-major matrices: [`Rows`] as they come from a model, [`UnitRows`] ready to compare.

use crate::Error;

/// A borrowed row-major matrix `[rows, dim]` of finite values.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Error, Rows};
///
/// let rows = Rows::new(&[1.0, 2.0, 3.0, 4.0], 2)?;
/// assert_eq!((rows.len(), rows.dim()), (2, 2));
/// assert_eq!(rows.row(1), [3.0, 4.0]);
///
/// let broken = Rows::new(&[1.0, f32::INFINITY], 2);
/// assert_eq!(broken.unwrap_err(), Error::NotFinite { row: 0, column: 1, value: f32::INFINITY });
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rows<'a> {
    data: &'a [f32],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// Reads `data` as rows of `dim` values.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroDim`], [`Error::Length`] if the last row is incomplete, and [`Error::NotFinite`] for the first NaN
    /// or infinity.
    pub fn new(data: &'a [f32], dim: usize) -> Result<Self, Error> {
        if dim == 0 {
            return Err(Error::ZeroDim);
        }
        if !data.len().is_multiple_of(dim) {
            return Err(Error::Length { values: data.len(), dim });
        }
        match data.iter().position(|value| !value.is_finite()) {
            None => Ok(Self { data, dim }),
            Some(at) => Err(Error::NotFinite { row: at / dim, column: at % dim, value: data[at] }),
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.data.len() / self.dim
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The number of values in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Row `i`.
    ///
    /// # Panics
    ///
    /// If there are not more than `i` rows.
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.data[i * self.dim..(i + 1) * self.dim]
    }

    /// All values, row after row.
    pub fn as_slice(&self) -> &'a [f32] {
        self.data
    }
}

/// Owned rows of length one, so that a dot product is a cosine similarity.
///
/// Lengths are computed in f64: values near the limits of f32 neither overflow nor vanish. A row of zeros has no
/// direction; it stays zero and has similarity 0 to everything, itself included.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::UnitRows;
///
/// let rows = UnitRows::new(vec![3.0, 4.0, 0.0, 0.0], 2)?;
/// assert_eq!(rows.row(0), [0.6, 0.8]);
/// assert_eq!(rows.row(1), [0.0, 0.0]);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct UnitRows {
    data: Vec<f32>,
    dim: usize,
}

impl UnitRows {
    /// Takes `data` as rows of `dim` values and scales each row to length one, in place.
    ///
    /// # Errors
    ///
    /// As [`Rows::new`].
    pub fn new(mut data: Vec<f32>, dim: usize) -> Result<Self, Error> {
        Rows::new(&data, dim)?;
        data.chunks_exact_mut(dim).for_each(normalise);
        Ok(Self { data, dim })
    }

    /// A copy of `rows` with each row scaled to length one.
    pub fn from_rows(rows: &Rows<'_>) -> Self {
        let mut data = rows.data.to_vec();
        data.chunks_exact_mut(rows.dim).for_each(normalise);
        Self { data, dim: rows.dim }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.data.len() / self.dim
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The number of values in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// Row `i`.
    ///
    /// # Panics
    ///
    /// If there are not more than `i` rows.
    pub fn row(&self, i: usize) -> &[f32] {
        self.range(i, i + 1)
    }

    /// All values, row after row.
    pub fn as_slice(&self) -> &[f32] {
        &self.data
    }

    /// Rows `first..end`, one after the other.
    pub(crate) fn range(&self, first: usize, end: usize) -> &[f32] {
        &self.data[first * self.dim..end * self.dim]
    }
}

/// Scales a row to length one; zeros stay zeros.
fn normalise(row: &mut [f32]) {
    let norm = crossbatch_math::product::dot_f64(row, row).sqrt();
    if norm > 0.0 {
        for value in row {
            *value = (f64::from(*value) / norm) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_checked() {
        assert_eq!(Rows::new(&[1.0], 0), Err(Error::ZeroDim));
        assert_eq!(Rows::new(&[1.0; 5], 2), Err(Error::Length { values: 5, dim: 2 }));
        let mut data = vec![0.5; 12];
        data[7] = f32::NEG_INFINITY;
        let expected = Error::NotFinite { row: 2, column: 1, value: f32::NEG_INFINITY };
        assert_eq!(Rows::new(&data, 3), Err(expected.clone()));
        assert_eq!(UnitRows::new(data, 3), Err(expected));
    }

    #[test]
    fn no_rows_are_rows_too() {
        let rows = Rows::new(&[], 4).unwrap();
        assert!(rows.is_empty());
        assert_eq!(UnitRows::from_rows(&rows).len(), 0);
    }

    #[test]
    fn both_ways_to_unit_rows_agree() {
        let data: Vec<f32> = (0..30).map(|i| (i as f32 * 1.7).sin()).collect();
        let borrowed = UnitRows::from_rows(&Rows::new(&data, 5).unwrap());
        assert_eq!(borrowed, UnitRows::new(data, 5).unwrap());
    }

    #[test]
    fn huge_and_tiny_rows_reach_length_one() {
        let rows = UnitRows::new(vec![3e38, 3e38, 1e-45, 0.0], 2).unwrap();
        assert!((rows.row(0)[0] - 0.5f32.sqrt()).abs() < 1e-7);
        assert_eq!(rows.row(1), [1.0, 0.0]);
    }
}
