//! Vectors ready to compare: checked, scaled if their comparison needs it, and kept in the precision they came in.

use std::borrow::Cow;
use std::ops::Range;

use crossbatch_math::product::{dot_f64, squared_distance_f64};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use crate::Error;

/// How near two vectors are. In every case larger is nearer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Similarity {
    /// The cosine of the angle. Rows are scaled to length one when [`Vectors`] are made.
    #[default]
    Cosine,
    /// The dot product; rows stay as they are.
    Dot,
    /// Minus the Euclidean distance; rows stay as they are.
    Euclidean,
}

/// How values are kept: the type of [`Values`] without the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, 11 of them significant.
    F16,
    /// 16 bits, 8 of them significant.
    Bf16,
}

impl Precision {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }
}

/// The values of a row-major matrix, in one of three precisions.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// 32 bits a value.
    F32(Vec<f32>),
    /// 16 bits a value, 11 of them significant.
    F16(Vec<f16>),
    /// 16 bits a value, 8 of them significant.
    Bf16(Vec<bf16>),
}

impl Values {
    /// How many values there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How precise the values are.
    pub fn precision(&self) -> Precision {
        match self {
            Self::F32(_) => Precision::F32,
            Self::F16(_) => Precision::F16,
            Self::Bf16(_) => Precision::Bf16,
        }
    }

    /// `values` in another precision.
    pub(crate) fn rounded(values: Vec<f32>, precision: Precision) -> Self {
        match precision {
            Precision::F32 => Self::F32(values),
            Precision::F16 => Self::F16(values.into_iter().map(f16::from_f32).collect()),
            Precision::Bf16 => Self::Bf16(values.into_iter().map(bf16::from_f32).collect()),
        }
    }

    /// These values as f32; borrowed where they are f32 already.
    pub(crate) fn range(&self, range: Range<usize>) -> Cow<'_, [f32]> {
        match self {
            Self::F32(values) => Cow::Borrowed(&values[range]),
            Self::F16(values) => Cow::Owned(values[range].to_f32_vec()),
            Self::Bf16(values) => Cow::Owned(values[range].to_f32_vec()),
        }
    }

    /// Calls `change` with every row of `dim` values; what it leaves is rounded to the precision of the values.
    fn for_each_row(&mut self, dim: usize, change: impl Fn(&mut [f32]) + Send + Sync) {
        let buffer = || vec![0.0; dim];
        match self {
            Self::F32(values) => values.par_chunks_exact_mut(dim).for_each(change),
            Self::F16(values) => {
                values.par_chunks_exact_mut(dim).for_each_init(buffer, |buffer, row| {
                    row.convert_to_f32_slice(buffer);
                    change(buffer);
                    row.convert_from_f32_slice(buffer);
                })
            }
            Self::Bf16(values) => {
                values.par_chunks_exact_mut(dim).for_each_init(buffer, |buffer, row| {
                    row.convert_to_f32_slice(buffer);
                    change(buffer);
                    row.convert_from_f32_slice(buffer);
                })
            }
        }
    }

    /// Whether these are whole rows of `dim` finite values.
    pub(crate) fn check(&self, dim: usize) -> Result<(), Error> {
        if dim == 0 {
            return Err(Error::ZeroDim);
        }
        if !self.len().is_multiple_of(dim) {
            return Err(Error::Length { values: self.len(), dim });
        }
        match self.not_finite() {
            Some((at, value)) => Err(Error::NotFinite { row: at / dim, column: at % dim, value }),
            None => Ok(()),
        }
    }

    /// The first value that is not finite, with its place.
    fn not_finite(&self) -> Option<(usize, f32)> {
        let at = match self {
            Self::F32(values) => first_not_finite(values, f32::is_finite),
            Self::F16(values) => first_not_finite(values, f16::is_finite),
            Self::Bf16(values) => first_not_finite(values, bf16::is_finite),
        }?;
        Some((at, self.range(at..at + 1)[0]))
    }

    pub(crate) fn select(&self, rows: &[u32], dim: usize) -> Self {
        fn gather<T: Copy>(values: &[T], rows: &[u32], dim: usize) -> Vec<T> {
            let row = |&row: &u32| &values[row as usize * dim..(row as usize + 1) * dim];
            rows.iter().flat_map(row).copied().collect()
        }
        match self {
            Self::F32(values) => Self::F32(gather(values, rows, dim)),
            Self::F16(values) => Self::F16(gather(values, rows, dim)),
            Self::Bf16(values) => Self::Bf16(gather(values, rows, dim)),
        }
    }
}

impl From<Vec<f32>> for Values {
    fn from(values: Vec<f32>) -> Self {
        Self::F32(values)
    }
}

impl From<Vec<f16>> for Values {
    fn from(values: Vec<f16>) -> Self {
        Self::F16(values)
    }
}

impl From<Vec<bf16>> for Values {
    fn from(values: Vec<bf16>) -> Self {
        Self::Bf16(values)
    }
}

/// Vectors `[rows, dim]` of finite values, ready to be compared by one [`Similarity`].
///
/// With [`Similarity::Cosine`] each row is scaled to length one: the length is computed in f64, so that values near the
/// limits of f32 neither overflow nor vanish, and the scaled values are rounded to the precision of the storage. A row
/// of zeros has no direction; it stays zero and has similarity 0 to everything, itself included. From then on the stored
/// values are the vectors: every order in this crate is that of f64 arithmetic over them.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Error, Similarity, Vectors};
///
/// let vectors = Vectors::new(vec![3.0, 4.0, 0.0, 0.0], 2, Similarity::Cosine)?;
/// assert_eq!((vectors.len(), vectors.dim()), (2, 2));
/// assert_eq!(*vectors.row(0), [0.6, 0.8]);
/// assert_eq!(*vectors.row(1), [0.0, 0.0]);
///
/// let broken = Vectors::new(vec![1.0, f32::INFINITY], 2, Similarity::Dot);
/// assert_eq!(broken.unwrap_err(), Error::NotFinite { row: 0, column: 1, value: f32::INFINITY });
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    values: Values,
    dim: usize,
    similarity: Similarity,
}

impl Vectors {
    /// Takes `values` (a `Vec` of f32, f16 or bf16) as rows of `dim` values.
    ///
    /// # Errors
    ///
    /// [`Error::ZeroDim`], [`Error::Length`] if the last row is incomplete, and [`Error::NotFinite`] for the first NaN
    /// or infinity.
    pub fn new(
        values: impl Into<Values>,
        dim: usize,
        similarity: Similarity,
    ) -> Result<Self, Error> {
        let mut values = values.into();
        values.check(dim)?;
        if similarity == Similarity::Cosine {
            values.for_each_row(dim, normalise);
        }
        Ok(Self { values, dim, similarity })
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The number of values in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// What the rows are compared by.
    pub fn similarity(&self) -> Similarity {
        self.similarity
    }

    /// The bytes that the values take.
    pub fn bytes(&self) -> usize {
        self.values.len() * self.values.precision().bytes()
    }

    /// The bytes of a copy of all rows as f32, where they are not stored so.
    pub(crate) fn widened_bytes(&self) -> usize {
        match self.values.precision() {
            Precision::F32 => 0,
            _ => 4 * self.values.len(),
        }
    }

    /// The stored values, row after row.
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// Row `i` as f32; borrowed where it is stored so.
    ///
    /// # Panics
    ///
    /// If there are not more than `i` rows.
    pub fn row(&self, i: usize) -> Cow<'_, [f32]> {
        self.rows(i..i + 1)
    }

    /// Some rows as f32, one after the other; borrowed where they are stored so.
    ///
    /// # Panics
    ///
    /// If there are not that many rows.
    pub fn rows(&self, rows: Range<usize>) -> Cow<'_, [f32]> {
        self.values.range(rows.start * self.dim..rows.end * self.dim)
    }

    /// The rows with these indices, in this order; an index may come more than once.
    ///
    /// # Panics
    ///
    /// If there is no row with one of the indices.
    pub fn select(&self, rows: &[u32]) -> Self {
        let values = self.values.select(rows, self.dim);
        Self { values, dim: self.dim, similarity: self.similarity }
    }

    /// How near row `i` is to row `j` of `other`, in f64: the number that every order is made of.
    ///
    /// [`Similarity::Euclidean`] gives minus the *squared* distance.
    ///
    /// # Panics
    ///
    /// If there are no such rows, or if the dimensions differ.
    pub fn closeness(&self, i: usize, other: &Self, j: usize) -> f64 {
        closeness(self.similarity, &self.row(i), &other.row(j))
    }
}

/// How near two rows are, in f64: the dot product, or minus the squared distance.
pub(crate) fn closeness(similarity: Similarity, a: &[f32], b: &[f32]) -> f64 {
    match similarity {
        Similarity::Cosine | Similarity::Dot => dot_f64(a, b),
        // Not the negation of a zero, which would be told apart from zero.
        Similarity::Euclidean => 0.0 - squared_distance_f64(a, b),
    }
}

/// The value that users see for a closeness.
pub(crate) fn shown(similarity: Similarity, closeness: f64) -> f32 {
    match similarity {
        Similarity::Cosine | Similarity::Dot => closeness as f32,
        Similarity::Euclidean => -(-closeness).sqrt() as f32,
    }
}

/// The first of the values that is not `finite`.
pub(crate) fn first_not_finite<T: Copy + Sync>(
    values: &[T],
    finite: impl Fn(T) -> bool + Sync,
) -> Option<usize> {
    const CHUNK: usize = 1 << 14;
    values.par_chunks(CHUNK).enumerate().find_map_first(|(at, chunk)| {
        // Without an end ahead of the last one, so that vectors can do it.
        if chunk.iter().fold(true, |all, &value| all & finite(value)) {
            return None;
        }
        Some(at * CHUNK + chunk.iter().position(|&value| !finite(value))?)
    })
}

/// Scales a row to length one; zeros stay zeros.
pub(crate) fn normalise(row: &mut [f32]) {
    let norm = dot_f64(row, row).sqrt();
    if norm > 0.0 {
        for value in row {
            *value = (f64::from(*value) / norm) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Similarity::{Cosine, Dot, Euclidean};

    #[test]
    fn vectors_are_checked() {
        assert_eq!(Vectors::new(vec![1.0], 0, Dot), Err(Error::ZeroDim));
        assert_eq!(Vectors::new(vec![1.0; 5], 2, Dot), Err(Error::Length { values: 5, dim: 2 }));
        let mut data = vec![0.5; 12];
        data[7] = f32::NEG_INFINITY;
        let expected = Error::NotFinite { row: 2, column: 1, value: f32::NEG_INFINITY };
        assert_eq!(Vectors::new(data, 3, Cosine), Err(expected.clone()));
        let mut data = vec![f16::ONE; 12];
        data[7] = f16::NEG_INFINITY;
        assert_eq!(Vectors::new(data, 3, Cosine), Err(expected.clone()));
        let mut data = vec![bf16::ONE; 12];
        data[7] = bf16::NEG_INFINITY;
        assert_eq!(Vectors::new(data, 3, Cosine), Err(expected));
        assert!(Vectors::new(Vec::<f32>::new(), 4, Dot).unwrap().is_empty());
    }

    #[test]
    fn huge_and_tiny_rows_reach_length_one() {
        let rows = Vectors::new(vec![3e38, 3e38, 1e-45, 0.0], 2, Cosine).unwrap();
        assert!((rows.row(0)[0] - 0.5f32.sqrt()).abs() < 1e-7);
        assert_eq!(*rows.row(1), [1.0, 0.0]);
    }

    #[test]
    fn half_rows_are_scaled_and_rounded() {
        let data: Vec<f16> = [3.0, 4.0, 5.0, 12.0].map(f16::from_f32).to_vec();
        let rows = Vectors::new(data, 2, Cosine).unwrap();
        assert_eq!(*rows.row(0), [0.6, 0.8].map(|value| f16::from_f32(value).to_f32()));
        let data: Vec<bf16> = [3.0, 4.0].map(bf16::from_f32).to_vec();
        let unscaled = Vectors::new(data, 2, Dot).unwrap();
        assert_eq!(*unscaled.row(0), [3.0, 4.0]);
    }

    #[test]
    fn closeness_by_hand() {
        let of = |similarity| {
            let rows = Vectors::new(vec![3.0, 4.0, 0.0, 8.0], 2, similarity).unwrap();
            rows.closeness(0, &rows, 1)
        };
        assert!((of(Cosine) - 0.8).abs() < 1e-7);
        assert_eq!(of(Dot), 32.0);
        assert_eq!(of(Euclidean), -25.0);
        assert_eq!(shown(Euclidean, -25.0), -5.0);
    }

    #[test]
    fn a_selection_keeps_its_order() {
        let rows = Vectors::new(vec![1.0, 2.0, 3.0], 1, Dot).unwrap();
        assert_eq!(*rows.select(&[2, 0, 2]).rows(0..3), [3.0, 1.0, 3.0]);
    }
}
