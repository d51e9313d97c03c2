//! The number of threads changes nothing, not even the last bit.

use std::sync::Mutex;

use crossbatch_retrieval::{Exclude, MetricsConfig, Similarity, Vectors, evaluate_self, search};

/// Families of near-copies, less than 1e-5 apart, some of them equal.
fn rows() -> Vectors {
    let copy = |i: usize| ((i % 5 * 37) as f32).sin() * 1e-6;
    let family = |i: usize, d: usize| ((i % 23 * 31 + d) as f32).sin();
    let data = (0..900).flat_map(|i| (0..20).map(move |d| family(i, d) + copy(i * d)));
    Vectors::new(data.collect::<Vec<_>>(), 20, Similarity::Cosine).unwrap()
}

#[test]
fn one_two_and_three_threads_agree() {
    let rows = rows();
    let labels: Vec<u32> = (0..900).map(|i| i % 23 / 2 + 1000 * (i % 7 / 6)).collect();
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let calls = Mutex::new(Vec::new());
            let note = |done, total| calls.lock().unwrap().push((done, total));
            let config = MetricsConfig::default();
            let metrics = evaluate_self(&rows, &labels, &config, &note).unwrap();
            let calls = calls.into_inner().unwrap();
            assert!(calls.is_sorted_by(|a, b| a.0 < b.0), "{calls:?}");
            assert_eq!(calls.last(), Some(&(900, 900)));
            let found = search(&rows, &rows, 40, Exclude::SameIndex, &|_, _| {}).unwrap();
            (metrics, found)
        })
    };
    let expected = run(1);
    for threads in [2, 3] {
        assert!(run(threads) == expected, "{threads} threads");
    }
}
