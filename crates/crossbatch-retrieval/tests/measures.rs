//! Verification, clustering, health and post-processing against scikit-learn, faiss, torch and numpy; `measures.py` beside
//! the fixture wrote them.

use crossbatch_retrieval::cluster::{
    KMeansConfig, Normaliser, adjusted_mutual_information, k_means, normalised_mutual_information,
};
use crossbatch_retrieval::health::{duplicates, similarity_health, spectrum, uniformity};
use crossbatch_retrieval::postprocess::{
    Expansion, KReciprocal, KReciprocalConfig, Pca, PcaConfig, expand_queries,
};
use crossbatch_retrieval::verification::{VerificationConfig, verify_within};
use crossbatch_retrieval::{Ignore, Options, Similarity, Vectors};
use serde_json::Value;

fn golden() -> Value {
    let text = include_str!("../../../tests/golden/retrieval/measures.json");
    serde_json::from_str(text).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

fn labels(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|value| value.as_u64().unwrap() as u32).collect()
}

fn vectors(set: &Value, similarity: Similarity) -> Vectors {
    let values: Vec<f32> = numbers(&set["embeddings"]).into_iter().map(|x| x as f32).collect();
    Vectors::new(values, set["dim"].as_u64().unwrap() as usize, similarity).unwrap()
}

/// The fixture's rows as unit vectors, the first of them queries and the others gallery.
fn queries_and_gallery(golden: &Value) -> (Vectors, Vectors) {
    let rows = vectors(&golden["rows"], Similarity::Cosine);
    let queries = golden["rows"]["queries"].as_u64().unwrap() as u32;
    let gallery: Vec<u32> = (queries..rows.len() as u32).collect();
    (rows.select(&(0..queries).collect::<Vec<_>>()), rows.select(&gallery))
}

#[track_caller]
fn close(found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() <= tolerance, "found {found}, expected {expected}");
}

#[test]
fn mutual_information_equals_scikit_learn() {
    let averages =
        [Normaliser::Arithmetic, Normaliser::Geometric, Normaliser::Smaller, Normaliser::Larger];
    for case in golden()["agreement"].as_array().unwrap() {
        let (a, b) = (labels(&case["a"]), labels(&case["b"]));
        for (i, normaliser) in averages.into_iter().enumerate() {
            let nmi = normalised_mutual_information(&a, &b, normaliser).unwrap();
            close(nmi, &case["nmi"][i], 1e-10);
            let ami = adjusted_mutual_information(&a, &b, normaliser).unwrap();
            close(ami, &case["ami"][i], 1e-9);
        }
    }
}

#[test]
fn k_means_is_as_good_as_scikit_learn_and_faiss() {
    let golden = &golden()["clustering"];
    let rows = vectors(golden, Similarity::Euclidean);
    let config = KMeansConfig { restarts: 20, tolerance: 0.0, ..KMeansConfig::new(30) };
    let found = k_means(&rows, &config, &Options::default()).unwrap();
    for peer in ["sklearn_inertia", "faiss_inertia"] {
        let peer = golden[peer].as_f64().unwrap();
        assert!(found.inertia <= 1.01 * peer, "{} against {peer}", found.inertia);
        assert!(found.inertia >= 0.9 * peer, "{} against {peer}: too good", found.inertia);
    }
}

#[test]
fn verification_equals_scikit_learn() {
    let golden = golden();
    let (rows, labels) =
        (vectors(&golden["rows"], Similarity::Cosine), labels(&golden["rows"]["labels"]));
    let expected = &golden["verification"];
    for (exact_pairs, tolerance) in [(u64::MAX, 1e-9), (0, 2e-4)] {
        let config = VerificationConfig { exact_pairs, bins: 1 << 20 };
        let curve = verify_within(&rows, &labels, &config, &Options::default()).unwrap();
        assert_eq!(Value::from(curve.positives()), expected["pairs"][0]);
        assert_eq!(Value::from(curve.negatives()), expected["pairs"][1]);
        close(curve.roc_auc(), &expected["roc_auc"], tolerance);
        close(curve.equal_error_rate().fmr, &expected["equal_error_rate"], tolerance);
        for pair in expected["fnmr_at_fmr"].as_array().unwrap() {
            let point = curve.at_fmr(pair[0].as_f64().unwrap());
            close(point.fnmr, &pair[1], tolerance);
            assert_eq!(curve.at_threshold(point.threshold), point);
        }
    }
}

#[test]
fn health_equals_torch_and_numpy() {
    let golden = golden();
    let labels = labels(&golden["rows"]["labels"]);
    let rows = vectors(&golden["rows"], Similarity::Cosine);
    let expected = &golden["health"];
    let found = similarity_health(&rows, &labels, &Options::default()).unwrap();
    for (spread, name) in [(found.positive, "positive"), (found.negative, "negative")] {
        let spread = spread.unwrap();
        close(spread.mean, &expected[name][0], 1e-6);
        close(spread.deviation, &expected[name][1], 1e-6);
    }
    close(found.alignment.unwrap(), &expected["alignment"], 1e-6);
    for exact_pairs in [u64::MAX, 0] {
        let config = VerificationConfig { exact_pairs, ..VerificationConfig::default() };
        let found = uniformity(&rows, &config, &Options::default()).unwrap();
        close(found, &expected["uniformity"], 1e-5);
    }
    let spectrum = spectrum(&rows, &Options::default()).unwrap();
    close(spectrum.effective_rank, &expected["effective_rank"], 1e-6);
    for pair in expected["principal_fraction"].as_array().unwrap() {
        let found = spectrum.principal_fraction(pair[0].as_f64().unwrap()).unwrap();
        close(found, &pair[1], 1e-12);
    }
    assert_eq!(duplicates(&rows, &Options::default()).unwrap().groups, [[3, 7]]);
}

#[test]
fn principal_components_equal_scikit_learn() {
    let golden = golden();
    let rows = vectors(&golden["rows"], Similarity::Euclidean);
    let pca = Pca::fit(&rows, &PcaConfig::default(), &Options::default()).unwrap();
    for (found, expected) in
        pca.variances().iter().zip(golden["components"]["variances"].as_array().unwrap())
    {
        close(*found, expected, 1e-9);
    }
    let config = PcaConfig { components: Some(4), whiten: true, floor: 0.0 };
    let found = Pca::fit(&rows, &config, &Options::default())
        .unwrap()
        .apply(&rows, &Options::default())
        .unwrap();
    let expected = numbers(&golden["components"]["whitened"]);
    for component in 0..4 {
        let theirs = |row: usize| expected[row * 4 + component];
        let ours = |row: usize| f64::from(found.row(row)[component]);
        // Directions are known up to their sign.
        let sign = (0..rows.len()).map(|row| ours(row) * theirs(row)).sum::<f64>().signum();
        for row in 0..rows.len() {
            assert!((sign * ours(row) - theirs(row)).abs() < 1e-5);
        }
    }
}

#[test]
fn query_expansion_equals_numpy() {
    let golden = golden();
    let (queries, gallery) = queries_and_gallery(&golden);
    let case = &golden["expansion"];
    let expansion = Expansion {
        neighbours: case["neighbours"].as_u64().unwrap() as usize,
        alpha: case["alpha"].as_f64().unwrap(),
    };
    let options = Options::default();
    let found = expand_queries(&queries, &gallery, &Ignore::nothing(), &expansion, &options);
    let found = found.unwrap();
    let values = found.rows(0..found.len());
    let expected = numbers(&case["expected"]);
    assert_eq!(values.len(), expected.len());
    for (found, expected) in values.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() < 1e-6);
    }
}

#[test]
fn re_ranking_equals_dense_numpy() {
    let golden = golden();
    let (queries, gallery) = queries_and_gallery(&golden);
    let case = &golden["reciprocal"];
    let config = KReciprocalConfig {
        k1: case["k1"].as_u64().unwrap() as usize,
        k2: case["k2"].as_u64().unwrap() as usize,
        lambda: case["lambda"].as_f64().unwrap(),
    };
    let encoded = KReciprocal::between(&queries, &gallery, &config, &Options::default()).unwrap();
    let expected = numbers(&case["expected"]);
    for (query, expected) in expected.chunks_exact(gallery.len()).enumerate() {
        for (found, expected) in encoded.distances_of(query).iter().zip(expected) {
            assert!((found - expected).abs() < 3e-6, "query {query}: {found} {expected}");
        }
    }
}
