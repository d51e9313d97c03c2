//! Search against a full sort.

use crossbatch_retrieval::{Exclude, Similarity, Vectors, search};
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
