//! How near positives and negatives are, without meeting every pair.
//!
//! The mean cosine of all pairs follows from the sum of the rows, the mean squared cosine from their Gram matrix:
//! Σ (x·y)² over all x and y is the sum of the squared entries of Xᵀ·X. Classes are summed alike, and what is left of all
//! pairs is negative. So a million rows cost a million times dim², not a million times a million.

use rayon::prelude::*;

use crate::linear::Moments;
use crate::verification::{VerificationConfig, verify_within};
use crate::{Error, Options, Vectors};

/// Mean and standard deviation over pairs of cosine similarities.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, with the number of pairs as divisor.
    pub deviation: f64,
    /// How many pairs.
    pub pairs: u64,
}

/// How near positives and negatives are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SimilarityHealth {
    /// Pairs `i < j` of one class; nothing without such pairs.
    pub positive: Option<Spread>,
    /// Pairs `i < j` of different classes; nothing without such pairs.
    pub negative: Option<Spread>,
    /// The mean squared distance of positive pairs of unit rows, 2 - 2 cos: lower is better. Nothing without such pairs.
    ///
    /// Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    /// Hypersphere", ICML 2020, with α = 2.
    pub alignment: Option<f64>,
}

/// Mean and spread of the cosines of all positive and all negative pairs, and alignment.
///
/// Rows are scaled to length one in f64 first, whatever they are prepared for; rows of zeros have cosine 0 to everything.
/// The same for any number of threads.
///
/// # Errors
///
/// [`Error::ColumnLength`] if a row lacks a label; [`Error::Memory`] if the matrices of moments, or a thread's class, do
/// not fit.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Options, Similarity, Vectors};
/// use crossbatch_retrieval::health::similarity_health;
///
/// let rows = Vectors::new(vec![1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.6, 0.8], 2, Similarity::Cosine)?;
/// let found = similarity_health(&rows, &[0, 0, 1, 1], &Options::default())?;
/// let (positive, negative) = (found.positive.unwrap(), found.negative.unwrap());
/// assert!((positive.mean - (1.0 + 0.8) / 2.0).abs() < 1e-6);
/// assert!((negative.mean - (0.0 + 0.6) / 2.0).abs() < 1e-6);
/// assert!((negative.deviation - 0.3).abs() < 1e-6);
/// assert!((found.alignment.unwrap() - (2.0 - 2.0 * 0.9)).abs() < 1e-6);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn similarity_health(
    rows: &Vectors,
    labels: &[u32],
    options: &Options<'_>,
) -> Result<SimilarityHealth, Error> {
    if rows.len() != labels.len() {
        let (side, what, values) = ("query set", "labels", labels.len());
        return Err(Error::ColumnLength { side, what, rows: rows.len(), values });
    }
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&row| labels[row]);
    let classes: Vec<&[usize]> = order.chunk_by(|&a, &b| labels[a] == labels[b]).collect();
    let largest = classes.iter().map(|class| class.len()).max().unwrap_or(0);
    let (threads, dim) = (rayon::current_num_threads(), rows.dim());
    // A class of more rows than dimensions is copied, and has moments of its own.
    let of_class = match largest > dim {
        true => Moments::bytes(dim) + 4 * largest * (dim + 1),
        false => 8 * largest * (dim + 3),
    };
    options.less(24 * rows.len() + Moments::bytes(dim).max(threads * of_class))?;
    let all = Sums::of_moments(&Moments::of(rows, normalise));
    let parts: Vec<Sums> = classes.par_iter().map(|class| Sums::of_class(rows, class)).collect();
    let positive = parts.into_iter().fold(Sums::default(), Sums::plus);
    let negative = all.minus(&positive);
    let positive = positive.spread();
    Ok(SimilarityHealth {
        positive,
        negative: negative.spread(),
        alignment: positive.map(|spread| 2.0 - 2.0 * spread.mean),
    })
}

/// Uniformity of unit rows: the logarithm of the mean over pairs `i < j` of exp(-2 |x - y|²). Lower is more uniform; 0 is
/// collapse.
///
/// Wang and Isola, ICML 2020, with t = 2. Exact up to `config.exact_pairs` pairs; beyond, cosines are counted in bins, and the
/// error is far below the width of a bin (it is of second order). The vectors must be prepared for cosines.
///
/// # Errors
///
/// [`Error::NotCosine`] for other vectors, [`Error::NoRows`] for fewer than two rows, and as [`verify_within`].
pub fn uniformity(
    rows: &Vectors,
    config: &VerificationConfig,
    options: &Options<'_>,
) -> Result<f64, Error> {
    if rows.similarity() != crate::Similarity::Cosine {
        return Err(Error::NotCosine { what: "uniformity", similarity: rows.similarity() });
    }
    if rows.len() < 2 {
        return Err(Error::NoRows { what: "uniformity of pairs" });
    }
    if rows.len() == 2 {
        return Ok(-4.0 + 4.0 * rows.closeness(0, rows, 1));
    }
    // All pairs count alike; a label apart for the first row makes them two kinds, as a curve wants.
    let labels: Vec<u32> = (0..rows.len()).map(|row| u32::from(row > 0)).collect();
    let curve = verify_within(rows, &labels, config, options)?;
    Ok(curve.mean_of(|cosine| (4.0 * cosine - 4.0).exp()).ln())
}

/// Scales a row to length one; zeros stay zeros.
fn normalise(row: &mut [f64]) {
    let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
    if norm > 0.0 {
        row.iter_mut().for_each(|value| *value /= norm);
    }
}

/// Sums over pairs `i < j`.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    pairs: u64,
    sum: f64,
    squares: f64,
}

impl Sums {
    fn of_moments(moments: &Moments) -> Self {
        let n = moments.rows as u64;
        let square = |values: &[f64]| values.iter().map(|value| value * value).sum::<f64>();
        // Each row meets itself with cosine 1, or 0 if it is zero: the trace counts them.
        let own: f64 = moments.gram.iter().step_by(moments.dim + 1).sum();
        Self {
            pairs: n * n.saturating_sub(1) / 2,
            sum: (square(&moments.sum) - own) / 2.0,
            squares: (square(&moments.gram) - own) / 2.0,
        }
    }

    /// The pairs within some rows: one by one where they are few, from their moments where they are more than dimensions.
    fn of_class(rows: &Vectors, class: &[usize]) -> Self {
        if class.len() > rows.dim() {
            let indices: Vec<u32> = class.iter().map(|&row| row as u32).collect();
            return Self::of_moments(&Moments::of(&rows.select(&indices), normalise));
        }
        let unit = |&row: &usize| {
            let mut values: Vec<f64> = rows.row(row).iter().map(|&x| f64::from(x)).collect();
            normalise(&mut values);
            values
        };
        let units: Vec<Vec<f64>> = class.iter().map(unit).collect();
        let mut sums = Self::default();
        for (i, a) in units.iter().enumerate() {
            for b in &units[..i] {
                let cosine: f64 = a.iter().zip(b).map(|(x, y)| x * y).sum();
                sums.pairs += 1;
                sums.sum += cosine;
                sums.squares += cosine * cosine;
            }
        }
        sums
    }

    fn plus(self, other: Self) -> Self {
        Self {
            pairs: self.pairs + other.pairs,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }

    fn minus(self, other: &Self) -> Self {
        Self {
            pairs: self.pairs - other.pairs,
            sum: self.sum - other.sum,
            squares: self.squares - other.squares,
        }
    }

    fn spread(&self) -> Option<Spread> {
        let pairs = self.pairs as f64;
        let mean = self.sum / pairs;
        let deviation = (self.squares / pairs - mean * mean).max(0.0).sqrt();
        (self.pairs > 0).then_some(Spread { mean, deviation, pairs: self.pairs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Similarity;

    fn rows(count: usize, dim: usize) -> (Vectors, Vec<u32>) {
        let value = |i: usize| ((i * 7919 + 31) % 1009) as f32 / 500.0 - 0.8;
        let data: Vec<f32> = (0..count * dim).map(value).collect();
        let labels = (0..count).map(|row| (row * row % 7) as u32).collect();
        (Vectors::new(data, dim, Similarity::Cosine).unwrap(), labels)
    }

    fn written_out(rows: &Vectors, labels: &[u32]) -> [Option<Spread>; 2] {
        [true, false].map(|same| {
            let mut cosines = Vec::new();
            for i in 0..rows.len() {
                for j in 0..i {
                    if (labels[i] == labels[j]) == same {
                        cosines.push(rows.closeness(i, rows, j));
                    }
                }
            }
            let pairs = cosines.len() as f64;
            let mean = cosines.iter().sum::<f64>() / pairs;
            let deviation =
                (cosines.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / pairs).sqrt();
            (pairs > 0.0).then_some(Spread { mean, deviation, pairs: cosines.len() as u64 })
        })
    }

    #[test]
    fn sums_agree_with_all_pairs_written_out() {
        for (count, dim) in [(0, 3), (1, 3), (2, 2), (40, 30), (150, 4), (300, 11)] {
            let (rows, labels) = rows(count, dim);
            let found = similarity_health(&rows, &labels, &Options::default()).unwrap();
            for (found, expected) in
                [found.positive, found.negative].into_iter().zip(written_out(&rows, &labels))
            {
                assert_eq!(found.is_some(), expected.is_some(), "{count} x {dim}");
                if let (Some(found), Some(expected)) = (found, expected) {
                    assert_eq!(found.pairs, expected.pairs);
                    assert!((found.mean - expected.mean).abs() < 1e-6);
                    assert!((found.deviation - expected.deviation).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn a_collapsed_set_has_no_spread() {
        let rows = Vectors::new([0.6, 0.8].repeat(20), 2, Similarity::Cosine).unwrap();
        let labels: Vec<u32> = (0..20).map(|row| row / 10).collect();
        let found = similarity_health(&rows, &labels, &Options::default()).unwrap();
        let negative = found.negative.unwrap();
        assert!((negative.mean - 1.0).abs() < 1e-12 && negative.deviation < 1e-6);
        assert!(found.alignment.unwrap().abs() < 1e-12);
        let config = VerificationConfig::default();
        assert!(uniformity(&rows, &config, &Options::default()).unwrap().abs() < 1e-6);
    }

    #[test]
    fn uniformity_by_hand_and_in_bins() {
        let options = Options::default();
        let exact = VerificationConfig::default();
        // Opposite and orthogonal: |x - y|² is 4 once, and 2 twice.
        let cross =
            Vectors::new(vec![1.0, 0.0, -1.0, 0.0, 0.0, 1.0], 2, Similarity::Cosine).unwrap();
        let expected = ((2.0 * (-4f64).exp() + (-8f64).exp()) / 3.0).ln();
        assert!((uniformity(&cross, &exact, &options).unwrap() - expected).abs() < 1e-9);
        let (rows, _) = rows(500, 6);
        let binned = VerificationConfig { exact_pairs: 0, ..exact };
        let both = [exact, binned].map(|config| uniformity(&rows, &config, &options).unwrap());
        assert!((both[0] - both[1]).abs() < 1e-5, "{both:?}");
        let pair = cross.select(&[0, 2]);
        assert!((uniformity(&pair, &exact, &options).unwrap() + 4.0).abs() < 1e-9);
        assert!(uniformity(&cross.select(&[0]), &exact, &options).is_err());
    }
}
