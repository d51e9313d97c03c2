//! Everything that is not a ranking against its definition written out, on thousands of small cases: ties, single rows,
//! duplicates, rows that are all equal.

use crossbatch_math::product::squared_distance_f64;
use crossbatch_retrieval::cluster::{
    KMeansConfig, Normaliser, adjusted_mutual_information, k_means, normalised_mutual_information,
};
use crossbatch_retrieval::health::{duplicates, similarity_health, uniformity};
use crossbatch_retrieval::postprocess::{KReciprocal, KReciprocalConfig};
use crossbatch_retrieval::verification::{VerificationConfig, verify, verify_within};
use crossbatch_retrieval::{Bootstrap, Metric, Options, Relation, Scores, Units, Vectors, rank};
use proptest::prelude::*;

use crate::naive;

/// Hard rows with a few labels.
fn labelled(rows: std::ops::Range<usize>) -> impl Strategy<Value = (Vectors, Vec<u32>)> {
    (1usize..8, rows).prop_flat_map(|(dim, rows)| {
        (naive::hard_rows(rows, dim), proptest::collection::vec(0u32..4, rows))
    })
}

/// Similarities of positive and of negative pairs.
fn pairs(rows: &Vectors, labels: &[u32]) -> (Vec<f64>, Vec<f64>) {
    let all = (0..rows.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
    let (same, other): (Vec<_>, Vec<_>) = all.partition(|&(i, j)| labels[i] == labels[j]);
    let near = |(i, j): (usize, usize)| rows.closeness(i, rows, j);
    (same.into_iter().map(near).collect(), other.into_iter().map(near).collect())
}

/// Mutual information, entropies, from counts written out.
fn information(a: &[u32], b: &[u32]) -> (f64, f64, f64) {
    let total = a.len() as f64;
    let share =
        |keep: &dyn Fn(usize) -> bool| (0..a.len()).filter(|&i| keep(i)).count() as f64 / total;
    let (mut mutual, mut of_a, mut of_b) = (0.0, 0.0, 0.0);
    for x in 0..5 {
        let (p, q) = (share(&|i| a[i] == x), share(&|i| b[i] == x));
        of_a -= if p > 0.0 { p * p.ln() } else { 0.0 };
        of_b -= if q > 0.0 { q * q.ln() } else { 0.0 };
        for y in 0..5 {
            let (both, q) = (share(&|i| a[i] == x && b[i] == y), share(&|i| b[i] == y));
            mutual += if both > 0.0 { both * (both / (p * q)).ln() } else { 0.0 };
        }
    }
    (mutual, of_a, of_b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn verification_equals_its_definition((rows, labels) in labelled(0..25), fmr in 0.0f64..1.0) {
        let found = verify_within(&rows, &labels, &VerificationConfig::default(), &Options::default());
        let (positive, negative) = pairs(&rows, &labels);
        if positive.is_empty() || negative.is_empty() {
            prop_assert!(found.is_err());
            return Ok(());
        }
        let curve = found.unwrap();
        let (p, n) = (positive.len() as f64, negative.len() as f64);
        let half = |x: f64, y: f64| if x > y { 1.0 } else if x == y { 0.5 } else { 0.0 };
        let above: f64 = positive.iter().flat_map(|&x| negative.iter().map(move |&y| half(x, y))).sum();
        prop_assert!((curve.roc_auc() - above / (p * n)).abs() < 1e-12);
        // Every threshold that can be: the similarities themselves, and none.
        let rates = |t: f64| {
            let matched = negative.iter().filter(|&&x| x >= t).count() as f64 / n;
            (matched, positive.iter().filter(|&&x| x < t).count() as f64 / p)
        };
        let thresholds = positive.iter().chain(&negative).copied().chain([f64::INFINITY]);
        let best = thresholds.map(rates).filter(|rates| rates.0 <= fmr).map(|rates| rates.1);
        let best = best.fold(f64::INFINITY, f64::min);
        let point = curve.at_fmr(fmr);
        prop_assert_eq!(point.fnmr, best);
        prop_assert_eq!((point.fmr, point.fnmr), rates(point.threshold));
        // The crossing lies between the errors of neighbouring thresholds.
        let equal = curve.equal_error_rate().fmr;
        let points: Vec<_> = curve.points().collect();
        let reached = points.iter().find(|point| point.fmr >= point.fnmr).unwrap();
        prop_assert!(equal <= reached.fmr + 1e-12 && equal >= reached.fnmr - 1e-12);
    }

    #[test]
    fn bins_hold_every_pair((rows, labels) in labelled(2..25), bins in 2usize..50) {
        let config = VerificationConfig { exact_pairs: 0, bins };
        let (binned, exact) = (
            verify_within(&rows, &labels, &config, &Options::default()),
            verify_within(&rows, &labels, &VerificationConfig::default(), &Options::default()),
        );
        match (binned, exact) {
            (Ok(binned), Ok(exact)) => {
                prop_assert_eq!(binned.positives(), exact.positives());
                prop_assert_eq!(binned.negatives(), exact.negatives());
                // Rounding may carry a pair over an edge: a few pairs of pairs at most change sides.
                let pairs = (exact.positives() * exact.negatives()) as f64;
                let slack = binned.roc_auc_error() + edge_pairs(&rows, bins) / pairs;
                prop_assert!((binned.roc_auc() - exact.roc_auc()).abs() <= slack + 1e-12);
            }
            (binned, exact) => prop_assert_eq!(binned, exact),
        }
    }

    #[test]
    fn query_and_gallery_pairs_are_all_pairs(
        (queries, gallery) in (1usize..6).prop_flat_map(|dim| {
            (naive::hard_rows(1..8, dim), naive::hard_rows(1..20, dim))
        }),
    ) {
        let labels = |rows: &Vectors| (0..rows.len() as u32).map(|row| row % 3).collect::<Vec<_>>();
        let (a, b) = (labels(&queries), labels(&gallery));
        for exact_pairs in [0, u64::MAX] {
            let config = VerificationConfig { exact_pairs, bins: 99 };
            let found = verify(&queries, &a, &gallery, &b, &config, &Options::default());
            let same = a.iter().map(|x| b.iter().filter(|y| x == *y).count() as u64).sum::<u64>();
            let other = (a.len() * b.len()) as u64 - same;
            match found {
                Ok(curve) => prop_assert_eq!((curve.positives(), curve.negatives()), (same, other)),
                Err(_) => prop_assert!(same == 0 || other == 0),
            }
        }
    }

    #[test]
    fn mutual_information_equals_its_definition(
        pairs in proptest::collection::vec((0u32..5, 0u32..5), 1..40),
    ) {
        let (a, b): (Vec<u32>, Vec<u32>) = pairs.into_iter().unzip();
        let (mutual, of_a, of_b) = information(&a, &b);
        let found = normalised_mutual_information(&a, &b, Normaliser::Arithmetic).unwrap();
        if of_a == 0.0 && of_b == 0.0 {
            prop_assert_eq!(found, 1.0);
        } else {
            prop_assert!((found - 2.0 * mutual / (of_a + of_b)).abs() < 1e-9);
        }
        let swapped = adjusted_mutual_information(&b, &a, Normaliser::Arithmetic).unwrap();
        let adjusted = adjusted_mutual_information(&a, &b, Normaliser::Arithmetic).unwrap();
        prop_assert!((adjusted - swapped).abs() < 1e-9 && adjusted <= 1.0 + 1e-9);
    }

    #[test]
    fn health_equals_its_definition((rows, labels) in labelled(0..25)) {
        let found = similarity_health(&rows, &labels, &Options::default()).unwrap();
        let (positive, negative) = pairs(&rows, &labels);
        for (found, values) in [(found.positive, &positive), (found.negative, &negative)] {
            prop_assert_eq!(found.is_some(), !values.is_empty());
            if let Some(found) = found {
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let square = values.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
                prop_assert_eq!(found.pairs, values.len() as u64);
                prop_assert!((found.mean - mean).abs() < 1e-6);
                // A deviation near zero is the root of a rounding error.
                prop_assert!((found.deviation.powi(2) - square / values.len() as f64).abs() < 1e-6);
            }
        }
        let all: Vec<f64> = positive.into_iter().chain(negative).collect();
        let zero = |row| rows.row(row).iter().all(|&x| x == 0.0);
        if !all.is_empty() && !(0..rows.len()).any(zero) {
            let mean = all.iter().map(|x| (4.0 * x - 4.0).exp()).sum::<f64>() / all.len() as f64;
            let config = VerificationConfig::default();
            let found = uniformity(&rows, &config, &Options::default()).unwrap();
            prop_assert!((found - mean.ln()).abs() < 1e-5, "{} {}", found, mean.ln());
        }
        let same = |i: usize, j: usize| {
            rows.row(i).iter().zip(rows.row(j).iter()).all(|(x, y)| x.to_bits() == y.to_bits())
        };
        let repeated = (0..rows.len()).filter(|&j| (0..j).any(|i| same(i, j))).count();
        prop_assert_eq!(duplicates(&rows, &Options::default()).unwrap().repeated, repeated);
    }

    #[test]
    fn clusters_are_never_worse_than_their_means_say((rows, _) in labelled(1..25), clusters in 1usize..9, spherical: bool) {
        let config = KMeansConfig { spherical, ..KMeansConfig::new(clusters) };
        let found = k_means(&rows, &config, &Options::default());
        if clusters > rows.len() {
            prop_assert!(found.is_err());
            return Ok(());
        }
        let found = found.unwrap();
        prop_assert_eq!(found.centres.len(), clusters * rows.dim());
        prop_assert!(found.centres.iter().all(|x| x.is_finite()));
        prop_assert!(found.assignment.iter().all(|&cluster| (cluster as usize) < clusters));
        let mut used = found.assignment.clone();
        used.sort_unstable();
        used.dedup();
        prop_assert_eq!(clusters - used.len(), found.empty);
        // No cluster stays empty while some row is away from its centre: with as many clusters as rows all is zero.
        if clusters == rows.len() && !spherical {
            prop_assert!(found.inertia < 1e-9);
        }
        if clusters == 1 && !spherical {
            let mean = |d: usize| {
                (0..rows.len()).map(|i| f64::from(rows.row(i)[d])).sum::<f64>() / rows.len() as f64
            };
            let off = |i: usize| (0..rows.dim()).map(|d| (f64::from(rows.row(i)[d]) - mean(d)).powi(2)).sum::<f64>();
            let expected: f64 = (0..rows.len()).map(off).sum();
            prop_assert!((found.inertia - expected).abs() < 1e-5 * (1.0 + expected));
        }
    }

    #[test]
    fn lambda_of_one_ranks_as_the_vectors_do((rows, labels) in labelled(2..25)) {
        // With λ = 1 only the original distances count: those of the rows as they are stored.
        let config = KReciprocalConfig { lambda: 1.0, ..KReciprocalConfig::default() };
        let options = Options::default();
        let encoded = KReciprocal::within(&rows, &config, &options).unwrap();
        let relation = Relation::within(&labels);
        let (found, expected) =
            (encoded.rank(&relation, &options).unwrap(), rank(&rows, &rows, &relation, &options).unwrap());
        for query in 0..rows.len() {
            prop_assert_eq!(found.met(query), expected.met(query));
            prop_assert_eq!(found.ranks(query).len(), expected.ranks(query).len());
            let distances = encoded.distances_of(query);
            let apart: Vec<f64> = (0..rows.len())
                .map(|item| squared_distance_f64(&rows.row(query), &rows.row(item)))
                .collect();
            let farthest = apart.iter().fold(0.0f64, |most, &x| most.max(x));
            for (found, apart) in distances.iter().zip(apart) {
                let expected = if farthest > 0.0 { apart / farthest } else { 0.0 };
                prop_assert!((found - expected).abs() < 1e-4, "{} {}", found, expected);
            }
        }
    }

    #[test]
    fn intervals_hold_their_means((rows, labels) in labelled(2..25), seed: u64) {
        let relation = Relation::within(&labels);
        let ranking = rank(&rows, &rows, &relation, &Options::default()).unwrap();
        let Ok(scores) = Scores::of(&ranking, &[Metric::RecallAt(1), Metric::MapAtR]) else {
            return Ok(());
        };
        let bootstrap = Bootstrap { resamples: 50, seed, confidence: 0.9 };
        for units in [Units::Queries, Units::Classes(&labels)] {
            for interval in scores.intervals(units, &bootstrap).unwrap() {
                prop_assert!(interval.low <= interval.high);
                prop_assert!(interval.low >= 0.0 && interval.high <= 1.0 + 1e-12);
            }
            // A run does not differ from itself.
            for interval in scores.minus(&scores).unwrap().intervals(units, &bootstrap).unwrap() {
                prop_assert_eq!((interval.low, interval.mean, interval.high), (0.0, 0.0, 0.0));
            }
        }
    }
}

/// Pairs of pairs that can change sides because a similarity lies on the edge of a bin, to the precision of f32.
fn edge_pairs(rows: &Vectors, bins: usize) -> f64 {
    let width = 2.0 / bins as f64;
    let all = (0..rows.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
    let on_edge = all.filter(|&(i, j)| {
        let place = (rows.closeness(i, rows, j) + 1.0) / width;
        (place - place.round()).abs() * width < 1e-5
    });
    let pairs = rows.len() * (rows.len() - 1) / 2;
    (on_edge.count() * pairs) as f64
}
