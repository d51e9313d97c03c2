//! All pairs, counted: sorted where they are few, in bins where they are many.

use std::ops::Range;

use crossbatch_math::product::{dot_f64, rows_times_rows};
use rayon::prelude::*;

use super::curve::{Step, VerificationCurve};
use crate::relation::Ignored;
use crate::scan::check_sides;
use crate::{Column, Error, Options, Relation, Similarity, Vectors};

/// Rows of a block on either side. Fixed, so that the rounding of a product does not hang on threads.
const BLOCK: usize = 512;

/// How pairs are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VerificationConfig {
    /// Up to so many pairs are sorted by their f64 similarity, 40 bytes each, and every number is exact. Default:
    /// 4,194,304, which is all pairs of 2,896 rows.
    pub exact_pairs: u64,
    /// With more pairs, the number of bins of equal width over all similarities there can be: for cosines the width is
    /// 2 / bins. Default: 65,536.
    pub bins: usize,
}

impl Default for VerificationConfig {
    fn default() -> Self {
        Self { exact_pairs: 1 << 22, bins: 1 << 16 }
    }
}

/// Counts all pairs `i < j` of a set.
///
/// Similarities are cosines, dot products or minus Euclidean distances, as the vectors are prepared for. In bins, they are
/// f32 products, so that a pair within 1e-6 of a bin's edge may be counted in the next one. Takes memory for the bins of
/// each thread, never for the pairs; the same numbers for any number of threads.
///
/// # Errors
///
/// [`Error::ColumnLength`] if a row lacks a label, [`Error::OneKindOfPair`] if all pairs are positive, or all negative,
/// [`Error::Setting`] for fewer than two bins, [`Error::Cancelled`] as [`Options`] says.
pub fn verify_within(
    rows: &Vectors,
    labels: &[u32],
    config: &VerificationConfig,
    options: &Options<'_>,
) -> Result<VerificationCurve, Error> {
    verify_related(rows, None, &Relation::new(labels, labels), config, options)
}

/// Counts all pairs of a query and a gallery item. See [`verify_within`].
///
/// # Errors
///
/// As [`verify_within`]; [`Error::Dim`] and [`Error::Similarity`] if the two do not fit together.
pub fn verify(
    queries: &Vectors,
    query_labels: &[u32],
    gallery: &Vectors,
    gallery_labels: &[u32],
    config: &VerificationConfig,
    options: &Options<'_>,
) -> Result<VerificationCurve, Error> {
    let relation = Relation::new(query_labels, gallery_labels);
    verify_related(queries, Some(gallery), &relation, config, options)
}

/// Counts the pairs that a ranking with `relation` would let meet: what a query ignores makes no pair with it. See
/// [`verify_within`].
///
/// Without a gallery these are pairs `i < j` of the queries, each left out if `i` ignores `j`.
///
/// # Errors
///
/// As [`verify`]; [`Error::ColumnLength`] if a row lacks a value in a column.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Column, Ignore, Options, Relation, Similarity, Vectors};
/// use crossbatch_retrieval::verification::{VerificationConfig, verify_related};
///
/// let rows = Vectors::new(vec![0.0, 1.0, 2.0, 9.0], 1, Similarity::Euclidean)?;
/// let (labels, capture) = ([0, 0, 0, 1], [5, 5, 6, 7]);
/// let ignore = Ignore::same_index().same(&[Column::within(&capture)]);
/// let relation = Relation::within(&labels).ignoring(ignore);
/// let config = VerificationConfig::default();
/// let curve = verify_related(&rows, None, &relation, &config, &Options::default())?;
/// // The first two rows show one capture, so they are no pair.
/// assert_eq!((curve.positives(), curve.negatives()), (2, 3));
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn verify_related(
    queries: &Vectors,
    gallery: Option<&Vectors>,
    relation: &Relation<'_>,
    config: &VerificationConfig,
    options: &Options<'_>,
) -> Result<VerificationCurve, Error> {
    let (a, b, within) = (queries, gallery.unwrap_or(queries), gallery.is_none());
    check_sides(a, b)?;
    let Column { queries: a_labels, gallery: b_labels } = relation.labels();
    for (side, rows, labels) in [("query set", a, a_labels), ("gallery", b, b_labels)] {
        if rows.len() != labels.len() {
            let (rows, values) = (rows.len(), labels.len());
            return Err(Error::ColumnLength { side, what: "labels", rows, values });
        }
    }
    let ignored = relation.ignored(a.len(), b.len())?;
    count(&Pairs { a, b, a_labels, b_labels, ignored, within }, config, options)
}

/// Which pairs there are.
struct Pairs<'a> {
    a: &'a Vectors,
    b: &'a Vectors,
    a_labels: &'a [u32],
    b_labels: &'a [u32],
    ignored: Ignored<'a>,
    /// Only `i < j`.
    within: bool,
}

fn count(
    pairs: &Pairs<'_>,
    config: &VerificationConfig,
    options: &Options<'_>,
) -> Result<VerificationCurve, Error> {
    let options = &options.less(pairs.ignored.bytes())?;
    let (rows, items) = (pairs.a.len() as u64, pairs.b.len() as u64);
    let total = if pairs.within { rows * rows.saturating_sub(1) / 2 } else { rows * items };
    if total <= config.exact_pairs {
        // By rows and together, then together and by threshold.
        options.less(usize::try_from(total).unwrap_or(usize::MAX).saturating_mul(40))?;
        return sorted(pairs, options);
    }
    if config.bins < 2 {
        let (name, value, expected) = ("bins", config.bins as f64, "at least 2 are needed");
        return Err(Error::Setting { name, value, expected });
    }
    // Threads may have several counts under way, each with its products.
    let counts = 16 * config.bins + 4 * BLOCK * BLOCK;
    let counts = 4 * rayon::current_num_threads() * counts + 24 * config.bins;
    options.less(counts + 16 * (pairs.a.len() + pairs.b.len()))?;
    binned(pairs, config.bins, options)
}

/// Exact: every similarity in f64, sorted.
fn sorted(pairs: &Pairs<'_>, options: &Options<'_>) -> Result<VerificationCurve, Error> {
    let tally = options.tally(pairs.a.len() as u64, pairs.a.len());
    let of_row = |i: usize| -> Result<Vec<(f64, bool)>, Error> {
        options.check()?;
        let rows = if pairs.within { i + 1 } else { 0 }..pairs.b.len();
        let mut ignored = Vec::new();
        pairs.ignored.among(i, rows.clone(), &mut ignored);
        let pair =
            |j: usize| (pairs.a.closeness(i, pairs.b, j), pairs.a_labels[i] == pairs.b_labels[j]);
        let meets = |j: &usize| ignored.binary_search(&(*j as u32)).is_err();
        let found = rows.filter(meets).map(pair).collect();
        tally.add(1);
        Ok(found)
    };
    let all: Vec<Vec<(f64, bool)>> =
        (0..pairs.a.len()).into_par_iter().map(of_row).collect::<Result<_, _>>()?;
    let mut all = all.concat();
    all.par_sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let step = |run: &[(f64, bool)]| {
        let positives = run.iter().filter(|(_, same)| *same).count() as u64;
        // Shown in f64: rounding to f32 could bring two thresholds together.
        let threshold = match pairs.a.similarity() {
            Similarity::Euclidean => -(-run[0].0).sqrt(),
            Similarity::Cosine | Similarity::Dot => run[0].0,
        };
        Step { threshold, positives, negatives: run.len() as u64 - positives }
    };
    VerificationCurve::new(all.chunk_by(|a, b| a.0 == b.0).map(step).collect(), None)
}

/// Streamed: every similarity in f32, counted in the bin that it falls into.
fn binned(
    pairs: &Pairs<'_>,
    bins: usize,
    options: &Options<'_>,
) -> Result<VerificationCurve, Error> {
    let (scale, by_label) = (Scale::of(pairs, bins), ByLabel::new(pairs.b_labels));
    let blocks: Vec<Range<usize>> = blocks(pairs.a.len()).collect();
    let tally = options.tally(blocks.len() as u64, pairs.a.len());
    // Whole numbers add up in any order, so threads may share the work as they like.
    let counts = blocks
        .into_par_iter()
        .try_fold(
            || Counts::none(bins),
            |mut counts, rows| {
                counts.add(pairs, rows, &scale, &by_label, options)?;
                tally.add(1);
                Ok(counts)
            },
        )
        .try_reduce(|| Counts::none(bins), |a, b| Ok(a.plus(&b)))?;
    let step = |bin: usize| Step {
        threshold: scale.low + bin as f64 * scale.width,
        positives: counts.positives[bin],
        negatives: counts.all[bin] - counts.positives[bin],
    };
    VerificationCurve::new((0..bins).rev().map(step).collect(), Some(scale.width))
}

/// Rows in blocks, in order.
fn blocks(rows: usize) -> impl Iterator<Item = Range<usize>> {
    (0..rows).step_by(BLOCK).map(move |first| first..(first + BLOCK).min(rows))
}

/// From similarities to bins.
struct Scale {
    low: f64,
    width: f64,
    bins: usize,
    /// Squared lengths of the rows of both sides, for distances.
    lengths: Option<(Vec<f32>, Vec<f32>)>,
}

/// The second side's rows by label, ascending within each.
struct ByLabel<'a> {
    labels: &'a [u32],
    order: Vec<u32>,
}

impl<'a> ByLabel<'a> {
    fn new(labels: &'a [u32]) -> Self {
        let mut order: Vec<u32> = (0..labels.len() as u32).collect();
        order.sort_by_key(|&row| labels[row as usize]);
        Self { labels, order }
    }

    /// The rows among `rows` with `label`.
    fn among(&self, label: u32, rows: Range<usize>) -> impl Iterator<Item = usize> {
        let place = |row: &u32| (self.labels[*row as usize], *row as usize);
        let first = self.order.partition_point(|row| place(row) < (label, rows.start));
        let count = self.order[first..].partition_point(|row| place(row) < (label, rows.end));
        self.order[first..first + count].iter().map(|&row| row as usize)
    }
}

impl Scale {
    /// A scale over everything that rows of these lengths can have between them.
    fn of(pairs: &Pairs<'_>, bins: usize) -> Self {
        let squared = |rows: &Vectors| -> Vec<f64> {
            (0..rows.len()).into_par_iter().map(|i| dot_f64(&rows.row(i), &rows.row(i))).collect()
        };
        let longest = |lengths: &[f64]| lengths.iter().fold(0.0f64, |m, &x| m.max(x)).sqrt();
        let (low, high, lengths) = match pairs.a.similarity() {
            Similarity::Cosine => (-1.0, 1.0, None),
            similarity => {
                let (a, b) = (squared(pairs.a), squared(pairs.b));
                let (longest_a, longest_b) = (longest(&a), longest(&b));
                if similarity == Similarity::Dot {
                    (-longest_a * longest_b, longest_a * longest_b, None)
                } else {
                    let round = |x: Vec<f64>| x.into_iter().map(|x| x as f32).collect();
                    (-longest_a - longest_b, 0.0, Some((round(a), round(b))))
                }
            }
        };
        // All rows zero: any width will do.
        let width = if high > low { (high - low) / bins as f64 } else { 1.0 };
        Self { low, width, bins, lengths }
    }

    /// Turns products of a row with rows `second` into similarities.
    fn finish(&self, i: usize, second: Range<usize>, values: &mut [f32]) {
        if let Some((a, b)) = &self.lengths {
            for (value, length) in values.iter_mut().zip(&b[second]) {
                *value = -(a[i] + length - 2.0 * *value).max(0.0).sqrt();
            }
        }
    }

    /// The bin of a similarity; those beyond the ends belong to the last bin there.
    fn bin(&self) -> impl Fn(f32) -> usize + Copy {
        let (low, per_width, last) = (self.low as f32, (1.0 / self.width) as f32, self.bins - 1);
        // The cast takes what is negative to zero.
        move |value| (((value - low) * per_width) as usize).min(last)
    }
}

/// Pairs counted by bin.
struct Counts {
    all: Vec<u64>,
    positives: Vec<u64>,
    products: Vec<f32>,
    ignored: Vec<u32>,
}

impl Counts {
    fn none(bins: usize) -> Self {
        let (products, ignored) = (Vec::new(), Vec::new());
        Self { all: vec![0; bins], positives: vec![0; bins], products, ignored }
    }

    fn plus(mut self, other: &Self) -> Self {
        self.all.iter_mut().zip(&other.all).for_each(|(a, b)| *a += b);
        self.positives.iter_mut().zip(&other.positives).for_each(|(a, b)| *a += b);
        self
    }

    /// Counts the pairs of `rows` with everything after them, or with everything.
    fn add(
        &mut self,
        pairs: &Pairs<'_>,
        rows: Range<usize>,
        scale: &Scale,
        by_label: &ByLabel<'_>,
        options: &Options<'_>,
    ) -> Result<(), Error> {
        let (dim, bin) = (pairs.a.dim(), scale.bin());
        let left = pairs.a.rows(rows.clone());
        let start = if pairs.within { rows.start } else { 0 };
        for second in blocks(pairs.b.len()).filter(|block| block.start >= start) {
            options.check()?;
            self.products.resize(rows.len() * second.len(), 0.0);
            rows_times_rows(&left, &pairs.b.rows(second.clone()), dim, &mut self.products);
            for (i, products) in rows.clone().zip(self.products.chunks_exact_mut(second.len())) {
                let first = if pairs.within { second.start.max(i + 1) } else { second.start };
                let products = &mut products[(first - second.start).min(second.len())..];
                scale.finish(i, first..second.end, products);
                for &value in products.iter() {
                    self.all[bin(value)] += 1;
                }
                for same in by_label.among(pairs.a_labels[i], first..second.end) {
                    self.positives[bin(products[same - first])] += 1;
                }
                // Few, as a rule: counting them and taking them out again leaves the loops above as they are.
                pairs.ignored.among(i, first..second.end, &mut self.ignored);
                for item in self.ignored.iter().map(|&item| item as usize) {
                    let bin = bin(products[item - first]);
                    self.all[bin] -= 1;
                    self.positives[bin] -= u64::from(pairs.a_labels[i] == pairs.b_labels[item]);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ignore;

    fn rows(count: usize, similarity: Similarity) -> (Vectors, Vec<u32>) {
        let value = |i: usize| ((i * 7919 + 31) % 1009) as f32 / 500.0 - 1.0;
        let centre = |row: usize, d: usize| ((row % 20 * 5 + d) as f32 * 1.7).sin();
        let data: Vec<f32> =
            (0..count * 5).map(|i| centre(i / 5, i % 5) + 0.5 * value(i)).collect();
        let labels = (0..count).map(|row| (row % 20) as u32).collect();
        (Vectors::new(data, 5, similarity).unwrap(), labels)
    }

    #[test]
    fn bins_agree_with_sorting_up_to_their_width() {
        for similarity in [Similarity::Cosine, Similarity::Dot, Similarity::Euclidean] {
            let (rows, labels) = rows(1100, similarity);
            let options = Options::default();
            let exact = VerificationConfig::default();
            let binned = VerificationConfig { exact_pairs: 0, ..exact };
            let (queries, query_labels) =
                (rows.select(&[3, 77, 900]), [labels[3], labels[77], labels[900]]);
            let both = [exact, binned].map(|config| {
                let within = verify_within(&rows, &labels, &config, &options).unwrap();
                let between =
                    verify(&queries, &query_labels, &rows, &labels, &config, &options).unwrap();
                [within, between]
            });
            let [sorted, counted] = &both;
            for (sorted, counted) in sorted.iter().zip(counted) {
                let width = counted.resolution().unwrap();
                assert_eq!(sorted.resolution(), None);
                assert_eq!(sorted.positives(), counted.positives());
                assert_eq!(sorted.negatives(), counted.negatives());
                let error = counted.roc_auc_error() + 1e-5;
                assert!((sorted.roc_auc() - counted.roc_auc()).abs() <= error);
                assert!(error < 1e-3);
                let (a, b) = (sorted.equal_error_rate(), counted.equal_error_rate());
                assert!((a.fmr - b.fmr).abs() < 2e-3, "{a:?} {b:?}");
                for fmr in [0.001, 0.01, 0.3] {
                    let (a, b) = (sorted.at_fmr(fmr), counted.at_fmr(fmr));
                    assert!(b.fmr <= fmr && (a.fnmr - b.fnmr).abs() < 4e-3, "{a:?} {b:?} {width}");
                }
            }
        }
    }

    /// Exact and in bins, against all pairs written out.
    #[test]
    fn what_is_ignored_makes_no_pair() {
        let (rows, labels) = rows(1100, Similarity::Cosine);
        let camera: Vec<u32> = (0..1100).map(|row| row / 3 % 4).collect();
        let id: Vec<u32> = (0..1100).collect();
        let half: Vec<u32> = (0..550).collect();
        let (few, few_labels, few_camera) = (rows.select(&half), &labels[..550], &camera[..550]);
        let same_view = [Column::new(few_labels, &labels), Column::new(few_camera, &camera)];
        let between = Relation::new(few_labels, &labels)
            .ignoring(Ignore::nothing().same(&[Column::new(&half, &id)]).same(&same_view));
        let within = Relation::within(&labels).ignoring(
            Ignore::same_index().same(&[Column::within(&labels), Column::within(&camera)]),
        );
        // Other vectors that search the rows they are made of, each but its own.
        let own = Relation::within(&labels);
        let cases =
            [(&few, Some(&rows), between), (&rows, None, within), (&rows, Some(&rows), own)];
        for (case, (a, b, relation)) in cases.into_iter().enumerate() {
            let (mut positives, mut negatives) = (Vec::new(), Vec::new());
            for i in 0..a.len() {
                for j in (0..1100).filter(|&j| if b.is_none() { i < j } else { i != j }) {
                    if case < 2 && labels[i] == labels[j] && camera[i] == camera[j] {
                        continue;
                    }
                    let kind = if labels[i] == labels[j] { &mut positives } else { &mut negatives };
                    kind.push(a.closeness(i, &rows, j));
                }
            }
            negatives.sort_unstable_by(f64::total_cmp);
            let below = |&x: &f64| negatives.partition_point(|&y| y < x) as f64;
            let upto = |&x: &f64| negatives.partition_point(|&y| y <= x) as f64;
            let area: f64 = positives.iter().map(|x| (below(x) + upto(x)) / 2.0).sum();
            let area = area / (positives.len() * negatives.len()) as f64;
            for exact_pairs in [0, 1 << 22] {
                let config = VerificationConfig { exact_pairs, ..VerificationConfig::default() };
                let options = Options::default();
                let curve = verify_related(a, b, &relation, &config, &options).unwrap();
                let counts = (curve.positives() as usize, curve.negatives() as usize);
                assert_eq!(counts, (positives.len(), negatives.len()), "{case} {exact_pairs}");
                let error = if exact_pairs > 0 { 1e-12 } else { curve.roc_auc_error() + 1e-5 };
                assert!((curve.roc_auc() - area).abs() < error, "{case} {exact_pairs}");
            }
        }
    }

    #[test]
    fn all_rows_equal_is_all_ties() {
        for exact_pairs in [0, 1 << 20] {
            let rows = Vectors::new(vec![0.6; 40], 4, Similarity::Cosine).unwrap();
            let labels: Vec<u32> = (0..10).map(|i| i % 2).collect();
            let config = VerificationConfig { exact_pairs, bins: 100 };
            let curve = verify_within(&rows, &labels, &config, &Options::default()).unwrap();
            assert_eq!((curve.roc_auc(), curve.equal_error_rate().fmr), (0.5, 0.5));
            assert_eq!((curve.positives(), curve.negatives()), (20, 25));
        }
    }

    #[test]
    fn threads_change_nothing() {
        let (rows, labels) = rows(1500, Similarity::Cosine);
        let config = VerificationConfig { exact_pairs: 0, bins: 5000 };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| verify_within(&rows, &labels, &config, &Options::default()).unwrap())
        };
        assert!(run(1) == run(2) && run(1) == run(3));
    }

    #[test]
    fn mistakes_are_errors() {
        let (rows, labels) = rows(30, Similarity::Cosine);
        let (config, options) = (VerificationConfig::default(), Options::default());
        let found = verify_within(&rows, &labels[1..], &config, &options);
        assert!(matches!(found, Err(Error::ColumnLength { rows: 30, values: 29, .. })));
        let found = verify_within(&rows, &[7; 30], &config, &options);
        assert_eq!(found, Err(Error::OneKindOfPair { positives: 435, negatives: 0 }));
        let few = VerificationConfig { exact_pairs: 0, bins: 1 };
        assert!(matches!(
            verify_within(&rows, &labels, &few, &options),
            Err(Error::Setting { .. })
        ));
    }
}
