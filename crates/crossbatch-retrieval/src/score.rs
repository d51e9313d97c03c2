//! What the ranks of one query's positives say about it.

/// The scores of one query.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Score {
    /// Positives among the first K, for each K asked for.
    pub(crate) hits: Box<[u32]>,
    pub(crate) r_precision: f64,
    pub(crate) map_at_r: f64,
    pub(crate) average_precision: f64,
    pub(crate) reciprocal_rank: f64,
}

impl Score {
    /// Scores a query by the ranks of all its positives, from one, ascending, at least one.
    pub(crate) fn from_ranks(ranks: &[u32], cuts: &[usize]) -> Self {
        let within = |cut: usize| ranks.partition_point(|&rank| rank as usize <= cut);
        let positives = ranks.len() as f64;
        let first = within(ranks.len());
        // The n-th positive has n positives at or before it. Not `sum()`: that of nothing is -0.0.
        let precision_sum = |ranks: &[u32]| {
            let counted = ranks.iter().zip(1u32..);
            counted.fold(0.0, |sum, (&rank, n)| sum + f64::from(n) / f64::from(rank))
        };
        Self {
            hits: cuts.iter().map(|&cut| within(cut) as u32).collect(),
            r_precision: first as f64 / positives,
            map_at_r: precision_sum(&ranks[..first]) / positives,
            average_precision: precision_sum(ranks) / positives,
            reciprocal_rank: 1.0 / f64::from(ranks[0]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_two_three_and_six() {
        let score = Score::from_ranks(&[2, 3, 6], &[1, 2, 10]);
        assert_eq!(*score.hits, [0, 1, 3]);
        assert_eq!(score.r_precision, 2.0 / 3.0);
        assert_eq!(score.map_at_r, (1.0 / 2.0 + 2.0 / 3.0) / 3.0);
        assert_eq!(score.average_precision, (1.0 / 2.0 + 2.0 / 3.0 + 3.0 / 6.0) / 3.0);
        assert_eq!(score.reciprocal_rank, 0.5);
    }

    #[test]
    fn nothing_within_r_is_a_plain_zero() {
        let score = Score::from_ranks(&[7], &[1]);
        assert_eq!(score.map_at_r.to_bits(), 0.0f64.to_bits());
    }

    #[test]
    fn a_perfect_ranking_scores_one() {
        let score = Score::from_ranks(&[1, 2, 3, 4], &[1, 4]);
        assert_eq!(*score.hits, [1, 4]);
        let all = [score.r_precision, score.map_at_r, score.average_precision];
        assert_eq!(all, [1.0; 3]);
    }
}
