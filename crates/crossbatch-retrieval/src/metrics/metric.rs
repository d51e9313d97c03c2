//! What the ranks of one query's positives say about it: each metric's definition, once.

/// A number between 0 and 1 for each query (but [`Metric::MeanRank`], which counts from 1).
///
/// R is the number of the query's positives, ranks count from 1. As the example take R = 3 positives at ranks 2, 3 and 6.
/// The page of each metric is in `docs/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Recall at K: whether any positive stands at rank ≤ K. Example: R@1 = 0, R@2 = 1.
    RecallAt(usize),
    /// Precision at K: (positives at rank ≤ K) / K, also where K exceeds R or the gallery. Example: P@2 = 1/2.
    PrecisionAt(usize),
    /// Average precision at K: Σ over positives at rank r ≤ K of (positives at rank ≤ r) / r, over min(R, K).
    /// Example: K = 4: (1/2 + 2/3) / 3.
    MapAt(usize),
    /// Normalised discounted cumulative gain at K, each positive a gain of 1: Σ over positives at rank r ≤ K of
    /// 1 / log₂(r + 1), over the same sum for a perfect ranking.
    NdcgAt(usize),
    /// Average precision at R: (1/R) Σ over positives at rank r ≤ R of (positives at rank ≤ r) / r. Example: 7/18.
    MapAtR,
    /// R-precision: (positives at rank ≤ R) / R. Example: 2/3.
    RPrecision,
    /// Average precision over the whole ranking. Example: (1/2 + 2/3 + 3/6) / 3.
    MeanAveragePrecision,
    /// 1 / (rank of the first positive). Example: 1/2.
    MeanReciprocalRank,
    /// The rank of the first positive: lower is better. Example: 2.
    MeanRank,
}

impl Metric {
    /// The metric of one query: `ranks` are those of all its positives, from one, ascending, at least one.
    ///
    /// # Panics
    ///
    /// If there is no rank.
    ///
    /// # Example
    ///
    /// ```
    /// use crossbatch_retrieval::Metric;
    ///
    /// assert_eq!(Metric::RPrecision.of(&[2, 3, 6]), 2.0 / 3.0);
    /// ```
    pub fn of(self, ranks: &[u32]) -> f64 {
        let within = |cut: usize| ranks.partition_point(|&rank| rank as usize <= cut);
        let positives = ranks.len();
        match self {
            Self::RecallAt(k) => f64::from(u8::from(ranks[0] as usize <= k)),
            Self::PrecisionAt(k) => within(k) as f64 / k as f64,
            Self::MapAt(k) => precision_sum(&ranks[..within(k)]) / positives.min(k) as f64,
            Self::NdcgAt(k) => {
                let ideal = 1..=positives.min(k) as u32;
                gain(ranks[..within(k)].iter().copied()) / gain(ideal)
            }
            Self::MapAtR => precision_sum(&ranks[..within(positives)]) / positives as f64,
            Self::RPrecision => within(positives) as f64 / positives as f64,
            Self::MeanAveragePrecision => precision_sum(ranks) / positives as f64,
            Self::MeanReciprocalRank => 1.0 / f64::from(ranks[0]),
            Self::MeanRank => f64::from(ranks[0]),
        }
    }

    /// The cut of a metric at K.
    pub fn cut(self) -> Option<usize> {
        match self {
            Self::RecallAt(k) | Self::PrecisionAt(k) | Self::MapAt(k) | Self::NdcgAt(k) => Some(k),
            _ => None,
        }
    }

    /// Whether a higher value is better.
    pub fn higher_is_better(self) -> bool {
        self != Self::MeanRank
    }
}

/// The name as in files: `recall_at_10`, `map_at_r` …
impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RecallAt(k) => write!(f, "recall_at_{k}"),
            Self::PrecisionAt(k) => write!(f, "precision_at_{k}"),
            Self::MapAt(k) => write!(f, "map_at_{k}"),
            Self::NdcgAt(k) => write!(f, "ndcg_at_{k}"),
            Self::MapAtR => f.write_str("map_at_r"),
            Self::RPrecision => f.write_str("r_precision"),
            Self::MeanAveragePrecision => f.write_str("mean_average_precision"),
            Self::MeanReciprocalRank => f.write_str("mean_reciprocal_rank"),
            Self::MeanRank => f.write_str("mean_rank"),
        }
    }
}

/// Σ n / (rank of the n-th positive): it has n positives at or before it. Not `sum()`: that of nothing is -0.0.
fn precision_sum(ranks: &[u32]) -> f64 {
    let counted = ranks.iter().zip(1u32..);
    counted.fold(0.0, |sum, (&rank, n)| sum + f64::from(n) / f64::from(rank))
}

/// Discounted cumulative gain of positives at these ranks.
fn gain(ranks: impl Iterator<Item = u32>) -> f64 {
    ranks.fold(0.0, |sum, rank| sum + 1.0 / (f64::from(rank) + 1.0).log2())
}

#[cfg(test)]
mod tests {
    use super::Metric::*;

    #[test]
    fn ranks_two_three_and_six() {
        let ranks = [2, 3, 6];
        let expected = [
            (RecallAt(1), 0.0),
            (RecallAt(2), 1.0),
            (PrecisionAt(1), 0.0),
            (PrecisionAt(2), 0.5),
            (PrecisionAt(10), 0.3),
            (MapAt(1), 0.0),
            (MapAt(2), (1.0 / 2.0) / 2.0),
            (MapAt(4), (1.0 / 2.0 + 2.0 / 3.0) / 3.0),
            (MapAt(100), (1.0 / 2.0 + 2.0 / 3.0 + 3.0 / 6.0) / 3.0),
            (MapAtR, (1.0 / 2.0 + 2.0 / 3.0) / 3.0),
            (RPrecision, 2.0 / 3.0),
            (MeanAveragePrecision, (1.0 / 2.0 + 2.0 / 3.0 + 3.0 / 6.0) / 3.0),
            (MeanReciprocalRank, 0.5),
            (MeanRank, 2.0),
        ];
        for (metric, value) in expected {
            assert_eq!(metric.of(&ranks), value, "{metric}");
        }
        // log₂ of 2, 4 and 8 are whole.
        assert!((NdcgAt(3).of(&[3, 7]) - 0.5 / (1.0 + 1.0 / 3f64.log2())).abs() < 1e-15);
        assert!((NdcgAt(1).of(&[3, 7])).abs() < 1e-15);
    }

    #[test]
    fn nothing_within_r_is_a_plain_zero() {
        for metric in [MapAtR, MapAt(3), NdcgAt(3)] {
            assert_eq!(metric.of(&[7]).to_bits(), 0.0f64.to_bits());
        }
    }

    #[test]
    fn a_perfect_ranking_scores_one() {
        for cut in [1, 3, 4, 9] {
            for metric in [RecallAt(cut), MapAt(cut), NdcgAt(cut), MapAtR, RPrecision] {
                assert_eq!(metric.of(&[1, 2, 3, 4]), 1.0, "{metric}");
            }
        }
        assert_eq!(MeanAveragePrecision.of(&[1, 2]), 1.0);
    }

    #[test]
    fn names_are_those_of_files() {
        assert_eq!(RecallAt(1).to_string(), "recall_at_1");
        assert_eq!(MapAtR.to_string(), "map_at_r");
    }
}
