//! Principal components and whitening.

use crossbatch_math::product::rows_times_rows;
use rayon::prelude::*;

use crate::linear::{Eigen, Moments, symmetric};
use crate::{Error, Options, Vectors};

/// Rows turned together. Fixed, so that the rounding of a product does not hang on threads.
const CHUNK: usize = 256;

/// What to learn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PcaConfig {
    /// How many components to keep; nothing: all of them. Default: nothing.
    pub components: Option<usize>,
    /// Whether each component is scaled to variance 1 (whitening). Default: false.
    pub whiten: bool,
    /// Added to each variance before whitening, as a share of the largest, so that directions of hardly any variance are
    /// not blown up. Default: 1e-6.
    pub floor: f64,
}

impl Default for PcaConfig {
    fn default() -> Self {
        Self { components: None, whiten: false, floor: 1e-6 }
    }
}

/// A mean, directions and scales, learnt from some rows and applied to any.
///
/// Jégou and Chum, "Negative evidences and co-occurrences in image retrieval: the benefit of PCA and whitening", ECCV 2012.
/// Learn on training rows: learning on the rows that are judged looks at the test set, though not at its labels.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Options, Similarity, Vectors};
/// use crossbatch_retrieval::postprocess::{Pca, PcaConfig};
///
/// // Along one diagonal, around (1, 2).
/// let rows = Vectors::new(vec![0.0, 1.0, 2.0, 3.0, 1.0, 2.0], 2, Similarity::Euclidean)?;
/// let (config, options) = (PcaConfig { components: Some(1), ..PcaConfig::default() }, Options::default());
/// let pca = Pca::fit(&rows, &config, &options)?;
/// let found = pca.apply(&rows, &options)?;
/// assert_eq!((found.len(), found.dim()), (3, 1));
/// assert!((found.row(1)[0] - 2f32.sqrt()).abs() < 1e-6);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Pca {
    mean: Vec<f64>,
    /// `[components, dim]`, scaled if whitening.
    directions: Vec<f64>,
    variances: Vec<f64>,
}

impl Pca {
    /// Learns from the rows as they are stored, in f64. The same for any number of threads.
    ///
    /// # Errors
    ///
    /// [`Error::NoRows`] without rows, [`Error::Setting`] for no component, for more than there are dimensions, or for a
    /// negative floor; [`Error::Memory`] if the matrices do not fit.
    pub fn fit(rows: &Vectors, config: &PcaConfig, options: &Options<'_>) -> Result<Self, Error> {
        let dim = rows.dim();
        let components = config.components.unwrap_or(dim);
        if rows.is_empty() {
            return Err(Error::NoRows { what: "learning principal components" });
        }
        if components == 0 || components > dim {
            let expected = "at least 1, at most the dimensions of the vectors";
            return Err(Error::Setting { name: "components", value: components as f64, expected });
        }
        if !(config.floor >= 0.0 && config.floor.is_finite()) {
            let expected = "a finite share of at least 0";
            return Err(Error::Setting { name: "floor", value: config.floor, expected });
        }
        options.less(Moments::bytes(dim) + 4 * 8 * dim * dim)?;
        let moments = Moments::of(rows, |_| {});
        let Eigen { mut values, vectors: mut directions } = symmetric(moments.covariance(), dim);
        values.truncate(components);
        directions.truncate(components * dim);
        if config.whiten {
            let floor = config.floor * values[0];
            for (direction, variance) in directions.chunks_exact_mut(dim).zip(&values) {
                let variance = variance.max(0.0) + floor;
                // What does not vary at all stays at zero.
                let scale = if variance > 0.0 { 1.0 / variance.sqrt() } else { 0.0 };
                direction.iter_mut().for_each(|x| *x *= scale);
            }
        }
        Ok(Self { mean: moments.mean(), directions, variances: values })
    }

    /// The variance along each component, descending, before whitening.
    pub fn variances(&self) -> &[f64] {
        &self.variances
    }

    /// Centres and turns (and whitens) rows; those prepared for cosines are scaled to length one again.
    ///
    /// # Errors
    ///
    /// [`Error::Dim`] for rows of another dimension; [`Error::Memory`] if the answer does not fit beside the rows.
    pub fn apply(&self, rows: &Vectors, options: &Options<'_>) -> Result<Vectors, Error> {
        let dim = self.mean.len();
        if rows.dim() != dim {
            return Err(Error::Dim { queries: rows.dim(), gallery: dim });
        }
        let components = self.variances.len();
        // The parts of the answer, and the answer.
        let threads = 4 * rayon::current_num_threads() * CHUNK * (dim + components);
        options.less(8 * rows.len() * components + 4 * components * dim + threads)?;
        let directions: Vec<f32> = self.directions.iter().map(|&x| x as f32).collect();
        let turn = |first: usize| -> Vec<f32> {
            let mut stored = rows.rows(first..(first + CHUNK).min(rows.len())).into_owned();
            for row in stored.chunks_exact_mut(dim) {
                let centred = row.iter_mut().zip(&self.mean);
                centred.for_each(|(x, mean)| *x = (f64::from(*x) - mean) as f32);
            }
            let mut turned = vec![0.0; stored.len() / dim * components];
            rows_times_rows(&stored, &directions, dim, &mut turned);
            turned
        };
        let firsts: Vec<usize> = (0..rows.len()).step_by(CHUNK).collect();
        let turned: Vec<Vec<f32>> = firsts.into_par_iter().map(turn).collect();
        Vectors::new(turned.concat(), components, rows.similarity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Similarity;

    fn rows(count: usize, dim: usize) -> Vectors {
        let value = |i: usize| ((i as f64 * 12.9898).sin() * 43758.5453).fract();
        let mixed = |row: usize, d: usize| {
            (value(row * dim + d) * (d + 1) as f64 + 3.0 * value(row * dim) + d as f64) as f32
        };
        let data = (0..count).flat_map(|row| (0..dim).map(move |d| mixed(row, d)));
        Vectors::new(data.collect::<Vec<f32>>(), dim, Similarity::Euclidean).unwrap()
    }

    fn fit(rows: &Vectors, config: &PcaConfig) -> Result<Pca, Error> {
        Pca::fit(rows, config, &Options::default())
    }

    fn turned(rows: &Vectors, config: &PcaConfig) -> Vectors {
        fit(rows, config).unwrap().apply(rows, &Options::default()).unwrap()
    }

    #[test]
    fn all_components_keep_every_distance() {
        let rows = rows(60, 7);
        let turned = turned(&rows, &PcaConfig::default());
        for i in 0..60 {
            let (before, after) = (rows.closeness(i, &rows, 3), turned.closeness(i, &turned, 3));
            assert!((before - after).abs() < 1e-4 * (1.0 - before));
        }
    }

    #[test]
    fn whitened_components_have_variance_one_and_do_not_hang_together() {
        let rows = rows(400, 5);
        let config = PcaConfig { whiten: true, floor: 0.0, components: Some(4) };
        let found = turned(&rows, &config);
        let covariance = Moments::of(&found, |_| {}).covariance();
        for (at, value) in covariance.iter().enumerate() {
            let expected = f64::from(u8::from(at / 4 == at % 4));
            assert!((value - expected).abs() < 1e-5, "{covariance:?}");
        }
    }

    #[test]
    fn equal_rows_stay_finite() {
        let rows = Vectors::new(vec![0.6, 0.8, 0.6, 0.8], 2, Similarity::Cosine).unwrap();
        for floor in [0.0, 1e-6] {
            let config = PcaConfig { whiten: true, floor, components: None };
            let found = turned(&rows, &config);
            assert_eq!(found.len(), 2);
        }
    }

    #[test]
    fn mistakes_are_errors() {
        let rows = rows(5, 3);
        for components in [0, 4] {
            let config = PcaConfig { components: Some(components), ..PcaConfig::default() };
            assert!(matches!(fit(&rows, &config), Err(Error::Setting { .. })));
        }
        let pca = fit(&rows, &PcaConfig::default()).unwrap();
        let other = Vectors::new(vec![1.0; 4], 2, Similarity::Euclidean).unwrap();
        assert_eq!(
            pca.apply(&other, &Options::default()),
            Err(Error::Dim { queries: 2, gallery: 3 })
        );
        let none = Vectors::new(Vec::<f32>::new(), 2, Similarity::Dot).unwrap();
        assert!(matches!(fit(&none, &PcaConfig::default()), Err(Error::NoRows { .. })));
    }
}
