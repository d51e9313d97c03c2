//! The one order in which gallery items stand before a query.
//!
//! Items are ordered by the f64 dot product of the f32 unit rows ([`dot_f64`], summed in fixed order), highest first;
//! equal products by index, lowest first. This is a total order that depends on the vectors alone.
//!
//! Computing it everywhere would be slow, so the bulk of the comparisons use f32 sums from a matrix product. Such a sum
//! lies within [`margin`] of the f64 product whatever kernel made it; where two values are further apart than that, f32
//! decides, and where they are not, f64 is asked. f32 therefore never decides anything that it could get wrong.
//!
//! [`dot_f64`]: crossbatch_math::product::dot_f64

/// The smallest distance at which two similarities are told apart in f32.
const NEAR_TIE: f64 = 1e-5;

/// Upper bound on `|f32 sum - f64 dot product|` for unit rows of `dim` values, with room for
/// rounding a threshold to f32.
///
/// A sum of `n` products, added in any order, is off by at most `n u / (1 - n u)` times the sum of the products'
/// absolute values, with `u = 2^-24` for f32 (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1);
/// for unit rows the latter is at most 1, up to their own rounding. The factor 1.25 covers the denominator and the
/// rounding for every `dim` below three million. Up to 120 dimensions the near-tie distance is larger than the bound.
pub(crate) fn margin(dim: usize) -> f64 {
    let bound = 1.25 * dim as f64 * f64::from(f32::EPSILON) / 2.0 + 1e-6;
    bound.max(NEAR_TIE)
}

/// A gallery item as a query sees it: its exact similarity and its index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) similarity: f64,
    pub(crate) index: u32,
}

impl Seen {
    /// Whether this item stands before `other`.
    pub(crate) fn is_before(self, other: Self) -> bool {
        self.similarity > other.similarity
            || (self.similarity == other.similarity && self.index < other.index)
    }

    /// The order of the ranking, best first.
    pub(crate) fn compare(&self, other: &Self) -> std::cmp::Ordering {
        other.similarity.total_cmp(&self.similarity).then(self.index.cmp(&other.index))
    }
}

/// How many values are looked at together before any of them is looked at alone.
pub(crate) const CHUNK: usize = 64;

/// Whether any value reaches `floor`. Kept without an early exit so that it compiles to vector instructions.
pub(crate) fn any_reaches(values: &[f32], floor: f32) -> bool {
    values.iter().fold(false, |any, &value| any | (value >= floor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_grows_with_the_dimension() {
        assert_eq!(margin(2), 1e-5);
        assert_eq!(margin(100), 1e-5);
        assert!(margin(2048) > 2048.0 * 2.0f64.powi(-24));
    }

    #[test]
    fn higher_similarity_then_lower_index() {
        let seen = |similarity, index| Seen { similarity, index };
        assert!(seen(0.5, 9).is_before(seen(0.4, 1)));
        assert!(seen(0.5, 1).is_before(seen(0.5, 2)));
        assert!(!seen(0.5, 1).is_before(seen(0.5, 1)));
        let mut items = [seen(0.1, 0), seen(0.5, 3), seen(0.5, 2)];
        items.sort_by(Seen::compare);
        assert_eq!(items.map(|item| item.index), [2, 3, 0]);
    }

    #[test]
    fn reaching_includes_the_floor() {
        assert!(any_reaches(&[0.0, 0.5], 0.5));
        assert!(!any_reaches(&[0.0, f32::NEG_INFINITY], 0.5));
    }
}
