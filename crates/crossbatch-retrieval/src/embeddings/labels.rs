//! A value for each row, as text, kept as a dense number: labels, cameras, captures.

use std::collections::HashMap;

/// A value for each row of [`Embeddings`](super::Embeddings): the label, or a further column such as a camera.
///
/// Values are text; whole numbers are kept in their plain decimal spelling, so that label 7 of a NumPy array and `7` in
/// a CSV file are one label. Each distinct value has a code, dense from 0 in order of first appearance.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::Labels;
///
/// let labels = Labels::from_text(["pear", "apple", "pear"]);
/// assert_eq!(labels.codes(), [0, 1, 0]);
/// assert_eq!(labels.value(1), "apple");
/// assert_eq!(labels.distinct(), ["pear", "apple"]);
///
/// // Queries and gallery share their codes.
/// let gallery = Labels::from_integers([7, -3]);
/// let queries = Labels::from_text(["-3", "8"]);
/// assert_eq!(Labels::shared_codes(&queries, &gallery), [vec![1, 2], vec![0, 1]]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Labels {
    codes: Vec<u32>,
    distinct: Vec<String>,
}

impl Labels {
    /// Labels that are text.
    ///
    /// # Panics
    ///
    /// If there are more than 2³² distinct values; readers refuse files with so many rows.
    pub fn from_text<T: AsRef<str>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut labels = Self::default();
        let mut known: HashMap<String, u32> = HashMap::new();
        for value in values {
            let value = value.as_ref();
            let code = known.get(value).copied().unwrap_or_else(|| {
                let code = labels.next_code();
                labels.distinct.push(value.to_owned());
                known.insert(value.to_owned(), code);
                code
            });
            labels.codes.push(code);
        }
        labels
    }

    /// Labels that are whole numbers, of any i64 or u64.
    ///
    /// # Panics
    ///
    /// As [`Labels::from_text`].
    pub fn from_integers<T: Into<i128>>(values: impl IntoIterator<Item = T>) -> Self {
        let mut labels = Self::default();
        let mut known: HashMap<i128, u32> = HashMap::new();
        for value in values {
            let value = value.into();
            let code = *known.entry(value).or_insert_with(|| {
                let code = labels.next_code();
                labels.distinct.push(value.to_string());
                code
            });
            labels.codes.push(code);
        }
        labels
    }

    /// Labels from their codes and the value of each code; `None` if a code has no value.
    pub fn from_codes(codes: Vec<u32>, distinct: Vec<String>) -> Option<Self> {
        let fits = codes.iter().all(|&code| (code as usize) < distinct.len());
        fits.then_some(Self { codes, distinct })
    }

    fn next_code(&self) -> u32 {
        u32::try_from(self.distinct.len()).expect("fewer than 2^32 distinct labels")
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// The code of each row.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The value of each code.
    pub fn distinct(&self) -> &[String] {
        &self.distinct
    }

    /// The value of a row.
    ///
    /// # Panics
    ///
    /// If there are not more than `row` rows.
    pub fn value(&self, row: usize) -> &str {
        &self.distinct[self.codes[row] as usize]
    }

    /// The values of all rows.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &str> {
        self.codes.iter().map(|&code| self.distinct[code as usize].as_str())
    }

    /// Codes of queries and gallery under one numbering, in which equal values have equal codes: that of the gallery,
    /// and beyond it the values that only queries have.
    pub fn shared_codes(queries: &Self, gallery: &Self) -> [Vec<u32>; 2] {
        let numbered = gallery.distinct.iter().map(String::as_str).zip(0u32..);
        let known: HashMap<&str, u32> = numbered.collect();
        let mut next = gallery.distinct.len() as u32;
        let renumbered: Vec<u32> = queries
            .distinct
            .iter()
            .map(|value| {
                known.get(value.as_str()).copied().unwrap_or_else(|| {
                    next += 1;
                    next - 1
                })
            })
            .collect();
        let queries = queries.codes.iter().map(|&code| renumbered[code as usize]).collect();
        [queries, gallery.codes.clone()]
    }

    /// The values as integers, where each is one in its plain spelling: `007` and `7` are two labels.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        let whole = |value: &String| {
            value.parse::<i64>().ok().filter(|number| number.to_string() == *value)
        };
        let distinct: Vec<i64> = self.distinct.iter().map(whole).collect::<Option<_>>()?;
        Some(self.codes.iter().map(|&code| distinct[code as usize]).collect())
    }

    /// The rows with these indices, in this order.
    ///
    /// # Panics
    ///
    /// If there is no row with one of the indices.
    pub fn select(&self, rows: &[u32]) -> Self {
        Self::from_text(rows.iter().map(|&row| self.value(row as usize)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_their_spelling_are_one_label() {
        let numbers = Labels::from_integers([i64::MIN, 7, i64::MIN]);
        assert_eq!(numbers.value(2), "-9223372036854775808");
        let large = Labels::from_integers([u64::MAX]);
        assert_eq!(large.value(0), "18446744073709551615");
        assert_eq!(Labels::from_text(["7", "x"]).codes(), Labels::from_integers([7, 8]).codes());
    }

    #[test]
    fn whole_numbers_stay_and_other_labels_do_not() {
        assert_eq!(Labels::from_text(["7", "-3", "7"]).integers(), Some(vec![7, -3, 7]));
        assert_eq!(Labels::from_text(["007", "7"]).integers(), None);
        assert_eq!(Labels::from_text(["18446744073709551615"]).integers(), None);
        assert_eq!(Labels::from_text(["pear"]).integers(), None);
    }

    #[test]
    fn codes_need_values() {
        assert_eq!(Labels::from_codes(vec![0, 1], vec!["a".to_owned()]), None);
        let labels = Labels::from_codes(vec![1, 0], vec!["a".to_owned(), "b".to_owned()]).unwrap();
        assert_eq!(labels.values().collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(labels.select(&[1, 1, 0]).values().collect::<Vec<_>>(), ["a", "a", "b"]);
    }
}
