//! The arithmetic of one pair.

use super::program::{Closeness, SAME, Term};

/// Closeness from the product and the two squared norms.
#[inline(always)]
pub(super) fn closeness(kind: Closeness, dot: f32, anchor: f32, reference: f32) -> f32 {
    // NaN is not below anything, and stays.
    let squared = || match anchor + reference - 2.0 * dot {
        none if none < SAME * (anchor + reference) => 0.0,
        squared => squared,
    };
    match kind {
        Closeness::Dot => dot,
        Closeness::SquaredDistance | Closeness::CentredSquaredDistance => -squared(),
        Closeness::Distance => -squared().sqrt(),
    }
}

/// What a pair pulls with, given the derivative `slope` of the row's number by the closeness: the derivative by the
/// anchor is `pull · (reference − anchor)`, or `pull · reference` for the dot product.
#[inline(always)]
pub(super) fn pull(kind: Closeness, closeness: f32, slope: f32) -> f32 {
    match kind {
        Closeness::Dot => slope,
        Closeness::SquaredDistance | Closeness::CentredSquaredDistance => 2.0 * slope,
        Closeness::Distance if closeness < 0.0 => -slope / closeness,
        Closeness::Distance => 0.0,
    }
}

/// The squared norm of a row; of the row less its mean where distances are centred. 0 where nothing needs it.
pub(super) fn squared_norm(kind: Closeness, row: &[f32]) -> f32 {
    let square = || row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    match kind {
        Closeness::Dot => 0.0,
        Closeness::SquaredDistance | Closeness::Distance => square() as f32,
        Closeness::CentredSquaredDistance => {
            let sum = row.iter().map(|x| f64::from(*x)).sum::<f64>();
            (square() - sum * sum / row.len() as f64) as f32
        }
    }
}

/// A pair's share of a side: the addend, and its derivative by the violation. Of a log-sum-exp, the exponent and its
/// derivative.
#[inline(always)]
pub(super) fn term(term: Term, violation: f32, negatives: f32) -> (f32, f32) {
    match term {
        Term::Linear { offset } => (violation + offset, 1.0),
        Term::Softplus { scale } => softplus(scale, scale * violation),
        Term::AgainstNegatives { scale } => softplus(scale, negatives + scale * violation),
        // See `All`, which knows the rest.
        Term::AgainstAll { scale } | Term::LogSumExp { scale } => (scale * violation, scale),
        Term::Circle { scale, relaxation } => {
            let pace = scale * (violation + 2.0 * relaxation).max(0.0);
            (pace * violation, pace)
        }
    }
}

fn softplus(scale: f32, x: f32) -> (f32, f32) {
    let z = (-x.abs()).exp();
    let sigmoid = if x > 0.0 { 1.0 } else { z } / (1.0 + z);
    (x.max(0.0) + z.ln_1p(), scale * sigmoid)
}

/// Whether a term is a log-sum-exp.
pub(super) fn is_log(term: Term) -> bool {
    matches!(term, Term::LogSumExp { .. } | Term::Circle { .. })
}
