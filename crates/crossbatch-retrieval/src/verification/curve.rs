//! How many pairs of each kind reach each threshold, and what follows from it.

use crate::Error;

/// Pairs counted by similarity. [`verify`](super::verify()) makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct VerificationCurve {
    /// Different similarities, or lower edges of bins, highest first, with the pairs at each.
    steps: Vec<Step>,
    positives: u64,
    negatives: u64,
    resolution: Option<f64>,
}

/// The pairs at one similarity, or in one bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    pub(super) threshold: f64,
    pub(super) positives: u64,
    pub(super) negatives: u64,
}

/// A threshold and its two errors.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OperatingPoint {
    /// Pairs whose similarity reaches it are taken for positive. Infinite where no pair may be.
    pub threshold: f64,
    /// The share of negative pairs that reach it.
    pub fmr: f64,
    /// The share of positive pairs that do not.
    pub fnmr: f64,
}

impl VerificationCurve {
    /// `steps` descend; those without pairs are dropped. `resolution` is the width of a bin, if there are bins.
    pub(super) fn new(mut steps: Vec<Step>, resolution: Option<f64>) -> Result<Self, Error> {
        steps.retain(|step| step.positives + step.negatives > 0);
        let positives = steps.iter().map(|step| step.positives).sum();
        let negatives = steps.iter().map(|step| step.negatives).sum();
        if positives == 0 || negatives == 0 {
            return Err(Error::OneKindOfPair { positives, negatives });
        }
        Ok(Self { steps, positives, negatives, resolution })
    }

    /// How many pairs share a label.
    pub fn positives(&self) -> u64 {
        self.positives
    }

    /// How many pairs do not.
    pub fn negatives(&self) -> u64 {
        self.negatives
    }

    /// The width of a bin where similarities were counted in bins; nothing where they were sorted, and all is exact.
    /// Thresholds are lower edges of bins: errors are exact at them, and a wanted error is met within one bin.
    pub fn resolution(&self) -> Option<f64> {
        self.resolution
    }

    /// The area under the ROC curve: the probability that a positive pair is more similar than a negative one, equal
    /// similarities counting half (Hanley and McNeil, Radiology 143, 1982). Pairs in one bin count as equal:
    /// [`VerificationCurve::roc_auc_error`] is how much that can matter.
    pub fn roc_auc(&self) -> f64 {
        let mut above = 0.0;
        let mut sum = 0.0;
        for step in &self.steps {
            sum += step.negatives as f64 * (above + step.positives as f64 / 2.0);
            above += step.positives as f64;
        }
        sum / (self.positives as f64 * self.negatives as f64)
    }

    /// How far [`VerificationCurve::roc_auc`] can be from the area without bins: half the share of pairs of pairs that
    /// fall into one bin. Zero where all is exact.
    pub fn roc_auc_error(&self) -> f64 {
        if self.resolution.is_none() {
            return 0.0;
        }
        let tied = self.steps.iter().map(|step| step.positives as f64 * step.negatives as f64);
        tied.sum::<f64>() / 2.0 / (self.positives as f64 * self.negatives as f64)
    }

    /// The equal error rate and its threshold: where FMR and FNMR cross, on straight lines between neighbouring points of
    /// the curve. `fmr` and `fnmr` of the answer are equal.
    pub fn equal_error_rate(&self) -> OperatingPoint {
        let mut before = self.point(f64::INFINITY, 0, 0);
        for point in self.points() {
            if point.fmr >= point.fnmr {
                // The two errors differ by `gap` before and by `past` here, in the other direction.
                let (gap, past) = (before.fnmr - before.fmr, point.fmr - point.fnmr);
                let part = if gap + past > 0.0 { gap / (gap + past) } else { 1.0 };
                let rate = before.fmr + part * (point.fmr - before.fmr);
                let threshold = if before.threshold.is_finite() {
                    before.threshold + part * (point.threshold - before.threshold)
                } else {
                    point.threshold
                };
                return OperatingPoint { threshold, fmr: rate, fnmr: rate };
            }
            before = point;
        }
        before // not reached: at the last point every pair is taken for positive
    }

    /// The threshold with the lowest FNMR among those whose false match rate is at most `fmr`, and the errors there: its
    /// `fnmr` is FNMR@FMR. Of several such thresholds the highest. If no positive pair can be let in, the threshold is
    /// infinite and FNMR is 1.
    ///
    /// # Example
    ///
    /// ```
    /// use crossbatch_retrieval::{Options, Similarity, Vectors};
    /// use crossbatch_retrieval::verification::{VerificationConfig, verify_within};
    ///
    /// // Positive distances 1 and 2, negative distances 7, 8, 9 and 10.
    /// let rows = Vectors::new(vec![0.0, 1.0, 8.0, 10.0], 1, Similarity::Euclidean)?;
    /// let config = VerificationConfig::default();
    /// let curve = verify_within(&rows, &[0, 0, 1, 1], &config, &Options::default())?;
    /// let point = curve.at_fmr(0.0);
    /// assert_eq!((point.threshold, point.fmr, point.fnmr), (-2.0, 0.0, 0.0));
    /// assert_eq!(curve.roc_auc(), 1.0);
    /// # Ok::<(), crossbatch_retrieval::Error>(())
    /// ```
    pub fn at_fmr(&self, fmr: f64) -> OperatingPoint {
        let nobody = self.point(f64::INFINITY, 0, 0);
        let within = self.points().take_while(|point| point.fmr <= fmr);
        within.fold(nobody, |best, point| if point.fnmr < best.fnmr { point } else { best })
    }

    /// The errors of a threshold.
    pub fn at_threshold(&self, threshold: f64) -> OperatingPoint {
        let reached = self.points().take_while(|point| point.threshold >= threshold).last();
        let point = reached.unwrap_or_else(|| self.point(threshold, 0, 0));
        OperatingPoint { threshold, ..point }
    }

    /// The errors at each threshold, highest first.
    pub fn points(&self) -> impl Iterator<Item = OperatingPoint> {
        self.steps.iter().scan((0, 0), |(positives, negatives), step| {
            *positives += step.positives;
            *negatives += step.negatives;
            Some(self.point(step.threshold, *positives, *negatives))
        })
    }

    /// The mean of `value` over all pairs, taken at the middle of each bin.
    pub(crate) fn mean_of(&self, value: impl Fn(f64) -> f64) -> f64 {
        let half = self.resolution.unwrap_or(0.0) / 2.0;
        let weighed =
            |step: &Step| (step.positives + step.negatives) as f64 * value(step.threshold + half);
        let sum: f64 = self.steps.iter().map(weighed).sum();
        sum / (self.positives + self.negatives) as f64
    }

    fn point(&self, threshold: f64, positives: u64, negatives: u64) -> OperatingPoint {
        OperatingPoint {
            threshold,
            fmr: negatives as f64 / self.negatives as f64,
            fnmr: (self.positives - positives) as f64 / self.positives as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(steps: &[(f64, u64, u64)]) -> VerificationCurve {
        let step = |&(threshold, positives, negatives)| Step { threshold, positives, negatives };
        VerificationCurve::new(steps.iter().map(step).collect(), None).unwrap()
    }

    #[test]
    fn areas_by_hand() {
        // Positive at 0.9 and 0.4; negative at 0.6 and 0.4: (1 + 1 + 0 + 1/2) / 4.
        assert_eq!(curve(&[(0.9, 1, 0), (0.6, 0, 1), (0.4, 1, 1)]).roc_auc(), 2.5 / 4.0);
        assert_eq!(curve(&[(0.5, 3, 4)]).roc_auc(), 0.5);
        assert_eq!(curve(&[(0.9, 0, 1), (0.1, 1, 0)]).roc_auc(), 0.0);
    }

    #[test]
    fn equal_error_rates_by_hand() {
        // Apart: none. One of four on the wrong side each: a quarter.
        assert_eq!(curve(&[(0.9, 2, 0), (0.1, 0, 2)]).equal_error_rate().fmr, 0.0);
        let crossed = curve(&[(0.9, 3, 0), (0.6, 0, 1), (0.4, 1, 0), (0.1, 0, 3)]);
        let point = crossed.equal_error_rate();
        assert_eq!((point.fmr, point.fnmr, point.threshold), (0.25, 0.25, 0.6));
        // A single tie: the line from (0, 1) to (1, 0) crosses at one half.
        assert_eq!(curve(&[(0.5, 7, 2)]).equal_error_rate().fmr, 0.5);
    }

    #[test]
    fn wanted_false_match_rates() {
        let curve = curve(&[(0.9, 3, 0), (0.6, 0, 1), (0.4, 1, 0), (0.1, 0, 3)]);
        assert_eq!(curve.at_fmr(0.0), OperatingPoint { threshold: 0.9, fmr: 0.0, fnmr: 0.25 });
        assert_eq!(curve.at_fmr(0.25), OperatingPoint { threshold: 0.4, fmr: 0.25, fnmr: 0.0 });
        assert_eq!(curve.at_fmr(1.0).threshold, 0.4);
        assert_eq!(
            curve.at_threshold(0.5),
            OperatingPoint { threshold: 0.5, fmr: 0.25, fnmr: 0.25 }
        );
        assert_eq!(curve.at_threshold(0.95).fnmr, 1.0);
    }

    #[test]
    fn nothing_can_be_let_in() {
        for fmr in [0.05, 0.5] {
            let point = curve(&[(0.9, 0, 1), (0.1, 1, 9)]).at_fmr(fmr);
            assert_eq!((point.threshold, point.fmr, point.fnmr), (f64::INFINITY, 0.0, 1.0));
        }
    }

    #[test]
    fn one_kind_of_pair_is_an_error() {
        let step = Step { threshold: 0.5, positives: 3, negatives: 0 };
        let found = VerificationCurve::new(vec![step], None);
        assert_eq!(found, Err(Error::OneKindOfPair { positives: 3, negatives: 0 }));
    }
}
