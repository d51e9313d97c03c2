//! Search against a full sort.

use std::{io, ops::Range};

use crossbatch_retrieval::{
    Embeddings, Error, Exclude, FileRows, Ignore, Neighbours, Options, Precision, Relation,
    RowSource, Similarity, Values, Vectors, nearest, nearest_sources, rank, rank_sources, search,
};
use half::{bf16, f16};
use proptest::prelude::*;

use crate::naive;

fn check(queries: &Vectors, gallery: &Vectors, k: usize, exclude: Exclude) {
    let found = search(queries, gallery, k, exclude, &|_, _| {}).unwrap();
    let met = |query| naive::ranking(queries, query, gallery, exclude).len();
    let offered = (0..queries.len()).map(met).max().unwrap_or(gallery.len());
    assert_eq!(found.k, k.min(offered));
    assert_eq!(found.indices.len(), queries.len() * found.k);
    for query in 0..queries.len() {
        let mut expected = naive::ranking(queries, query, gallery, exclude);
        expected.truncate(k);
        let (indices, similarities) = found.row(query);
        let pairs = indices.iter().copied().zip(similarities.iter().copied());
        assert!(
            pairs.eq(expected.iter().map(|&(item, similarity)| (item, similarity as f32))),
            "query {query}: found {indices:?} {similarities:?}\nexpected {expected:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn search_equals_a_full_sort(
        (queries, gallery) in (1usize..10)
            .prop_flat_map(|dim| (naive::hard_rows(0..12, dim), naive::hard_rows(0..40, dim))),
        k in 1usize..45,
        same_index: bool,
    ) {
        let exclude = if same_index { Exclude::SameIndex } else { Exclude::Nothing };
        check(&queries, &gallery, k, exclude);
    }

    #[test]
    fn self_search_equals_a_full_sort(
        rows in (1usize..10).prop_flat_map(|dim| naive::hard_rows(0..30, dim)),
        k in 1usize..35,
    ) {
        check(&rows, &rows, k, Exclude::SameIndex);
    }
}

#[test]
fn a_gallery_of_several_blocks_in_many_dimensions() {
    let rows = |count: usize, seed: usize| {
        let value = |i: usize| ((i * 7919 + seed * 31) % 100_003) as f32 / 50_000.0 - 1.0;
        Vectors::new((0..count * 300).map(value).collect::<Vec<_>>(), 300, Similarity::Cosine)
            .unwrap()
    };
    check(&rows(40, 1), &rows(3000, 2), 150, Exclude::Nothing);
    check(&rows(5, 1), &rows(2500, 1), 2499, Exclude::SameIndex);
}

#[test]
fn a_collapsed_gallery_ranks_by_index() {
    let rows = Vectors::new(vec![0.3; 2100 * 4], 4, Similarity::Cosine).unwrap();
    let found = search(&rows, &rows, 3, Exclude::SameIndex, &|_, _| {}).unwrap();
    assert_eq!(found.row(2000).0, [0, 1, 2]);
    assert_eq!(found.row(1).0, [0, 2, 3]);
}

/// Raw rows; cosine must not scale them a second time.
struct Raw<'a>(&'a Vectors);

impl RowSource for Raw<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }
    fn dim(&self) -> usize {
        self.0.dim()
    }
    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        out.copy_from_slice(&self.0.rows(rows));
        Ok(())
    }
}

/// With as many bytes, or with what the error says would do.
fn enough(with: &dyn Fn(usize) -> Result<Neighbours, Error>, mut bytes: usize) -> Neighbours {
    for _ in 0..4 {
        match with(bytes) {
            Ok(found) => return found,
            Err(Error::Memory { needed, .. }) => {
                assert!(needed > bytes);
                bytes = needed;
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("{bytes} bytes were not enough either");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn streamed_search_equals_that_in_memory(
        (queries, gallery) in (1usize..10)
            .prop_flat_map(|dim| (naive::hard_rows(0..50, dim), naive::hard_rows(0..90, dim))),
        k in 1usize..95,
        budget in 1usize..60_000,
        (within, same_index) in (any::<bool>(), any::<bool>()),
    ) {
        // Euclidean, which leaves rows as they are.
        let plain = |rows: &Vectors| {
            Vectors::new(rows.rows(0..rows.len()).to_vec(), rows.dim(), Similarity::Euclidean)
                .unwrap()
        };
        let (queries, gallery) = (plain(&queries), plain(&gallery));
        let gallery = if within { &queries } else { &gallery };
        let ignore = if same_index { Ignore::same_index() } else { Ignore::nothing() };
        let expected = nearest(&queries, gallery, k, &ignore, &Options::default()).unwrap();
        let streamed = |bytes| {
            let options = Options::default().with_memory(bytes);
            let (queries, gallery) = (Raw(&queries), Raw(gallery));
            nearest_sources(&queries, &gallery, Similarity::Euclidean, k, &ignore, &options)
        };
        prop_assert_eq!(&enough(&streamed, budget), &expected);
        let within_budget = |bytes| {
            nearest(&queries, gallery, k, &ignore, &Options::default().with_memory(bytes))
        };
        prop_assert_eq!(&enough(&within_budget, budget), &expected);
    }
}

#[test]
fn files_of_every_precision_answer_as_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let (rows, dim) = (1500, 24);
    let data: Vec<f32> = (0..rows * dim).map(|i| ((i * i % 9973) as f32).sin()).collect();
    let labels: Vec<u32> = (0..rows as u32).map(|i| i % 400).collect();
    let halves: Vec<f16> = data.iter().map(|&value| f16::from_f32(value)).collect();
    let brains: Vec<bf16> = data.iter().map(|&value| bf16::from_f32(value)).collect();
    for (values, precision) in [
        (Values::from(data), Precision::F32),
        (halves.into(), Precision::F16),
        (brains.into(), Precision::Bf16),
    ] {
        let path = folder.path().join("rows.safetensors");
        Embeddings::new(values.clone(), dim).unwrap().save(&path).unwrap();
        let file = FileRows::open(&path).unwrap();
        assert_eq!((file.precision(), values.precision()), (precision, precision));
        let vectors = Vectors::new(values, dim, Similarity::Cosine).unwrap();
        let (relation, ignore) = (Relation::within(&labels), Ignore::same_index());
        let all = Options::default();
        let ranks = rank(&vectors, &vectors, &relation, &all).unwrap();
        let found = nearest(&vectors, &vectors, 7, &ignore, &all).unwrap();
        for bytes in [1_000_000, 1_500_000, 9_000_000] {
            let few = Options::default().with_memory(bytes);
            let streamed = rank_sources(&file, &file, Similarity::Cosine, &relation, &few);
            assert_eq!(streamed.unwrap(), ranks, "{precision:?}, {bytes} bytes");
            let streamed = nearest_sources(&file, &file, Similarity::Cosine, 7, &ignore, &few);
            assert_eq!(streamed.unwrap(), found, "{precision:?}, {bytes} bytes");
        }
    }
}

#[test]
fn what_is_wrong_in_a_source_is_named() {
    let bad = |value| {
        let mut data = [0.5; 40];
        data[33] = value;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.npy");
        let mut bytes = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (10, 4), }";
        bytes.extend(format!("{header:117}\n").bytes());
        bytes.extend(data.iter().flat_map(|value: &f32| value.to_le_bytes()));
        fs_err::write(&path, bytes).unwrap();
        let rows = FileRows::open(&path).unwrap();
        let options = Options::default();
        let found = nearest_sources(&rows, &rows, Similarity::Dot, 1, &Ignore::nothing(), &options);
        found.unwrap_err().to_string()
    };
    for value in [f32::NAN, f32::INFINITY] {
        let error = bad(value);
        assert!(error.contains("bad.npy") && error.contains("row 8, column 1"), "{error}");
    }
    let (one, two) = (Embeddings::new(vec![1.0], 1), Embeddings::new(vec![1.0, 2.0], 2));
    let (one, two) = (one.unwrap(), two.unwrap());
    let (ignore, options) = (Ignore::nothing(), Options::default());
    let found = nearest_sources(&one, &two, Similarity::Dot, 1, &ignore, &options);
    assert_eq!(found, Err(Error::Dim { queries: 1, gallery: 2 }));
}
