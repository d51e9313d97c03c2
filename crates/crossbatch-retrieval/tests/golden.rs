//! Numbers of pytorch-metric-learning and scikit-learn on the same vectors; `make.py` beside the fixture wrote them.

use crossbatch_retrieval::{
    Exclude, Metrics, MetricsConfig, Similarity, Vectors, evaluate, evaluate_self,
};
use serde_json::Value;

fn golden() -> Value {
    let text = include_str!("../../../tests/golden/retrieval/golden.json");
    serde_json::from_str(text).unwrap()
}

fn rows_and_labels(set: &Value) -> (Vectors, Vec<u32>) {
    let numbers = |key: &str| set[key].as_array().unwrap().iter();
    let values: Vec<f32> =
        numbers("embeddings").map(|value| value.as_f64().unwrap() as f32).collect();
    let labels = numbers("labels").map(|label| label.as_u64().unwrap() as u32).collect();
    let dim = set["dim"].as_u64().unwrap() as usize;
    (Vectors::new(values, dim, Similarity::Cosine).unwrap(), labels)
}

fn config(expected: &Value) -> MetricsConfig {
    let cuts = expected["recall_at"].as_array().unwrap().iter();
    MetricsConfig { recall_at: cuts.map(|pair| pair[0].as_u64().unwrap() as usize).collect() }
}

fn compare(found: &Metrics, expected: &Value) {
    let check = |name: &str, found: f64, expected: &Value| {
        let expected = expected.as_f64().unwrap();
        assert!((found - expected).abs() < 1e-6, "{name}: found {found}, expected {expected}");
    };
    check("precision at 1", found.precision(1).unwrap(), &expected["precision_at_1"]);
    check("R-precision", found.r_precision, &expected["r_precision"]);
    check("MAP@R", found.map_at_r, &expected["mean_average_precision_at_r"]);
    check("MAP", found.mean_average_precision, &expected["mean_average_precision"]);
    check("MRR", found.mean_reciprocal_rank, &expected["mean_reciprocal_rank"]);
    let at_cuts = [
        ("recall_at", &found.recall_at),
        ("precision_at", &found.precision_at),
        ("map_at", &found.map_at),
        ("ndcg_at", &found.ndcg_at),
    ];
    for (name, found) in at_cuts {
        let expected = expected[name].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for ((cut, value), pair) in found.iter().zip(expected) {
            assert_eq!(Value::from(*cut), pair[0]);
            check(name, *value, &pair[1]);
        }
    }
    check("mean rank", found.mean_rank, &expected["mean_rank"]);
    check("median rank", found.median_rank, &expected["median_rank"]);
    assert_eq!(Value::from(found.queries), expected["queries"]);
    assert_eq!(Value::from(found.left_out), expected["left_out"]);
}

#[test]
fn self_search() {
    let golden = &golden()["self_search"];
    let (rows, labels) = rows_and_labels(&golden["rows"]);
    let config = config(&golden["expected"]);
    let found = evaluate_self(&rows, &labels, &config, &|_, _| {}).unwrap();
    compare(&found, &golden["expected"]);
}

#[test]
fn query_and_gallery() {
    let golden = &golden()["query_gallery"];
    let (queries, query_labels) = rows_and_labels(&golden["queries"]);
    let (gallery, gallery_labels) = rows_and_labels(&golden["gallery"]);
    let config = config(&golden["expected"]);
    let found = evaluate(
        &queries,
        &query_labels,
        &gallery,
        &gallery_labels,
        Exclude::Nothing,
        &config,
        &|_, _| {},
    )
    .unwrap();
    compare(&found, &golden["expected"]);
}
