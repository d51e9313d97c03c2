//! `crossbatch eval`

use std::path::Path;

use serde_json::Value;

use crate::support::{cosine, crossbatch_in, draw_classes, records, run};

fn here() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

#[test]
fn a_run_measures_what_its_summary_says() {
    let found = crossbatch_in(here(), &["eval", run(), "--format", "json"]).json();
    let text = fs_err::read_to_string(Path::new(run()).join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&text).unwrap();
    let expected = summary["metrics"]["trained"].as_object().unwrap();
    assert!(expected.len() >= 7);
    for (key, value) in expected {
        assert_eq!(&found[key], value, "{key}");
    }
    assert_eq!(found["format_version"], 1);
    assert!(found["seconds"].as_f64().unwrap() > 0.0);
    let measured = found["measure_seconds"].as_f64().unwrap();
    assert!(measured > 0.0 && measured <= found["seconds"].as_f64().unwrap());
    assert!(
        found.as_object().unwrap().values().all(|value| !value.is_object() && !value.is_array())
    );
}

#[test]
fn formats_say_the_same() {
    let args = |format| ["eval", run(), "--recall", "2,5", "--format", format];
    let json = crossbatch_in(here(), &args("json")).json();
    let rows = records(&crossbatch_in(here(), &args("csv")).ok());
    assert_eq!(rows.len(), 2);
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(rows[0].iter().collect::<Vec<_>>(), keys);
    for (key, value) in rows[0].iter().zip(&rows[1]).filter(|(key, _)| !key.ends_with("seconds")) {
        if key == "similarity" {
            assert_eq!(value, "cosine");
            continue;
        }
        let (value, expected) = (value.parse::<f64>().unwrap(), json[key].as_f64().unwrap());
        // serde_json reads numbers to within their last bit.
        assert!((value - expected).abs() < 1e-12, "{key}: {value} and {expected}");
    }

    let outcome = crossbatch_in(here(), &args("table"));
    assert!(outcome.stderr.contains("threads"), "{}", outcome.stderr);
    let table = outcome.ok();
    assert!(table.contains("glyphs test · 60 images · 12 classes · 128-d · cosine"), "{table}");
    let last = table.lines().rev().find(|line| !line.is_empty()).unwrap();
    let keys = ["recall_at_1", "recall_at_2", "recall_at_5", "recall_at_10", "recall_at_100"];
    let shown = keys
        .iter()
        .chain(&["map_at_r", "r_precision"])
        .map(|key| format!("{:.2}", json[key].as_f64().unwrap() * 100.0));
    let words: Vec<&str> = last.split_whitespace().collect();
    assert_eq!(words[words.len() - 7..], shown.collect::<Vec<_>>());
}

/// Both commands must see an image as training does: size, channels, inversion.
#[test]
fn eval_agrees_with_embed() {
    let folder = tempfile::tempdir().unwrap();
    let names = draw_classes(folder.path(), &["disk", "bars", "post", "cross"], 6);
    let list = |classes: [&str; 2]| -> String {
        let of = |name: &&String| classes.iter().any(|class| name.starts_with(class));
        names.iter().filter(of).map(|name| format!("{name},{}\n", &name[..4])).collect()
    };
    fs_err::write(folder.path().join("train.txt"), list(["disk", "bars"])).unwrap();
    fs_err::write(folder.path().join("test.txt"), list(["post", "cross"])).unwrap();

    let args = ["eval", run(), "--data", ".", "--format", "json"];
    let found = crossbatch_in(folder.path(), &args).json();
    crossbatch_in(folder.path(), &["embed", run(), "test.txt", "-o", "e.csv"]).ok();
    let text = fs_err::read_to_string(folder.path().join("e.csv")).unwrap();
    let rows: Vec<(String, Vec<f32>)> = records(&text)[1..]
        .iter()
        .map(|row| (row[1].clone(), row[2..].iter().map(|v| v.parse().unwrap()).collect()))
        .collect();
    assert_eq!((rows.len(), &found["queries"]), (12, &Value::from(12)));
    let is_right = |query: usize| {
        let others = (0..rows.len()).filter(|&other| other != query);
        let similarity = |&other: &usize| cosine(&rows[query].1, &rows[other].1);
        let nearest = others.max_by(|a, b| similarity(a).total_cmp(&similarity(b))).unwrap();
        rows[nearest].0 == rows[query].0
    };
    let right = (0..rows.len()).filter(|&query| is_right(query)).count();
    assert_eq!(found["recall_at_1"].as_f64().unwrap(), right as f64 / 12.0);
}

#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let eval = |args: &[&str]| crossbatch_in(folder.path(), &[&["eval"], args].concat());
    eval(&["."]).fails_with(&["not a run folder", "crossbatch train"]);
    eval(&[run(), "--recall", "5,0"]).fails_with(&["--recall 0", "at least 1"]);
    eval(&[run(), "--data", "nothing"]).fails_with(&["nothing at nothing"]);
    eval(&[run(), "--device", "abacus"]).fails_with(&["abacus", "cpu"]);
    eval(&[run(), "--threads", "100000"]).fails_with(&["threads = 100000"]);
}
