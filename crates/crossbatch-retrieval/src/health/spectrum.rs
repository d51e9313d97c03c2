//! How many directions the embeddings use: collapse, in two numbers.

use crate::linear::{Moments, eigenvalues};
use crate::{Error, Options, Vectors};

/// The spectrum of the rows, and what follows from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrum {
    /// Eigenvalues of the covariance matrix, `[dim]`, descending: the variance along each principal component.
    pub variances: Vec<f64>,
    /// Effective rank: exp of the entropy of the singular values of the matrix of rows (not centred), each over their sum.
    /// Between 1 and dim.
    ///
    /// Roy and Vetterli, "The effective rank", EUSIPCO 2007; as a measure of representations (RankMe): Garrido et al.,
    /// ICML 2023.
    pub effective_rank: f64,
}

impl Spectrum {
    /// Principal-component fraction: the smallest number of principal components that hold `share` of the variance, over
    /// the number of dimensions. Near 1 where all dimensions are used, near 0 where the embeddings have collapsed; 1 / dim
    /// if nothing varies. The PCF of open-metric-learning, there with shares such as 0.5 and 0.95.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] if `share` does not lie in `0.0..=1.0`.
    pub fn principal_fraction(&self, share: f64) -> Result<f64, Error> {
        if !(0.0..=1.0).contains(&share) {
            let (name, expected) = ("share of the variance", "between 0 and 1");
            return Err(Error::Setting { name, value: share, expected });
        }
        let total: f64 = self.variances.iter().map(|value| value.max(0.0)).sum();
        let mut held = 0.0;
        let enough = self.variances.iter().position(|value| {
            held += value.max(0.0);
            held >= share * total
        });
        let last = self.variances.len() - 1;
        Ok((enough.unwrap_or(last) + 1) as f64 / self.variances.len() as f64)
    }
}

/// The spectrum of the rows as they are stored. f64 throughout; the same for any number of threads. Memory: dim x dim
/// values a thread.
///
/// # Errors
///
/// [`Error::NoRows`] without rows; [`Error::Memory`] if the matrices do not fit.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Options, Similarity, Vectors};
/// use crossbatch_retrieval::health::spectrum;
///
/// // Four rows along two of three axes, one as long as the other.
/// let data = vec![1.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, -1.0, 0.0];
/// let found = spectrum(&Vectors::new(data, 3, Similarity::Dot)?, &Options::default())?;
/// assert!((found.effective_rank - 2.0).abs() < 1e-6);
/// assert_eq!(found.principal_fraction(0.5)?, 1.0 / 3.0);
/// assert_eq!(found.principal_fraction(0.9)?, 2.0 / 3.0);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn spectrum(rows: &Vectors, options: &Options<'_>) -> Result<Spectrum, Error> {
    if rows.is_empty() {
        return Err(Error::NoRows { what: "a spectrum" });
    }
    let dim = rows.dim();
    options.less(Moments::bytes(dim) + 3 * 8 * dim * dim)?;
    let moments = Moments::of(rows, |_| {});
    let squares = eigenvalues(moments.gram.clone(), dim);
    // What rounding leaves of a zero is no singular value: its root would not be small.
    let noise = squares[0] * 1e-14 * dim as f64;
    let singular: Vec<f64> =
        squares.iter().filter(|&&value| value > noise).map(|value| value.sqrt()).collect();
    let total: f64 = singular.iter().sum();
    let entropy: f64 = singular.iter().map(|value| -value / total * (value / total).ln()).sum();
    let variances = eigenvalues(moments.covariance(), dim);
    Ok(Spectrum { variances, effective_rank: entropy.exp() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Similarity;

    fn spectrum(rows: &Vectors) -> Result<Spectrum, Error> {
        super::spectrum(rows, &Options::default())
    }

    #[test]
    fn a_collapsed_set_has_rank_one() {
        let rows = Vectors::new([0.6, 0.0, 0.8].repeat(50), 3, Similarity::Cosine).unwrap();
        let found = spectrum(&rows).unwrap();
        assert!((found.effective_rank - 1.0).abs() < 1e-6);
        assert!(found.variances.iter().all(|value| value.abs() < 1e-12));
    }

    #[test]
    fn rows_of_zeros_have_no_rank_but_a_number() {
        let rows = Vectors::new(vec![0.0; 8], 2, Similarity::Cosine).unwrap();
        let found = spectrum(&rows).unwrap();
        assert_eq!(found.effective_rank, 1.0);
        assert_eq!(found.principal_fraction(0.5), Ok(0.5));
        assert!(found.principal_fraction(1.5).is_err());
    }

    #[test]
    fn threads_change_nothing() {
        let value = |i: usize| ((i * 7919 + 31) % 1009) as f32 / 500.0 - 1.0;
        let data: Vec<f32> = (0..5000 * 9).map(value).collect();
        let rows = Vectors::new(data, 9, Similarity::Cosine).unwrap();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| spectrum(&rows).unwrap())
        };
        assert!(run(1) == run(2) && run(1) == run(3));
    }
}
