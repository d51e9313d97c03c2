//! Protocols that a list fixes: every row's part is known.

use crate::{Error, Exclude};

/// One search: which rows are queries, which are the gallery, and what a query does not meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Rows of the queries.
    pub queries: Vec<u32>,
    /// Rows of the gallery.
    pub gallery: Vec<u32>,
    /// [`Exclude::SameIndex`] if `queries` and `gallery` are the same list: each row is left out of its own ranking.
    pub exclude: Exclude,
}

impl Trial {
    /// These rows, each searching all others.
    fn within(rows: Vec<u32>) -> Self {
        Self { gallery: rows.clone(), queries: rows, exclude: Exclude::SameIndex }
    }
}

/// What a row of a split column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Training; takes no part in a search.
    Train,
    /// Searches the gallery.
    Query,
    /// Is searched.
    Gallery,
}

/// Every row searches all other rows.
pub fn leave_one_out(rows: usize) -> Trial {
    Trial::within((0..rows as u32).collect())
}

/// The class-disjoint protocol of SOP, CUB and Cars196: every row of the test classes searches all other rows of these.
///
/// `test[i]` says whether row `i` is a test row.
///
/// # Errors
///
/// [`Error::ColumnLength`] if the two differ in length, [`Error::SharedClass`] for the smallest label that is on both sides.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::Error;
/// use crossbatch_retrieval::protocol::held_out_classes;
///
/// let trial = held_out_classes(&[1, 1, 2, 2], &[false, false, true, true])?;
/// assert_eq!(trial.queries, [2, 3]);
/// let mixed = held_out_classes(&[1, 2, 2, 2], &[false, false, true, true]);
/// assert_eq!(mixed, Err(Error::SharedClass { label: 2 }));
/// # Ok::<(), Error>(())
/// ```
pub fn held_out_classes(labels: &[u32], test: &[bool]) -> Result<Trial, Error> {
    check(labels, "marks for testing", test.len())?;
    let mut sides: Vec<(u32, bool)> = labels.iter().copied().zip(test.iter().copied()).collect();
    sides.sort_unstable();
    sides.dedup();
    if let Some(pair) = sides.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::SharedClass { label: pair[0].0 });
    }
    Ok(Trial::within((0..).zip(test).filter(|(_, test)| **test).map(|(row, _)| row).collect()))
}

/// The protocol of In-Shop Clothes: query rows search gallery rows, and training classes are not among them.
///
/// # Errors
///
/// As [`held_out_classes`].
pub fn query_gallery(labels: &[u32], roles: &[Role]) -> Result<Trial, Error> {
    let test: Vec<bool> = roles.iter().map(|&role| role != Role::Train).collect();
    held_out_classes(labels, &test)?;
    let with = |wanted: Role| {
        (0..).zip(roles).filter(move |(_, role)| **role == wanted).map(|(row, _)| row).collect()
    };
    let (queries, gallery) = (with(Role::Query), with(Role::Gallery));
    Ok(Trial { queries, gallery, exclude: Exclude::Nothing })
}

fn check(labels: &[u32], what: &'static str, values: usize) -> Result<(), Error> {
    let rows = labels.len();
    if rows == values {
        return Ok(());
    }
    Err(Error::ColumnLength { side: "query set", what, rows, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_shop_rows_take_their_parts() {
        use Role::{Gallery, Query, Train};
        let roles = [Train, Query, Gallery, Gallery, Train, Query];
        let trial = query_gallery(&[2, 1, 1, 3, 2, 3], &roles).unwrap();
        let expected =
            Trial { queries: vec![1, 5], gallery: vec![2, 3], exclude: Exclude::Nothing };
        assert_eq!(trial, expected);
        let found = query_gallery(&[1, 1, 1, 3, 2, 3], &roles);
        assert_eq!(found, Err(Error::SharedClass { label: 1 }));
        assert!(matches!(query_gallery(&[1], &roles), Err(Error::ColumnLength { .. })));
    }

    #[test]
    fn leaving_one_out() {
        let trial = leave_one_out(3);
        assert_eq!((trial.queries, trial.gallery), (vec![0, 1, 2], vec![0, 1, 2]));
        assert_eq!(trial.exclude, Exclude::SameIndex);
    }
}
