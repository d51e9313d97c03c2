//! Rows that are equal to the last bit: the same image twice, or a network that has collapsed.

use crate::{Error, Options, Vectors};

/// Groups of equal rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicates {
    /// The rows of each group of two or more, ascending; groups in the order of their first rows.
    pub groups: Vec<Vec<u32>>,
    /// How many rows are like an earlier one.
    pub repeated: usize,
    /// How many different rows there are.
    pub different: usize,
}

/// Finds rows that are equal in every bit, as they are stored: with cosines, after scaling.
///
/// # Errors
///
/// [`Error::Memory`] if the list of rows does not fit.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Options, Similarity, Vectors};
/// use crossbatch_retrieval::health::duplicates;
///
/// let rows = Vectors::new(vec![1.0, 2.0, 3.0, 1.0, 2.0, 1.0], 1, Similarity::Dot)?;
/// let found = duplicates(&rows, &Options::default())?;
/// assert_eq!(found.groups, [vec![0, 3, 5], vec![1, 4]]);
/// assert_eq!((found.repeated, found.different), (3, 3));
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
pub fn duplicates(rows: &Vectors, options: &Options<'_>) -> Result<Duplicates, Error> {
    options.less(rows.widened_bytes() + 40 * rows.len())?;
    let values = rows.rows(0..rows.len());
    let bits = |row: u32| {
        let first = row as usize * rows.dim();
        values[first..first + rows.dim()].iter().map(|value| value.to_bits())
    };
    let mut order: Vec<u32> = (0..rows.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| bits(a).cmp(bits(b)).then(a.cmp(&b)));
    let runs: Vec<&[u32]> = order.chunk_by(|&a, &b| bits(a).eq(bits(b))).collect();
    let different = runs.len();
    let mut groups: Vec<Vec<u32>> =
        runs.into_iter().filter(|run| run.len() > 1).map(<[u32]>::to_vec).collect();
    groups.sort_unstable_by_key(|group| group[0]);
    Ok(Duplicates { groups, repeated: rows.len() - different, different })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Similarity;

    fn duplicates(rows: &Vectors) -> Duplicates {
        super::duplicates(rows, &Options::default()).unwrap()
    }

    #[test]
    fn nearly_equal_is_not_equal() {
        let data = vec![1.0, 0.5, 1.0, 0.5 + f32::EPSILON, 1.0, 0.5];
        let found = duplicates(&Vectors::new(data, 2, Similarity::Dot).unwrap());
        assert_eq!(found, Duplicates { groups: vec![vec![0, 2]], repeated: 1, different: 2 });
    }

    #[test]
    fn no_rows_and_all_equal_rows() {
        let none = Vectors::new(Vec::<f32>::new(), 2, Similarity::Dot).unwrap();
        assert_eq!(duplicates(&none), Duplicates { groups: vec![], repeated: 0, different: 0 });
        let equal = Vectors::new(vec![0.5; 12], 3, Similarity::Cosine).unwrap();
        assert_eq!(duplicates(&equal).groups, [[0, 1, 2, 3]]);
    }
}
