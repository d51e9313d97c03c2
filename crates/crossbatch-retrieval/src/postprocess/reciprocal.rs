//! Re-ranking by k-reciprocal encoding, kept sparse.
//!
//! Zhong, Zheng, Cao and Li, "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. Two items are
//! near if they have the same neighbours that have them as neighbours in turn. The published code fills several matrices
//! of all items by all items; nearly all of their entries are zero, and here only the others exist.

use crossbatch_math::product::{dot_f64, rows_times_rows, squared_distance_f64};
use rayon::prelude::*;

use crate::order::Seen;
use crate::relation::Positives;
use crate::scan::check_sides;
use crate::{Error, Ignore, Neighbours, Options, Ranking, Relation, Similarity, Vectors, nearest};

/// Queries, or items, looked at together. Fixed, so that the rounding of a product does not hang on threads.
const BLOCK: usize = 64;

/// Where all of an item's distances are below this share of its squared length, f32 products cannot tell them apart, and
/// they are computed one by one in f64: embeddings that have collapsed.
const COLLAPSED: f32 = 1e-2;

/// The three numbers of the method. The defaults are the paper's for Market-1501.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KReciprocalConfig {
    /// How many neighbours are asked whether they are mutual. Default: 20.
    pub k1: usize,
    /// Over how many nearest (the item itself is the first) encodings are averaged; 1 averages nothing. Default: 6.
    pub k2: usize,
    /// The share of the original distance in the final one, the rest being Jaccard distance. Default: 0.3.
    pub lambda: f64,
}

impl Default for KReciprocalConfig {
    fn default() -> Self {
        Self { k1: 20, k2: 6, lambda: 0.3 }
    }
}

/// Sparse rows: for each item some others, ascending, with weights.
#[derive(Debug, Clone, PartialEq)]
struct Sparse {
    offsets: Vec<usize>,
    entries: Vec<(u32, f32)>,
}

impl Sparse {
    fn of(rows: Vec<Vec<(u32, f32)>>) -> Self {
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.len();
            Some(*end)
        });
        Self { offsets: std::iter::once(0).chain(ends).collect(), entries: rows.concat() }
    }

    fn row(&self, i: usize) -> &[(u32, f32)] {
        &self.entries[self.offsets[i]..self.offsets[i + 1]]
    }

    /// Rows from `first` on, by column: for each column the rows (from zero) that have it.
    fn columns_from(&self, first: usize) -> Self {
        let rows = self.offsets.len() - 1;
        let mut offsets = vec![0; rows + 1];
        let later = &self.entries[self.offsets[first]..];
        later.iter().for_each(|&(column, _)| offsets[column as usize + 1] += 1);
        (1..=rows).for_each(|i| offsets[i] += offsets[i - 1]);
        let mut next = offsets.clone();
        let mut entries = vec![(0, 0.0); later.len()];
        for row in first..rows {
            for &(column, weight) in self.row(row) {
                entries[next[column as usize]] = ((row - first) as u32, weight);
                next[column as usize] += 1;
            }
        }
        Self { offsets, entries }
    }
}

/// Encodings of queries and gallery, ready to rank.
///
/// Distances are squared Euclidean ones, which for unit rows is 2 - 2 cos; each item's are divided by its largest, as in the
/// published code. Memory grows with items times k1 times k2, time with items times items as for a search. In bins of
/// 64 queries, each thread holds their distances to the whole gallery.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Options, Relation, Similarity, Vectors};
/// use crossbatch_retrieval::postprocess::{KReciprocal, KReciprocalConfig};
///
/// // 2.6 is nearer to 5.0 than to 0.0, but 5.0 has nearer ones of its own.
/// let rows = Vectors::new(vec![0.0, 2.6, 5.0, 5.1, 5.2], 1, Similarity::Euclidean)?;
/// let (labels, options) = ([0, 0, 1, 1, 1], Options::default());
/// let config = KReciprocalConfig { k1: 2, k2: 1, lambda: 0.0 };
/// let encoded = KReciprocal::within(&rows, &config, &options)?;
/// let ranking = encoded.rank(&Relation::within(&labels), &options)?;
/// assert_eq!(ranking.ranks(2), [1, 2]);
/// # Ok::<(), crossbatch_retrieval::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct KReciprocal<'a> {
    queries: &'a Vectors,
    gallery: &'a Vectors,
    lambda: f64,
    /// The encoding of each query: union items and weights.
    encodings: Sparse,
    /// For each union item the gallery items whose encodings have it.
    having: Sparse,
    /// Squared lengths of gallery items.
    lengths: Vec<f32>,
    /// Each query's largest squared distance.
    largest: Vec<f64>,
}

impl<'a> KReciprocal<'a> {
    /// Encodes a set that is searched with itself.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for k1 or k2 of zero or λ outside `0.0..=1.0`, [`Error::NotCosine`] for vectors prepared for dot
    /// products, which are no distances, and as [`nearest`].
    pub fn within(
        rows: &'a Vectors,
        config: &KReciprocalConfig,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let all = euclidean(&[rows])?;
        Self::of(rows, rows, &all, 0, config, options)
    }

    /// Encodes queries and a gallery: neighbours are looked for among both.
    ///
    /// # Errors
    ///
    /// As [`KReciprocal::within`], and if the two do not fit together.
    pub fn between(
        queries: &'a Vectors,
        gallery: &'a Vectors,
        config: &KReciprocalConfig,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        check_sides(queries, gallery)?;
        let all = euclidean(&[queries, gallery])?;
        Self::of(queries, gallery, &all, queries.len(), config, options)
    }

    /// The gallery is what stands in `all` from `first` on.
    fn of(
        queries: &'a Vectors,
        gallery: &'a Vectors,
        all: &Vectors,
        first: usize,
        config: &KReciprocalConfig,
        options: &Options<'_>,
    ) -> Result<Self, Error> {
        let KReciprocalConfig { k1, k2, lambda } = *config;
        for (name, k) in [("k1", k1), ("k2", k2)] {
            if k == 0 {
                return Err(Error::Setting { name, value: 0.0, expected: "at least 1" });
            }
        }
        if !(0.0..=1.0).contains(&lambda) {
            let expected = "a share between 0 and 1";
            return Err(Error::Setting { name: "lambda", value: lambda, expected });
        }
        let wanted = (k1 + 1).max(k2);
        // The copy of all rows, their neighbours, lengths and largest distances.
        let held = all.len() * (4 * all.dim() + 8 * wanted.min(all.len()) + 12);
        let options = &options.less(held)?;
        let found = nearest(all, all, wanted, &Ignore::nothing(), options)?;
        let lengths = squared_lengths(all);
        let largest = largest_distances(all, &lengths, options)?;
        let encode = |item: usize| encode(all, &found, k1, item, largest[item]);
        let own: Vec<Vec<(u32, f32)>> = (0..all.len()).into_par_iter().map(encode).collect();
        let entries: usize = own.iter().map(Vec::len).sum();
        // Twice while they are put together; averaged, they have as many as k2 times the entries, twice, and by column.
        let most = if k2 == 1 { 3 } else { 1 + 3 * k2 };
        options.less(8 * most * entries + 48 * all.len())?;
        let encodings = Sparse::of(own);
        let encodings = if k2 == 1 {
            encodings
        } else {
            let mean = |item: usize| mean_of(&encodings, first_of(&found, item, k2));
            Sparse::of((0..all.len()).into_par_iter().map(mean).collect())
        };
        let having = encodings.columns_from(first);
        let lengths = lengths[first..].to_vec();
        Ok(Self { queries, gallery, lambda, encodings, having, lengths, largest })
    }

    /// The final distances of some queries to all gallery items, `[queries, gallery]`.
    fn distances(&self, queries: std::ops::Range<usize>) -> Vec<f64> {
        let (dim, items) = (self.queries.dim(), self.gallery.len());
        let mut products = vec![0.0; queries.len() * items];
        let left = self.queries.rows(queries.clone());
        let right = self.gallery.rows(0..items);
        rows_times_rows(&left, &right, dim, &mut products);
        let mut finals = Vec::with_capacity(products.len());
        let mut shared = vec![0.0f64; items];
        for (i, products) in queries.zip(products.chunks_exact(items.max(1))) {
            shared.fill(0.0);
            for &(union, weight) in self.encodings.row(i) {
                for &(item, other) in self.having.row(union as usize) {
                    shared[item as usize] += f64::from(weight.min(other));
                }
            }
            let row = self.queries.row(i);
            let length = dot_f64(&row, &row);
            let scale = 1.0 / self.largest[i].max(f64::MIN_POSITIVE);
            let collapsed = self.largest[i] < f64::from(COLLAPSED) * length;
            let distance = |(item, &product): (usize, &f32)| {
                let squared = if collapsed {
                    squared_distance_f64(&row, &self.gallery.row(item))
                } else {
                    let other = f64::from(self.lengths[item]);
                    (length + other - 2.0 * f64::from(product)).max(0.0)
                };
                let jaccard = 1.0 - shared[item] / (2.0 - shared[item]);
                (1.0 - self.lambda) * jaccard + self.lambda * squared * scale
            };
            finals.extend(products.iter().enumerate().map(distance));
        }
        finals
    }

    /// The final distances of one query to all gallery items: λ times the original one, over its largest, and (1 - λ)
    /// times the Jaccard distance of the encodings.
    ///
    /// # Panics
    ///
    /// If there are not more than `query` queries.
    pub fn distances_of(&self, query: usize) -> Vec<f64> {
        self.distances(query..query + 1)
    }

    /// The ranks of every query's positives by the final distance, smallest first, equal ones by index.
    ///
    /// # Errors
    ///
    /// As [`rank`](crate::rank()).
    pub fn rank(&self, relation: &Relation<'_>, options: &Options<'_>) -> Result<Ranking, Error> {
        let (queries, items) = (self.queries.len(), self.gallery.len());
        let positives = Positives::new(relation, queries, items)?;
        let pairs = (0..queries).map(|query| positives.at_most(query)).sum();
        let lists = 2 * Ranking::bytes(queries, pairs) + 24 * queries + positives.bytes();
        let own = 4 * (self.encodings.entries.len() + self.having.entries.len()) * 2;
        let blocks = rayon::current_num_threads() * items * (BLOCK * 12 + 8);
        options.less(lists.saturating_add(own).saturating_add(blocks))?;
        let tally = options.tally(queries as u64, queries);
        let block = |first: usize| -> Result<Vec<(Vec<u32>, u32)>, Error> {
            options.check()?;
            let block = first..(first + BLOCK).min(queries);
            let mut distances = self.distances(block.clone());
            let mut ignored = Vec::new();
            let rows = block.clone().zip(distances.chunks_exact_mut(items.max(1)));
            let ranked = rows.map(|(query, distances)| {
                positives.ignored.of(query, &mut ignored);
                ignored.iter().for_each(|&item| distances[item as usize] = f64::INFINITY);
                let ranks = ranks_of(positives.of(query, &ignored), distances);
                (ranks, (items - ignored.len()) as u32)
            });
            let ranked: Vec<_> = ranked.collect();
            tally.add(block.len() as u64);
            // Without a gallery there is nothing to rank, but each query still counts.
            Ok(if items == 0 { vec![(Vec::new(), 0); block.len()] } else { ranked })
        };
        let firsts: Vec<usize> = (0..queries).step_by(BLOCK).collect();
        let blocks: Vec<_> = firsts.into_par_iter().map(block).collect::<Result<_, _>>()?;
        let (ranks, met): (Vec<Vec<u32>>, Vec<u32>) = blocks.into_iter().flatten().unzip();
        Ranking::from_ranks(&ranks, &met)
    }
}

/// The rows of all sides, one after the other, compared by Euclidean distance as they are stored.
fn euclidean(sides: &[&Vectors]) -> Result<Vectors, Error> {
    let dim = sides[0].dim();
    if sides[0].similarity() == Similarity::Dot {
        return Err(Error::NotCosine { what: "re-ranking", similarity: Similarity::Dot });
    }
    let values: Vec<f32> =
        sides.iter().flat_map(|side| side.rows(0..side.len()).into_owned()).collect();
    Vectors::new(values, dim, Similarity::Euclidean)
}

fn squared_lengths(rows: &Vectors) -> Vec<f32> {
    let length = |i: usize| dot_f64(&rows.row(i), &rows.row(i)) as f32;
    (0..rows.len()).into_par_iter().map(length).collect()
}

/// Each row's largest squared distance to any row.
fn largest_distances(
    rows: &Vectors,
    lengths: &[f32],
    options: &Options<'_>,
) -> Result<Vec<f64>, Error> {
    const WIDTH: usize = 1024;
    let exact = |i: usize| {
        let row = rows.row(i);
        (0..rows.len()).map(|j| squared_distance_f64(&row, &rows.row(j))).fold(0.0, f64::max)
    };
    let block = |first: usize| -> Result<Vec<f64>, Error> {
        options.check()?;
        let block = first..(first + BLOCK).min(rows.len());
        let left = rows.rows(block.clone());
        let mut largest = vec![f32::NEG_INFINITY; block.len()];
        let mut products = Vec::new();
        for start in (0..rows.len()).step_by(WIDTH) {
            let end = (start + WIDTH).min(rows.len());
            products.resize(block.len() * (end - start), 0.0);
            rows_times_rows(&left, &rows.rows(start..end), rows.dim(), &mut products);
            for (largest, products) in largest.iter_mut().zip(products.chunks_exact(end - start)) {
                let far = products.iter().zip(&lengths[start..end]).map(|(p, l)| l - 2.0 * p);
                *largest = far.fold(*largest, f32::max);
            }
        }
        let whole = block.zip(largest).map(|(i, far)| {
            let far = far + lengths[i];
            if far < COLLAPSED * lengths[i] { exact(i) } else { f64::from(far) }
        });
        Ok(whole.collect())
    };
    let firsts: Vec<usize> = (0..rows.len()).step_by(BLOCK).collect();
    let blocks: Vec<Vec<f64>> = firsts.into_par_iter().map(block).collect::<Result<_, _>>()?;
    Ok(blocks.concat())
}

/// The first `count` neighbours of an item, itself among them.
fn first_of(found: &Neighbours, item: usize, count: usize) -> &[u32] {
    let (items, _) = found.row(item);
    &items[..count.min(items.len())]
}

/// The neighbours among the first `count` of an item that have it among their first `count`, ascending.
fn mutual(found: &Neighbours, item: usize, count: usize) -> Vec<u32> {
    let has = |&&other: &&u32| first_of(found, other as usize, count).contains(&(item as u32));
    let mut items: Vec<u32> = first_of(found, item, count).iter().filter(has).copied().collect();
    items.sort_unstable();
    items
}

/// An item's encoding: its mutual neighbours, and those of them that largely share them, weighed by exp(-distance).
fn encode(
    all: &Vectors,
    found: &Neighbours,
    k1: usize,
    item: usize,
    largest: f64,
) -> Vec<(u32, f32)> {
    let own = mutual(found, item, k1 + 1);
    let half = (k1 as f64 / 2.0).round_ties_even() as usize;
    let mut items = own.clone();
    for &candidate in &own {
        let theirs = mutual(found, candidate as usize, half + 1);
        let shared = theirs.iter().filter(|other| own.binary_search(other).is_ok()).count();
        if 3 * shared > 2 * theirs.len() {
            items.extend(theirs);
        }
    }
    items.sort_unstable();
    items.dedup();
    let scale = if largest > 0.0 { 1.0 / largest } else { 0.0 };
    let weight = |&other: &u32| (all.closeness(item, all, other as usize) * scale).exp();
    let weights: Vec<f64> = items.iter().map(weight).collect();
    let total: f64 = weights.iter().sum();
    items.into_iter().zip(weights).map(|(other, weight)| (other, (weight / total) as f32)).collect()
}

/// The mean of the encodings of some items.
fn mean_of(encodings: &Sparse, items: &[u32]) -> Vec<(u32, f32)> {
    let mut entries: Vec<(u32, f32)> =
        items.iter().flat_map(|&item| encodings.row(item as usize)).copied().collect();
    entries.sort_by_key(|&(other, _)| other); // stable: the sum's order is that of the items
    let same = entries.chunk_by(|a, b| a.0 == b.0);
    let mean = same.map(|run| {
        let sum: f64 = run.iter().map(|&(_, weight)| f64::from(weight)).sum();
        (run[0].0, (sum / items.len() as f64) as f32)
    });
    mean.collect()
}

/// The ranks of `positives` by distance. Items at infinity are not met.
fn ranks_of(positives: impl Iterator<Item = u32>, distances: &[f64]) -> Vec<u32> {
    let seen = |index: u32| Seen { similarity: -distances[index as usize], index };
    let mut wanted: Vec<Seen> = positives.map(seen).collect();
    wanted.sort_unstable_by(Seen::compare);
    let Some(last) = wanted.last().copied() else {
        return Vec::new();
    };
    // `landed[j]` items stand before positive `j` and not before `j - 1`.
    let mut landed = vec![0u32; wanted.len() + 1];
    for index in 0..distances.len() as u32 {
        let item = seen(index);
        if item.is_before(last) {
            landed[wanted.partition_point(|positive| !item.is_before(*positive))] += 1;
        }
    }
    let mut before = 0;
    let rank = |landed: &u32| {
        before += landed;
        1 + before
    };
    landed[..wanted.len()].iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(count: usize, dim: usize, seed: usize) -> Vectors {
        let value = |i: usize| (((i + seed) as f64 * 12.9898).sin() * 43758.5453).fract() as f32;
        let centre = |row: usize, d: usize| value(row % 7 * dim + d + 90_000 - seed);
        let data = (0..count)
            .flat_map(|row| (0..dim).map(move |d| centre(row, d) + 0.6 * value(row * dim + d)));
        Vectors::new(data.collect::<Vec<f32>>(), dim, Similarity::Cosine).unwrap()
    }

    /// The published algorithm over full matrices.
    fn written_out(
        queries: &Vectors,
        gallery: &Vectors,
        config: &KReciprocalConfig,
    ) -> Vec<Vec<f64>> {
        let all = euclidean(&[queries, gallery]).unwrap();
        let (n, q) = (all.len(), queries.len());
        let mut distances = vec![vec![0.0; n]; n];
        for (i, row) in distances.iter_mut().enumerate() {
            (0..n).for_each(|j| row[j] = -all.closeness(i, &all, j));
            let largest = row.iter().fold(0.0f64, |m, &x| m.max(x));
            row.iter_mut().for_each(|x| *x /= largest);
        }
        let order: Vec<Vec<usize>> = distances
            .iter()
            .map(|row| {
                let mut order: Vec<usize> = (0..n).collect();
                order.sort_by(|&a, &b| row[a].total_cmp(&row[b]));
                order
            })
            .collect();
        let mutual = |i: usize, k: usize| -> Vec<usize> {
            let near = order[i].iter().take(k + 1).copied();
            near.filter(|&j| order[j].iter().take(k + 1).any(|&x| x == i)).collect()
        };
        let half = (config.k1 as f64 / 2.0).round_ties_even() as usize;
        let mut v = vec![vec![0.0; n]; n];
        for i in 0..n {
            let own = mutual(i, config.k1);
            let mut set: std::collections::BTreeSet<usize> = own.iter().copied().collect();
            for &candidate in &own {
                let theirs = mutual(candidate, half);
                let shared = theirs.iter().filter(|x| own.contains(x)).count();
                if shared as f64 > 2.0 / 3.0 * theirs.len() as f64 {
                    set.extend(theirs);
                }
            }
            let total: f64 = set.iter().map(|&j| (-distances[i][j]).exp()).sum();
            set.iter().for_each(|&j| v[i][j] = (-distances[i][j]).exp() / total);
        }
        let mean: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                let near = &order[i][..config.k2.min(n)];
                let sum = |j: usize| near.iter().map(|&x| v[x][j]).sum::<f64>();
                (0..n).map(|j| sum(j) / near.len() as f64).collect()
            })
            .collect();
        let last = |i: usize, g: usize| {
            let shared: f64 = (0..n).map(|j| mean[i][j].min(mean[q + g][j])).sum();
            let jaccard = 1.0 - shared / (2.0 - shared);
            (1.0 - config.lambda) * jaccard + config.lambda * distances[i][q + g]
        };
        (0..q).map(|i| (0..gallery.len()).map(|g| last(i, g)).collect()).collect()
    }

    #[test]
    fn sparse_equals_the_full_matrices() {
        for (q, g, k1, k2, lambda) in
            [(9, 60, 6, 3, 0.3), (20, 50, 7, 1, 0.0), (5, 30, 50, 6, 0.5), (1, 1, 2, 2, 0.3)]
        {
            let (queries, gallery) = (rows(q, 6, 1), rows(g, 6, 777));
            let config = KReciprocalConfig { k1, k2, lambda };
            let options = Options::default();
            let found = KReciprocal::between(&queries, &gallery, &config, &options).unwrap();
            for (i, expected) in written_out(&queries, &gallery, &config).iter().enumerate() {
                for (found, expected) in found.distances_of(i).iter().zip(expected) {
                    assert!((found - expected).abs() < 2e-6, "{found} {expected}");
                }
            }
        }
    }

    #[test]
    fn ranks_are_places_in_the_order_of_the_distances() {
        let gallery = rows(150, 6, 3);
        let labels: Vec<u32> = (0..150).map(|row| row % 7).collect();
        let (config, options) = (KReciprocalConfig::default(), Options::default());
        let encoded = KReciprocal::within(&gallery, &config, &options).unwrap();
        let ranking = encoded.rank(&Relation::within(&labels), &options).unwrap();
        for query in 0..150 {
            let distances = encoded.distances_of(query);
            let mut order: Vec<usize> = (0..150).filter(|&item| item != query).collect();
            order.sort_by(|&a, &b| distances[a].total_cmp(&distances[b]));
            let same = |&(_, item): &(u32, usize)| labels[item] == labels[query];
            let expected: Vec<u32> = (1..).zip(order).filter(same).map(|(rank, _)| rank).collect();
            // Distances of a single query are products of another shape: near-ties may swap.
            let moved = ranking.ranks(query).iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert!(moved <= 2, "query {query}: {:?} {expected:?}", ranking.ranks(query));
        }
    }

    #[test]
    fn equal_rows_and_threads() {
        let equal = Vectors::new(vec![0.5; 40], 2, Similarity::Cosine).unwrap();
        let labels: Vec<u32> = (0..20).map(|row| row / 2).collect();
        let (config, options) = (KReciprocalConfig::default(), Options::default());
        let encoded = KReciprocal::within(&equal, &config, &options).unwrap();
        assert!(encoded.distances_of(3).iter().all(|distance| distance.is_finite()));
        let rows = rows(300, 6, 5);
        let labels_of_rows: Vec<u32> = (0..300).map(|row| row % 7).collect();
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let encoded = KReciprocal::within(&rows, &config, &options).unwrap();
                encoded.rank(&Relation::within(&labels_of_rows), &options).unwrap()
            })
        };
        assert!(run(1) == run(3));
        assert_eq!(encoded.rank(&Relation::within(&labels), &options).unwrap().len(), 20);
    }

    #[test]
    fn mistakes_are_errors() {
        let (rows, options) = (rows(9, 3, 1), Options::default());
        let wrong = |k1, k2, lambda| {
            KReciprocal::within(&rows, &KReciprocalConfig { k1, k2, lambda }, &options).is_err()
        };
        assert!(wrong(0, 1, 0.3) && wrong(1, 0, 0.3) && wrong(1, 1, 1.5) && !wrong(1, 1, 1.0));
        let dots = Vectors::new(vec![1.0; 4], 2, Similarity::Dot).unwrap();
        let config = KReciprocalConfig::default();
        assert!(KReciprocal::within(&dots, &config, &options).is_err());
    }
}
