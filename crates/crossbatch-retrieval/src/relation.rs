//! Who meets whom: the gallery items that a query ignores, and those that are its positives.

use std::ops::Range;

use crate::Error;

/// Which gallery items a query must not meet, in the two simplest cases. [`Ignore`] has the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exclude {
    /// Every query meets the whole gallery: separate query and gallery sets.
    Nothing,
    /// Query `i` never meets gallery item `i`: a set searched with itself.
    SameIndex,
}

/// One number for each query and for each gallery item: label, identity, camera, capture. Any `u32` is a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    /// A value a query.
    pub queries: &'a [u32],
    /// A value a gallery item.
    pub gallery: &'a [u32],
}

impl<'a> Column<'a> {
    /// Separate columns of queries and gallery.
    pub fn new(queries: &'a [u32], gallery: &'a [u32]) -> Self {
        Self { queries, gallery }
    }

    /// The column of a set searched with itself.
    pub fn within(values: &'a [u32]) -> Self {
        Self { queries: values, gallery: values }
    }
}

/// The gallery items that a query does not meet: they take no place in its ranking, and none of them is its positive.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Column, Ignore};
///
/// // A set searched with itself, where pictures of one capture must not find each other.
/// let capture = [0, 0, 1, 2];
/// let ignore = Ignore::same_index().same(&[Column::within(&capture)]);
///
/// // Re-identification: ignore what shows the query's identity from the query's camera, as Market-1501 does.
/// let (query_label, query_camera) = ([5, 6], [0, 1]);
/// let (gallery_label, gallery_camera) = ([5, 5, 6], [0, 1, 1]);
/// let ignore = Ignore::nothing().same(&[
///     Column::new(&query_label, &gallery_label),
///     Column::new(&query_camera, &gallery_camera),
/// ]);
/// # let _ = ignore;
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ignore<'a> {
    same_index: bool,
    rules: Vec<Vec<Column<'a>>>,
}

impl<'a> Ignore<'a> {
    /// Every query meets every item.
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Query `i` does not meet item `i`: a set searched with itself, each row left out of its own ranking.
    pub fn same_index() -> Self {
        Self { same_index: true, rules: Vec::new() }
    }

    /// Besides, a query does not meet an item that agrees with it in *all* of these columns. Each call adds a rule, and
    /// an item is ignored if any rule says so. A column of ids takes out the same picture wherever it stands.
    pub fn same(mut self, columns: &[Column<'a>]) -> Self {
        if !columns.is_empty() {
            self.rules.push(columns.to_vec());
        }
        self
    }
}

impl From<Exclude> for Ignore<'_> {
    fn from(exclude: Exclude) -> Self {
        match exclude {
            Exclude::Nothing => Self::nothing(),
            Exclude::SameIndex => Self::same_index(),
        }
    }
}

/// Labels, and what is ignored. A query's positives are the items with its label that it does not ignore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relation<'a> {
    labels: Column<'a>,
    ignore: Ignore<'a>,
}

impl<'a> Relation<'a> {
    /// Separate queries and gallery; nothing is ignored.
    pub fn new(query_labels: &'a [u32], gallery_labels: &'a [u32]) -> Self {
        Self { labels: Column::new(query_labels, gallery_labels), ignore: Ignore::nothing() }
    }

    /// A set searched with itself, each row left out of its own ranking.
    pub fn within(labels: &'a [u32]) -> Self {
        Self { labels: Column::within(labels), ignore: Ignore::same_index() }
    }

    /// The same labels with another rule.
    pub fn ignoring(self, ignore: Ignore<'a>) -> Self {
        Self { ignore, ..self }
    }

    /// The labels of queries and gallery.
    pub fn labels(&self) -> Column<'a> {
        self.labels
    }

    /// What each query ignores, ready to be asked.
    pub(crate) fn ignored(&self, queries: usize, gallery: usize) -> Result<Ignored<'a>, Error> {
        Ignored::new(&self.ignore, queries, gallery)
    }
}

/// What each query ignores, ready to be asked.
#[derive(Debug)]
pub(crate) struct Ignored<'a> {
    same_index: bool,
    gallery: usize,
    rules: Vec<Groups<'a>>,
}

impl<'a> Ignored<'a> {
    /// Checks the columns against the number of rows.
    pub(crate) fn new(ignore: &Ignore<'a>, queries: usize, gallery: usize) -> Result<Self, Error> {
        for column in ignore.rules.iter().flatten() {
            check("query set", "values in a column", queries, column.queries.len())?;
            check("gallery", "values in a column", gallery, column.gallery.len())?;
        }
        let rules = ignore.rules.iter().map(|columns| Groups::new(columns)).collect();
        Ok(Self { same_index: ignore.same_index, gallery, rules })
    }

    /// Bytes that it takes beside the columns.
    pub(crate) fn bytes(&self) -> usize {
        self.rules.iter().map(|rule| 4 * rule.order.len()).sum()
    }

    /// Replaces `items` by what `query` ignores, ascending.
    pub(crate) fn of(&self, query: usize, items: &mut Vec<u32>) {
        self.among(query, 0..self.gallery, items);
    }

    /// The same of a part of the gallery.
    pub(crate) fn among(&self, query: usize, part: Range<usize>, items: &mut Vec<u32>) {
        items.clear();
        if self.same_index && part.contains(&query) {
            items.push(query as u32);
        }
        for rule in &self.rules {
            let group = rule.of(query);
            let below = |end: usize| group.partition_point(|&item| (item as usize) < end);
            items.extend_from_slice(&group[below(part.start)..below(part.end)]);
        }
        items.sort_unstable();
        items.dedup();
    }
}

/// A relation ready to be asked.
#[derive(Debug)]
pub(crate) struct Positives<'a> {
    labels: Groups<'a>,
    pub(crate) ignored: Ignored<'a>,
}

impl<'a> Positives<'a> {
    /// Checks labels and columns against the number of rows.
    pub(crate) fn new(
        relation: &Relation<'a>,
        queries: usize,
        gallery: usize,
    ) -> Result<Self, Error> {
        check("query set", "labels", queries, relation.labels.queries.len())?;
        check("gallery", "labels", gallery, relation.labels.gallery.len())?;
        let ignored = Ignored::new(&relation.ignore, queries, gallery)?;
        Ok(Self { labels: Groups::new(&[relation.labels]), ignored })
    }

    /// The positives of `query`, ascending; `ignored` is what it ignores.
    pub(crate) fn of<'b>(
        &'b self,
        query: usize,
        ignored: &'b [u32],
    ) -> impl Iterator<Item = u32> + 'b {
        let same = self.labels.of(query).iter().copied();
        same.filter(|item| ignored.binary_search(item).is_err())
    }

    /// At least as many positives as `query` has.
    pub(crate) fn at_most(&self, query: usize) -> usize {
        self.labels.of(query).len()
    }

    /// Bytes that it takes beside the columns.
    pub(crate) fn bytes(&self) -> usize {
        4 * self.labels.order.len() + self.ignored.bytes()
    }
}

fn check(side: &'static str, what: &'static str, rows: usize, values: usize) -> Result<(), Error> {
    if rows == values { Ok(()) } else { Err(Error::ColumnLength { side, what, rows, values }) }
}

/// The gallery's indices grouped by what they have in some columns.
#[derive(Debug)]
struct Groups<'a> {
    columns: Vec<Column<'a>>,
    /// Indices sorted by their values, then by index.
    order: Vec<u32>,
}

impl<'a> Groups<'a> {
    /// `columns` is not empty and its galleries have at most `u32::MAX` items.
    fn new(columns: &[Column<'a>]) -> Self {
        let columns = columns.to_vec();
        let mut order: Vec<u32> = (0..columns[0].gallery.len() as u32).collect();
        order.sort_unstable_by(|&a, &b| {
            let values = |item: u32| columns.iter().map(move |c| c.gallery[item as usize]);
            values(a).cmp(values(b)).then(a.cmp(&b))
        });
        Self { columns, order }
    }

    /// The items that agree with `query`, ascending.
    fn of(&self, query: usize) -> &[u32] {
        let compare = |item: u32| {
            let values = self.columns.iter().map(|c| c.gallery[item as usize]);
            values.cmp(self.columns.iter().map(|c| c.queries[query]))
        };
        let first = self.order.partition_point(|&item| compare(item).is_lt());
        let group = &self.order[first..];
        &group[..group.partition_point(|&item| compare(item).is_eq())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_find_their_items() {
        let labels = [7, u32::MAX, 7, 0, u32::MAX, 7];
        let groups = Groups::new(&[Column::new(&[7, u32::MAX, 0, 8], &labels)]);
        assert_eq!(groups.of(0), [0, 2, 5]);
        assert_eq!(groups.of(1), [1, 4]);
        assert_eq!(groups.of(2), [3]);
        assert!(groups.of(3).is_empty());
        let empty = Groups::new(&[Column::new(&[1], &[])]);
        assert!(empty.of(0).is_empty());
    }

    #[test]
    fn a_rule_needs_all_its_columns_and_rules_add_up() {
        let (label, camera, copy) = ([1, 1, 1, 2, 2], [0, 0, 1, 0, 1], [9, 8, 7, 6, 9]);
        let ignore = Ignore::nothing()
            .same(&[Column::within(&label), Column::within(&camera)])
            .same(&[Column::within(&copy)]);
        let ignored = Ignored::new(&ignore, 5, 5).unwrap();
        let mut items = Vec::new();
        ignored.of(0, &mut items);
        assert_eq!(items, [0, 1, 4]);
        ignored.of(3, &mut items);
        assert_eq!(items, [3]);
        ignored.among(0, 1..4, &mut items);
        assert_eq!(items, [1]);
    }

    #[test]
    fn positives_are_not_ignored() {
        let labels = [4, 4, 5, 4];
        let positives = Positives::new(&Relation::within(&labels), 4, 4).unwrap();
        let mut ignored = Vec::new();
        positives.ignored.of(1, &mut ignored);
        assert_eq!(ignored, [1]);
        assert_eq!(positives.of(1, &ignored).collect::<Vec<_>>(), [0, 3]);
    }

    #[test]
    fn columns_must_fit() {
        let relation = Relation::new(&[1, 2], &[1]);
        let error = Positives::new(&relation, 2, 2).unwrap_err();
        let expected = Error::ColumnLength { side: "gallery", what: "labels", rows: 2, values: 1 };
        assert_eq!(error, expected);
    }
}
