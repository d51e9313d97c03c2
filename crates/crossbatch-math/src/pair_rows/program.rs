//! What a pair loss computes, as plain data: one description for every device.
//!
//! A pair loss sees a row of numbers per anchor: the **closeness** `x` of the anchor to each reference, larger is
//! closer. By labels a pair is positive, negative, or left out. Each side keeps the pairs that its rule selects and
//! folds a function of the pair's **violation** into one number a row: `u = x − t` for a negative, `u = t − x` for a
//! positive, where `t` is the row's threshold of that side. What the loss makes of the two numbers of a row is not
//! part of the program: that is ordinary arithmetic on `[B]` values.

/// Squared distances below this share of the sum of both squared norms come out as 0. They are computed from products,
/// whose rounding they would be; divided by, it would become a gradient.
pub const SAME: f32 = 5e-7;

/// What the closeness of a pair is; larger is closer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Closeness {
    /// The dot product; of unit rows the cosine similarity.
    #[default]
    Dot,
    /// Minus the squared Euclidean distance; see [`SAME`].
    SquaredDistance,
    /// Minus the Euclidean distance; see [`SAME`]. Equal rows have gradient 0.
    Distance,
    /// Minus the squared Euclidean distance of the rows less the mean of their own numbers. Anchors must come centred;
    /// references need not, and the gradients of anchors and references are those of uncentred rows up to the
    /// projection that centring applies to them (signal-to-noise ratio).
    CentredSquaredDistance,
}

/// What a side folds its selected pairs into, by their violation `u`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Term {
    /// `Σ (u + offset)`.
    Linear {
        /// Added to each violation; changes the value, not the gradient.
        offset: f32,
    },
    /// `Σ ln(1 + exp(scale · u))`.
    Softplus {
        /// Factor of the violation.
        scale: f32,
    },
    /// `ln Σ exp(scale · u)`; [`EMPTY`] for no pair.
    LogSumExp {
        /// Factor of the violation.
        scale: f32,
    },
    /// `ln Σ exp(scale · a · u)` with `a = max(u + 2 · relaxation, 0)`, where the gradient takes `a` for a constant
    /// (circle loss); [`EMPTY`] for no pair.
    Circle {
        /// Factor γ of the exponent.
        scale: f32,
        /// The circle loss's `m`.
        relaxation: f32,
    },
    /// `Σ ln(1 + exp(N + scale · u))` with `N` the row's number of the negative side, which must be a
    /// [`Term::LogSumExp`]. For positives only.
    AgainstNegatives {
        /// Factor of the violation.
        scale: f32,
    },
    /// `ln(exp(N) + Σ exp(−scale · u)) + mean(scale · u)` with `N` the row's number of the negative side, which must be
    /// a [`Term::LogSumExp`]: how much all pairs outweigh a positive, averaged over the positives (supervised
    /// contrastive loss). Weights weigh the sum and the mean; 0 for no pair. For positives only.
    AgainstAll {
        /// Factor of the violation.
        scale: f32,
    },
}

impl Term {
    /// Whether the term takes the negative side's number.
    pub fn is_against(self) -> bool {
        matches!(self, Self::AgainstNegatives { .. } | Self::AgainstAll { .. })
    }
}

/// Which positives count. All conditions must hold; [`PositiveRule::ALL`] has none.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PositiveRule {
    /// `u > 0`.
    pub violating: bool,
    /// `x < below`.
    pub below: f32,
    /// `x < (largest x of the row's negatives) + value`.
    pub hardest_negative: Option<f32>,
    /// `x > (smallest x of the row's negatives) + value`.
    pub easiest_negative: Option<f32>,
}

impl PositiveRule {
    /// Every positive.
    pub const ALL: Self = Self {
        violating: false,
        below: f32::INFINITY,
        hardest_negative: None,
        easiest_negative: None,
    };
}

/// Which negatives count. All conditions must hold; [`NegativeRule::ALL`] has none.
///
/// The positives that conditions speak of are all of the row, before any rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NegativeRule {
    /// `u > 0`.
    pub violating: bool,
    /// `x > above`.
    pub above: f32,
    /// `x > (smallest x of the row's positives) − value`; never without positives.
    pub hardest_positive: Option<f32>,
    /// `x > max(largest x of the row's positives, floor) − value`, as `(floor, value)`.
    pub easiest_positive: Option<(f32, f32)>,
    /// `x < (largest x of the row's positives) − value`; never without positives.
    pub below_easiest_positive: Option<f32>,
    /// For some positive at `p`: `p − value < x < p`.
    pub semi_hard: Option<f32>,
}

impl NegativeRule {
    /// Every negative.
    pub const ALL: Self = Self {
        violating: false,
        above: f32::NEG_INFINITY,
        hardest_positive: None,
        easiest_positive: None,
        below_easiest_positive: None,
        semi_hard: None,
    };
}

/// Which of a row's triplets (positive at `p`, negative at `n`) count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TripletRule {
    /// Every one.
    All,
    /// `p − margin < n < p`.
    SemiHard,
    /// `n > p`.
    Hard,
}

/// How the pairs of a row become its numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Body {
    /// Each side by itself; a row has a number for each.
    Sides {
        /// What positives are folded into.
        positive: Term,
        /// Which positives count.
        positives: PositiveRule,
        /// What negatives are folded into.
        negative: Term,
        /// Which negatives count.
        negatives: NegativeRule,
    },
    /// Over triplets: `Σ max(n − p + margin, 0)`, or `Σ ln(1 + exp(n − p + margin))` if soft. The sum is the row's
    /// number of the negative side, the other one is 0. Thresholds are not used. Active are triplets with a term above
    /// 0; [`NEGATIVES`] counts them and [`POSITIVES`] stays 0.
    Triplets {
        /// The margin.
        margin: f32,
        /// Which triplets count.
        rule: TripletRule,
        /// Softplus instead of the hinge.
        soft: bool,
    },
}

/// A pair loss up to the arithmetic on rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairProgram {
    /// The closeness of a pair.
    pub closeness: Closeness,
    /// What is made of it.
    pub body: Body,
}

/// The number of a log-sum-exp over no pair: so low that its exponential is 0, and finite, so that gradients stay so.
pub const EMPTY: f32 = -1e30;

/// Largest and smallest closeness where there is none: `-NONE` for a maximum, `NONE` for a minimum.
pub const NONE: f32 = f32::MAX;

/// Columns of what is known of a row besides its two numbers.
pub const FIELDS: usize = 13;
/// Positives that count.
pub const POSITIVES: usize = 0;
/// Negatives that count, or triplets.
pub const NEGATIVES: usize = 1;
/// Positives in all, before any rule.
pub const POSITIVE_PAIRS: usize = 2;
/// Negatives in all, before any rule.
pub const NEGATIVE_PAIRS: usize = 3;
/// Sum of the closeness of all positives.
pub const POSITIVE_SUM: usize = 4;
/// Sum of the closeness of all negatives.
pub const NEGATIVE_SUM: usize = 5;
/// Smallest closeness of all positives.
pub const HARDEST_POSITIVE: usize = 6;
/// Largest closeness of all positives.
pub const EASIEST_POSITIVE: usize = 7;
/// Largest closeness of all negatives.
pub const HARDEST_NEGATIVE: usize = 8;
/// Smallest closeness of all negatives.
pub const EASIEST_NEGATIVE: usize = 9;
/// Derivative of the positive side's number by its threshold.
pub const POSITIVE_SLOPE: usize = 10;
/// Derivative of the negative side's number by its threshold.
pub const NEGATIVE_SLOPE: usize = 11;
/// Derivative of the positive side's number by the negative side's (with [`Term::AgainstNegatives`] and
/// [`Term::AgainstAll`], else 0).
pub const COUPLING: usize = 12;

impl PairProgram {
    /// Checks what types cannot say.
    ///
    /// # Panics
    ///
    /// If [`Term::AgainstNegatives`] or [`Term::AgainstAll`] is on the negative side, or stands against no
    /// [`Term::LogSumExp`].
    pub fn check(&self) {
        if let Body::Sides { positive, negative, .. } = self.body {
            assert!(!negative.is_against(), "only positives stand against the negatives");
            assert!(
                !positive.is_against() || matches!(negative, Term::LogSumExp { .. }),
                "positives can only stand against a log-sum-exp of the negatives, got {negative:?}"
            );
        }
    }
}
