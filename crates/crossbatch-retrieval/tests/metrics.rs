//! Metrics against their definitions, written out over full rankings.

use crossbatch_retrieval::{
    Error, Exclude, MetricsConfig, Similarity, Vectors, evaluate, evaluate_self, search,
};
use proptest::prelude::*;

use crate::naive;

const CUTS: [usize; 5] = [1, 2, 3, 10, 100];

fn config() -> MetricsConfig {
    MetricsConfig { recall_at: CUTS.to_vec() }
}

fn check(queries: (&Vectors, &[u32]), gallery: (&Vectors, &[u32]), exclude: Exclude) {
    let quiet = |_, _| {};
    let found = evaluate(queries.0, queries.1, gallery.0, gallery.1, exclude, &config(), &quiet);
    match naive::metrics(queries.0, queries.1, gallery.0, gallery.1, exclude, &CUTS) {
        Some(expected) => naive::assert_close(&found.unwrap(), &expected),
        None => assert_eq!(
            found,
            Err(Error::NoQueries { queries: queries.0.len(), gallery: gallery.0.len() })
        ),
    }
}

/// Labels for up to `rows` rows: a few shared ones, and some that are likely to stay alone.
fn labels(rows: usize) -> impl Strategy<Value = Vec<u32>> {
    let label = prop_oneof![4 => 0u32..4, 1 => any::<u32>(), 1 => Just(u32::MAX)];
    proptest::collection::vec(label, rows)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn self_search_equals_the_definitions(
        (rows, labels) in (1usize..10, 1usize..30)
            .prop_flat_map(|(dim, rows)| (naive::hard_rows(rows, dim), labels(rows))),
    ) {
        check((&rows, &labels), (&rows, &labels), Exclude::SameIndex);
    }

    #[test]
    fn query_and_gallery_equal_the_definitions(
        (queries, query_labels, gallery, gallery_labels) in
            (1usize..10, 0usize..12, 0usize..40).prop_flat_map(|(dim, queries, gallery)| (
                naive::hard_rows(queries, dim), labels(queries),
                naive::hard_rows(gallery, dim), labels(gallery),
            )),
        same_index: bool,
    ) {
        let exclude = if same_index { Exclude::SameIndex } else { Exclude::Nothing };
        check((&queries, &query_labels), (&gallery, &gallery_labels), exclude);
    }
}

#[test]
fn classes_larger_than_a_chunk() {
    // 100 and more positives a query: the other way of counting, over several blocks.
    let value = |i: usize| ((i * 7919 + 31) % 100_003) as f32 / 50_000.0 - 1.0;
    let rows = Vectors::new((0..1200 * 16).map(value).collect::<Vec<_>>(), 16, Similarity::Cosine)
        .unwrap();
    let labels: Vec<u32> = (0..1200).map(|i| if i < 250 { 9 } else { i % 8 }).collect();
    check((&rows, &labels), (&rows, &labels), Exclude::SameIndex);
}

#[test]
fn recall_agrees_with_search() {
    let value = |i: usize| ((i * 104_729 + 7) % 100_003) as f32 / 50_000.0 - 1.0;
    let rows =
        Vectors::new((0..300 * 6).map(value).collect::<Vec<_>>(), 6, Similarity::Cosine).unwrap();
    let labels: Vec<u32> = (0..300).map(|i| i / 4).collect();
    let metrics = evaluate_self(&rows, &labels, &config(), &|_, _| {}).unwrap();
    let found = search(&rows, &rows, 10, Exclude::SameIndex, &|_, _| {}).unwrap();
    for k in [1, 2, 3, 10] {
        let hit = |&query: &usize| {
            let same = |&item: &u32| labels[item as usize] == labels[query];
            found.row(query).0[..k].iter().any(same)
        };
        let hits = (0..300).filter(hit).count();
        assert_eq!(metrics.recall(k), Some(hits as f64 / 300.0));
    }
}
