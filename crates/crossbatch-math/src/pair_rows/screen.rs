//! Codes of the references, kept beside them, that tell which pairs need no product.

use super::problem::Problem;
use super::program::Closeness;
use crate::quantised::{MOST, Quantised, pays};

/// What a row's numbers are multiplied with before they are summed as whole numbers.
const UNIT: f64 = (1u128 << 64) as f64;

/// Numbers beyond this have no place in the sum.
const LARGE: f32 = (1u32 << 30) as f32;

/// The references' codes, and the sum of the references. Whoever owns the references keeps it, and tells it of every
/// row that is written; a [`Problem`] that has one takes less time where few negatives count.
///
/// Most negatives of most losses count for nothing: they are farther away than a threshold. Codes tell that of nearly
/// all of them at a quarter of the products' cost, and the others are computed from the rows as always. Nothing is
/// approximate: a pair is passed over only where the codes' known error cannot matter, and the extremes of all negatives
/// are found the same way. The sum over all negatives is a product with the sum of the references, which is kept in
/// whole numbers (of 2⁻⁶⁴) and so does not hang on the order of writes; it is the one number that is rounded in another
/// way, to f64's precision of the sum over all references.
///
/// Cost: `D + 16` bytes a reference.
#[derive(Clone, PartialEq)]
pub struct Screen {
    rows: Quantised,
    /// Sum of all rows, in units of 2⁻⁶⁴.
    total: Vec<i128>,
    /// Rows with a number that is none or too large. While there is one, the screen is not used.
    strange: Vec<bool>,
    strangers: usize,
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Screen({} x {})", self.rows.len(), self.rows.dim())
    }
}

impl Screen {
    /// Whether one saves time on this processor, for rows of `dim` numbers.
    #[must_use]
    pub fn pays_for(dim: usize) -> bool {
        pays() && dim <= MOST
    }

    /// A screen of `capacity` rows of `dim` numbers, none of them written.
    ///
    /// # Panics
    ///
    /// If `dim` is 0 or larger than [`MOST`].
    #[must_use]
    pub fn new(capacity: usize, dim: usize) -> Self {
        Self {
            rows: Quantised::new(dim, capacity),
            total: vec![0; dim],
            strange: vec![false; capacity],
            strangers: 0,
        }
    }

    /// Takes in what reference `slot` holds now, as it is stored, and what it held before, if it did.
    ///
    /// # Panics
    ///
    /// If there is no such slot, or a row has not the right length.
    pub fn write(&mut self, slot: usize, row: &[f32], before: Option<&[f32]>) {
        let strange = |row: &[f32]| !row.iter().all(|value| value.abs() <= LARGE);
        if let Some(before) = before {
            assert_eq!(before.len(), self.total.len(), "a row has {} numbers", self.total.len());
            if self.strange[slot] {
                self.strangers -= 1;
            } else {
                self.add(before, -1);
            }
        }
        self.rows.set(slot, row);
        self.strange[slot] = strange(row);
        if self.strange[slot] {
            self.strangers += 1;
        } else {
            self.add(row, 1);
        }
    }

    fn add(&mut self, row: &[f32], sign: i128) {
        for (sum, value) in self.total.iter_mut().zip(row) {
            // Exact down to 2⁻⁶⁴: a power of two moves the point alone.
            *sum += sign * (f64::from(*value) * UNIT) as i128;
        }
    }

    /// Forgets all references.
    pub fn clear(&mut self) {
        self.total.fill(0);
        self.strange.fill(false);
        self.strangers = 0;
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        Self::bytes_of(self.rows.len(), self.rows.dim())
    }

    /// Bytes that a screen of so many rows takes, whether it pays or not.
    #[must_use]
    pub fn bytes_of(capacity: usize, dim: usize) -> usize {
        Quantised::bytes_of(capacity, dim) + capacity + 16 * dim
    }

    pub(super) fn rows(&self) -> &Quantised {
        &self.rows
    }

    /// Whether it can stand before the products of `problem`.
    pub(super) fn fits(&self, problem: &Problem<'_>) -> bool {
        let all_count = || (0..problem.filled).all(|reference| problem.counts(reference));
        problem.program.closeness == Closeness::Dot
            && self.rows.dim() == problem.dim
            && self.rows.len() >= problem.filled
            && self.strangers == 0
            && (problem.weights.is_none() || all_count())
    }

    /// The sum of the products of an anchor with all references.
    pub(super) fn product_with_all(&self, anchor: &[f32]) -> f64 {
        let products = anchor.iter().zip(&self.total);
        products.map(|(value, sum)| f64::from(*value) * (*sum as f64 / UNIT)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_forgets_what_is_overwritten() {
        let mut screen = Screen::new(2, 2);
        screen.write(0, &[0.1, -3e-20], None);
        screen.write(1, &[0.7, 0.5], None);
        screen.write(0, &[0.3, 0.25], Some(&[0.1, -3e-20]));
        let mut fresh = Screen::new(2, 2);
        fresh.write(1, &[0.7, 0.5], None);
        fresh.write(0, &[0.3, 0.25], None);
        assert_eq!(screen.total, fresh.total);
        assert!((screen.product_with_all(&[1.0, 2.0]) - 2.5).abs() < 1e-7);
        screen.clear();
        assert_eq!(screen.product_with_all(&[1.0, 2.0]), 0.0);
    }

    #[test]
    fn strange_rows_switch_it_off_while_they_are_there() {
        let mut screen = Screen::new(1, 1);
        screen.write(0, &[f32::NAN], None);
        assert_eq!(screen.strangers, 1);
        screen.write(0, &[2e30], Some(&[f32::NAN]));
        assert_eq!(screen.strangers, 1);
        screen.write(0, &[0.5], Some(&[2e30]));
        assert_eq!((screen.strangers, screen.product_with_all(&[1.0])), (0, 0.5));
    }
}
