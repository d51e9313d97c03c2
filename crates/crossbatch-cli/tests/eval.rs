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

/// Settings hold of the other data, too; what the run says of its own does not.
#[test]
fn other_data_takes_settings() {
    let folder = tempfile::tempdir().unwrap();
    let names = draw_classes(folder.path(), &["disk", "bars", "post", "cross"], 6);
    for (list, half) in [("a.txt", &names[..12]), ("b.txt", &names[12..])] {
        let lines = half.iter().map(|name| format!("{name},{}\n", &name[..4]));
        fs_err::write(folder.path().join(list), lines.collect::<String>()).unwrap();
    }
    let eval = |settings: &[&str]| {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<&str> = ["eval", run(), "--data", ".", "--format", "json"]
            .into_iter()
            .chain(settings)
            .collect();
        crossbatch_in(folder.path(), &args)
    };
    let lists = ["data.train-list=a.txt", "data.test-list=b.txt"];
    let save = ["--save-embeddings", "e.csv"];
    let args = ["eval", run(), "--data", ".", "--set", lists[0], "--set", lists[1]];
    crossbatch_in(folder.path(), &[&args[..], &save].concat()).ok();
    let text = fs_err::read_to_string(folder.path().join("e.csv")).unwrap();
    let tested: Vec<String> = records(&text)[1..].iter().map(|row| row[0].clone()).collect();
    assert_eq!(tested, names[12..]);

    // What else a list says of its images can be asked for.
    let lines = |half: &[String]| -> String {
        let side = |at: usize| if at.is_multiple_of(2) { "left" } else { "right" };
        let line = |(at, name): (usize, &String)| format!("{name},{},{}\n", &name[..4], side(at));
        ["image,shape,side\n".to_owned()]
            .into_iter()
            .chain(half.iter().enumerate().map(line))
            .collect()
    };
    fs_err::write(folder.path().join("c.csv"), lines(&names[..12])).unwrap();
    fs_err::write(folder.path().join("d.csv"), lines(&names[12..])).unwrap();
    let sets = [
        "data.train-list=c.csv",
        "data.test-list=d.csv",
        "data.columns.path=image",
        "data.columns.label=shape",
        "data.columns.groups=['side']",
    ];
    let args: Vec<&str> = ["eval", run(), "--data", ".", "--per", "side", "--format", "csv"]
        .into_iter()
        .chain(sets.iter().flat_map(|setting| ["--set", setting]))
        .collect();
    let rows = records(&crossbatch_in(folder.path(), &args).ok());
    let mut found: Vec<_> = rows[1..].iter().map(|row| (&row[0][..], &row[1][..])).collect();
    found.sort_unstable();
    assert_eq!(found, [("left", "6"), ("right", "6")]);

    eval(&[&lists[..], &["data.expected.images=25"]].concat())
        .fails_with(&["24 images", "data.expected.images = 25"]);
    eval(&["data.kind=omniglot"]).fails_with(&["images_background"]);
    for setting in ["data.image-size=32", "data.channels=3", " data.invert = true"] {
        eval(&[setting]).fails_with(&[setting, "as it was trained on them"]);
    }
    eval(&["data.path=b.txt"]).fails_with(&["data.path=b.txt", "--data"]);
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
