//! How much clusters and labels say about each other: mutual information, normalised and adjusted for chance.
//!
//! All logarithms are natural, all sums f64 in an order that the labels alone fix.

use crate::Error;

/// What mutual information is divided by, from the entropies of the two labellings. Numbers with different normalisers
/// do not compare.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Normaliser {
    /// Their arithmetic mean: scikit-learn's default since version 0.22, and pytorch-metric-learning's.
    #[default]
    Arithmetic,
    /// Their geometric mean: scikit-learn's NMI up to 0.21, and so that of many older papers.
    Geometric,
    /// The smaller one.
    Smaller,
    /// The larger one: scikit-learn's AMI up to 0.21.
    Larger,
}

impl Normaliser {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            Self::Arithmetic => (a + b) / 2.0,
            Self::Geometric => (a * b).sqrt(),
            Self::Smaller => a.min(b),
            Self::Larger => a.max(b),
        }
    }
}

/// Normalised mutual information of two labellings of the same rows, in `0..=1`.
///
/// Strehl and Ghosh, "Cluster Ensembles", JMLR 3, 2002; Manning, Raghavan and Schütze, "Introduction to Information
/// Retrieval", 2008, section 16.3. It grows with the number of clusters even for random ones; prefer
/// [`adjusted_mutual_information`]. Two labellings that both put all rows together score 1; no information scores 0.
///
/// # Errors
///
/// [`Error::LabelLists`] if the two differ in length.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::cluster::{Normaliser, normalised_mutual_information};
///
/// // Names do not matter. Splitting a class costs: ln 2 of information against entropies ln 2 and 1.5 ln 2.
/// let found = normalised_mutual_information(&[7, 7, 3, 9], &[0, 0, 1, 1], Normaliser::Arithmetic)?;
/// assert!((found - 1.0 / 1.25).abs() < 1e-12);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn normalised_mutual_information(
    a: &[u32],
    b: &[u32],
    normaliser: Normaliser,
) -> Result<f64, Error> {
    let table = Contingency::of(a, b)?;
    if table.is_trivial() {
        return Ok(1.0);
    }
    let information = table.information();
    if information <= f64::EPSILON {
        return Ok(0.0);
    }
    Ok((information / normaliser.of(table.entropy(&table.rows), table.entropy(&table.columns)))
        .min(1.0))
}

/// Mutual information of two labellings of the same rows, adjusted for chance: 1 for equal ones, 0 on average for random
/// ones with the same sizes, possibly negative.
///
/// (MI - E) / (normaliser - E), where E is the mean of MI over all labellings with the same cluster sizes: Vinh, Epps and
/// Bailey, "Information Theoretic Measures for Clusterings Comparison", JMLR 11, 2010, equation 24a. E is a sum over pairs
/// of cluster sizes; equal sizes are summed once, so 11,316 clusters cost no more than a few sizes do.
///
/// # Errors
///
/// [`Error::LabelLists`] if the two differ in length.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::cluster::{Normaliser, adjusted_mutual_information};
///
/// let found = adjusted_mutual_information(&[0, 0, 1, 1], &[0, 1, 0, 1], Normaliser::Arithmetic)?;
/// assert!((found + 0.5).abs() < 1e-12); // worse than chance
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn adjusted_mutual_information(
    a: &[u32],
    b: &[u32],
    normaliser: Normaliser,
) -> Result<f64, Error> {
    let table = Contingency::of(a, b)?;
    if table.is_trivial() {
        return Ok(1.0);
    }
    let (information, expected) = (table.information(), table.expected_information());
    let most = normaliser.of(table.entropy(&table.rows), table.entropy(&table.columns));
    // As scikit-learn: never divide by zero, and keep the sign.
    let room = most - expected;
    let room = if room < 0.0 { room.min(-f64::EPSILON) } else { room.max(f64::EPSILON) };
    Ok((information - expected) / room)
}

/// How many rows each pair of clusters shares.
struct Contingency {
    total: u64,
    /// Sizes of the clusters of the first labelling, and of the second.
    rows: Vec<u64>,
    columns: Vec<u64>,
    /// Row, column and count of the pairs that share any, in order.
    shared: Vec<(usize, usize, u64)>,
}

impl Contingency {
    fn of(a: &[u32], b: &[u32]) -> Result<Self, Error> {
        if a.len() != b.len() {
            return Err(Error::LabelLists { first: a.len(), second: b.len() });
        }
        let ((a, rows), (b, columns)) = (dense(a), dense(b));
        let mut pairs: Vec<(usize, usize)> = a.into_iter().zip(b).collect();
        pairs.sort_unstable();
        let shared =
            pairs.chunk_by(|x, y| x == y).map(|run| (run[0].0, run[0].1, run.len() as u64));
        Ok(Self { total: pairs.len() as u64, rows, columns, shared: shared.collect() })
    }

    /// Whether neither labelling tells any rows apart.
    fn is_trivial(&self) -> bool {
        self.rows.len() <= 1 && self.columns.len() <= 1
    }

    fn entropy(&self, sizes: &[u64]) -> f64 {
        let total = self.total as f64;
        -sizes.iter().map(|&n| n as f64 / total * (n as f64 / total).ln()).sum::<f64>()
    }

    fn information(&self) -> f64 {
        let total = self.total as f64;
        let term = |&(row, column, count): &(usize, usize, u64)| {
            let independent = self.rows[row] as f64 * self.columns[column] as f64;
            let count = count as f64;
            count / total * (total * count / independent).ln()
        };
        self.shared.iter().map(term).sum::<f64>().max(0.0)
    }

    /// The mean of [`Contingency::information`] over all labellings with these sizes (hypergeometric model).
    fn expected_information(&self) -> f64 {
        let (total, log_factorial) = (self.total as f64, log_factorials(self.total));
        let log_factorial = |n: u64| log_factorial[n as usize];
        let (rows, columns) = (counted(&self.rows), counted(&self.columns));
        let mut sum = 0.0;
        for &(a, times_a) in &rows {
            for &(b, times_b) in &columns {
                let fixed = log_factorial(a) + log_factorial(b) - log_factorial(self.total)
                    + log_factorial(self.total - a)
                    + log_factorial(self.total - b);
                let first = (a + b).saturating_sub(self.total).max(1);
                let of_pair: f64 = (first..=a.min(b))
                    .map(|n| {
                        let probability = fixed
                            - log_factorial(n)
                            - log_factorial(a - n)
                            - log_factorial(b - n)
                            - log_factorial(self.total + n - a - b);
                        let gain = (total * n as f64 / (a as f64 * b as f64)).ln();
                        n as f64 / total * gain * probability.exp()
                    })
                    .sum();
                sum += of_pair * times_a as f64 * times_b as f64;
            }
        }
        sum
    }
}

/// Labels as numbers from zero, in ascending order of the labels, and how often each occurs.
fn dense(labels: &[u32]) -> (Vec<usize>, Vec<u64>) {
    let mut names = labels.to_vec();
    names.sort_unstable();
    names.dedup();
    let mut sizes = vec![0; names.len()];
    let numbers = labels.iter().map(|label| {
        let number = names.partition_point(|name| name < label);
        sizes[number] += 1;
        number
    });
    (numbers.collect(), sizes)
}

/// The different sizes, ascending, and how often each occurs.
fn counted(sizes: &[u64]) -> Vec<(u64, u64)> {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.chunk_by(|a, b| a == b).map(|run| (run[0], run.len() as u64)).collect()
}

/// ln n! for n up to `last`. The rounding of each sum is carried along (Neumaier), so that a long table stays exact to the
/// last bits.
fn log_factorials(last: u64) -> Vec<f64> {
    let (mut sum, mut lost) = (0.0f64, 0.0);
    let mut next = |n: u64| {
        let term = (n.max(1) as f64).ln();
        let total = sum + term;
        lost += if sum > term { (sum - total) + term } else { (term - total) + sum };
        sum = total;
        sum + lost
    };
    (0..=last).map(&mut next).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use Normaliser::{Arithmetic, Geometric, Larger, Smaller};

    fn close(found: Result<f64, Error>, expected: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-12, "found {found}, expected {expected}");
    }

    #[test]
    fn split_classes_by_hand() {
        // MI = ln 2; entropies 1.5 ln 2 and ln 2.
        let (a, b) = ([7, 7, 3, 9], [0, 0, 1, 1]);
        close(normalised_mutual_information(&a, &b, Geometric), 1.0 / 1.5f64.sqrt());
        close(normalised_mutual_information(&a, &b, Smaller), 1.0);
        close(normalised_mutual_information(&a, &b, Larger), 1.0 / 1.5);
    }

    #[test]
    fn the_expected_information_is_the_mean_over_all_orders() {
        // All 720 orders of the second labelling, written out.
        let (a, b) = ([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 1]);
        let mut order = [0, 1, 2, 3, 4, 5];
        let (mut sum, mut count) = (0.0, 0.0);
        permute(&mut order, 0, &mut |order| {
            let shuffled: Vec<u32> = order.iter().map(|&i| b[i]).collect();
            sum += Contingency::of(&a, &shuffled).unwrap().information();
            count += 1.0;
        });
        assert_eq!(count, 720.0);
        let expected = Contingency::of(&a, &b).unwrap().expected_information();
        assert!((sum / count - expected).abs() < 1e-12);
    }

    fn permute(order: &mut [usize; 6], from: usize, visit: &mut impl FnMut(&[usize; 6])) {
        if from == order.len() {
            return visit(order);
        }
        for other in from..order.len() {
            order.swap(from, other);
            permute(order, from + 1, visit);
            order.swap(from, other);
        }
    }

    #[test]
    fn equal_labellings_score_one_and_none_scores_zero() {
        for normaliser in [Arithmetic, Geometric, Smaller, Larger] {
            close(normalised_mutual_information(&[4, 4, 5], &[1, 1, 0], normaliser), 1.0);
            close(adjusted_mutual_information(&[4, 4, 5], &[1, 1, 0], normaliser), 1.0);
            for trivial in [&[][..], &[3], &[3, 3]] {
                close(normalised_mutual_information(trivial, trivial, normaliser), 1.0);
                close(adjusted_mutual_information(trivial, trivial, normaliser), 1.0);
            }
            close(normalised_mutual_information(&[0, 0, 0], &[0, 1, 2], normaliser), 0.0);
        }
    }

    #[test]
    fn a_long_table_stays_exact() {
        // ln 100000! by Stirling's series.
        let n = 100_000f64;
        let stirling =
            n * n.ln() - n + (2.0 * std::f64::consts::PI * n).ln() / 2.0 + 1.0 / (12.0 * n);
        let table = log_factorials(100_000);
        assert!((table[100_000] - stirling).abs() < 5e-10);
        assert_eq!(table[..3], [0.0, 0.0, 2f64.ln()]);
    }

    #[test]
    fn lists_of_different_lengths_are_an_error() {
        let found = adjusted_mutual_information(&[1], &[1, 2], Arithmetic);
        assert_eq!(found, Err(Error::LabelLists { first: 1, second: 2 }));
    }
}
