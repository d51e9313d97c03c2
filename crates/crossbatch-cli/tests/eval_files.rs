//! `crossbatch eval` of embeddings in files, and of several runs and files.

use std::path::Path;
#[cfg(unix)]
use std::{
    io::{BufRead, BufReader, Read, Write},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crossbatch_retrieval::Embeddings;
use serde_json::Value;

use crate::support::{Outcome, crossbatch_in, records, run};

/// Five points on a circle, by their angles: nearest neighbours can be told by eye.
///
/// Nearest first: 0° sees 10 35 50 91, 10° sees 0 35 50 91, 35° sees 50 10 0 91, 50° sees 35 10 91 0, 91° sees 50 35 10 0.
/// Labels a a b a b: ranks of positives {1, 3}, {1, 3}, {4}, {2, 4}, {2}.
fn circle(folder: &Path) {
    let rows: Vec<String> =
        [(0.0, "a", 1), (10.0, "a", 1), (35.0, "b", 1), (50.0, "a", 2), (91.0, "b", 2)]
            .iter()
            .map(|(angle, label, camera): &(f32, &str, i32)| {
                let (sin, cos) = angle.to_radians().sin_cos();
                format!("{angle},{label},{camera},{cos},{sin}\n")
            })
            .collect();
    let text = format!("name,label,camera,e0,e1\n{}", rows.concat());
    fs_err::write(folder.join("circle.csv"), text).unwrap();
}

fn eval(folder: &Path, args: &[&str]) -> Outcome {
    crossbatch_in(folder, &[&["eval"], args].concat())
}

fn json(folder: &Path, args: &[&str]) -> Value {
    eval(folder, &[args, &["--format", "json"]].concat()).json()
}

#[track_caller]
fn close(found: &Value, expected: f64) {
    let found = found.as_f64().unwrap_or_else(|| panic!("{found} is no number"));
    assert!((found - expected).abs() < 1e-6, "{found} and not {expected}");
}

#[test]
fn a_file_is_measured_without_a_model() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let found = json(folder.path(), &["--embeddings", "circle.csv", "--recall", "2,4"]);
    close(&found["recall_at_1"], 0.4);
    close(&found["recall_at_2"], 0.8);
    close(&found["recall_at_4"], 1.0);
    close(&found["precision_at_2"], 0.4);
    close(&found["map_at_r"], (0.5 + 0.5 + 0.0 + 0.25 + 0.0) / 5.0);
    close(&found["r_precision"], 0.3);
    close(&found["mean_rank"], 2.0);
    assert_eq!((&found["queries"], &found["left_out"]), (&Value::from(5), &Value::from(0)));
    assert_eq!((&found["gallery"], &found["dim"]), (&Value::from(5), &Value::from(2)));
    assert!(found["measure_seconds"].as_f64().unwrap() <= found["seconds"].as_f64().unwrap());

    // A path alone is enough, and the table says the same.
    let table = eval(folder.path(), &["circle.csv"]).ok();
    assert!(table.contains("circle.csv · 5 vectors · 2 classes · 2-d · cosine"), "{table}");
    assert!(table.contains("5 queries; per cent") && table.contains("40.00"), "{table}");
    // The order is Euclidean too, for points of one length.
    let other = json(folder.path(), &["circle.csv", "--similarity", "euclidean"]);
    assert_eq!(other["similarity"], "euclidean");
    assert_eq!(other["map_at_r"], found["map_at_r"]);
}

#[test]
fn labels_come_from_another_file_or_column() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let path = |name: &str| folder.path().join(name);
    fs_err::write(path("l.txt"), "a\na\nb\na\nb\n").unwrap();
    fs_err::write(path("bare.csv"), "1,0\n0.98,0.17\n0.82,0.57\n0.64,0.77\n-0.02,1\n").unwrap();
    let found = json(folder.path(), &["--embeddings", "bare.csv", "--labels", "l.txt"]);
    close(&found["recall_at_1"], 0.4);
    let found = json(folder.path(), &["circle.csv", "--label-column", "camera"]);
    // Cameras 1 1 1 2 2: of those, 35° and 50° see each other first.
    close(&found["recall_at_1"], 0.6);

    eval(folder.path(), &["bare.csv"]).fails_with(&["bare.csv has no labels", "--labels FILE"]);
    fs_err::write(path("short.txt"), "a\nb\n").unwrap();
    eval(folder.path(), &["bare.csv", "--labels", "short.txt"])
        .fails_with(&["short.txt has 2 labels", "bare.csv has 5 vectors"]);
    eval(folder.path(), &["circle.csv", "--label-column", "split"])
        .fails_with(&["no column `split`", "label, camera"]);
    fs_err::write(path("gap.csv"), "name,label,e0,e1\np,a,1,0\nq,,0,1\nr,a,1,1\n").unwrap();
    eval(folder.path(), &["gap.csv"]).fails_with(&["q in gap.csv has no label"]);
    fs_err::write(path("nolabel.csv"), "name,camera,e0,e1\np,a,1,0\nq,b,0,1\n").unwrap();
    eval(folder.path(), &["nolabel.csv"])
        .fails_with(&["no labels", "--label-column with one of its columns (camera)"]);
}

#[test]
fn queries_and_gallery_apart() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let path = |name: &str| folder.path().join(name);
    // Rows of camera 1 search those of camera 2: 0° and 10° find 50° (a) first, 35° too, which is b.
    let args = ["--embeddings", "circle.csv", "--query", "camera=1", "--gallery", "camera=2"];
    let found = json(folder.path(), &args);
    close(&found["recall_at_1"], 2.0 / 3.0);
    assert_eq!((&found["queries"], &found["gallery"]), (&Value::from(3), &Value::from(2)));

    let text = fs_err::read_to_string(path("circle.csv")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    fs_err::write(path("q.csv"), [&lines[..4], &[""][..]].concat().join("\n")).unwrap();
    fs_err::write(path("g.csv"), [&lines[..1], &lines[4..], &[""][..]].concat().join("\n"))
        .unwrap();
    let two = json(folder.path(), &["--query", "q.csv", "--gallery", "g.csv"]);
    for key in ["recall_at_1", "map_at_r", "queries", "left_out", "gallery"] {
        assert_eq!(two[key], found[key], "{key}");
    }

    eval(
        folder.path(),
        &["--embeddings", "circle.csv", "--query", "camera=9", "--gallery", "camera=2"],
    )
    .fails_with(&["no row of circle.csv has `camera=9`", "1, 2"]);
    eval(folder.path(), &["--embeddings", "circle.csv", "--query", "q.csv", "--gallery", "g.csv"])
        .fails_with(&["`q.csv` with --embeddings", "split=query"]);
    fs_err::write(path("wide.csv"), "label,e0,e1,e2\na,1,0,0\n").unwrap();
    eval(folder.path(), &["--query", "q.csv", "--gallery", "wide.csv"])
        .fails_with(&["2 dimensions", "3"]);
    assert_eq!(eval(folder.path(), &["--query", "q.csv"]).code, Some(2));
}

#[test]
fn what_agrees_in_columns_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    // Without positives of the own camera: 0° and 10° look for 50°, third then second; 35° for 91°; 50° for 0° and 10°.
    let found = json(folder.path(), &["circle.csv", "--ignore-same", "label,camera"]);
    // Ranks: 0° {2: after 35}, 10° {2}, 35° {4}, 50° {2, 4}, 91° {2}.
    close(&found["recall_at_1"], 0.0);
    close(&found["mean_rank"], (2.0 + 2.0 + 4.0 + 2.0 + 2.0) / 5.0);
    // Nothing of the own camera: 0° sees 50 (a) first, 10° too, 35° sees 50 then 91, 50° sees 35 then 10 and 0, 91° sees 35 (b).
    let found = json(folder.path(), &["circle.csv", "--ignore-same", "camera"]);
    close(&found["mean_rank"], (1.0 + 1.0 + 2.0 + 2.0 + 1.0) / 5.0);
    eval(folder.path(), &["circle.csv", "--ignore-same", "capture"])
        .fails_with(&["no column `capture`", "label, camera"]);
    eval(folder.path(), &["circle.csv", "--ignore-same", "label"])
        .fails_with(&["leaves out every match", "label,camera"]);
}

#[test]
fn lists_of_classes_and_hard_cases() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let args = ["circle.csv", "--per-class", "--worst", "2", "--confused", "5"];
    let found = json(folder.path(), &args);
    let classes = found["per_class"].as_array().unwrap();
    assert_eq!((classes.len(), &classes[0]["label"]), (2, &Value::from("b")));
    close(&classes[1]["map_at_r"], (0.5 + 0.5 + 0.25) / 3.0);
    close(&found["macro_map_at_r"], (0.5 + 0.5 + 0.25) / 6.0);
    let worst = &found["worst"][0];
    assert_eq!((&worst["name"], &worst["label"]), (&Value::from("35"), &Value::from("b")));
    assert_eq!(
        (&worst["first_positive"], &worst["nearest_wrong"]),
        (&Value::from(4), &Value::from("50"))
    );
    close(&worst["nearest_wrong_similarity"], 15f64.to_radians().cos());
    assert_eq!(found["worst"].as_array().unwrap().len(), 2);
    // Nearest neighbours: a → a, a → a, b → a, a → b, b → a.
    assert_eq!(
        (&found["confused"][0]["label"], &found["confused"][0]["count"]),
        (&Value::from("b"), &Value::from(2))
    );

    let table = eval(folder.path(), &args).ok();
    for part in ["class", "worst queries", "nearest wrong", "taken for"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
    let rows =
        records(&eval(folder.path(), &["circle.csv", "--worst", "2", "--format", "csv"]).ok());
    assert_eq!((rows.len(), &rows[1][1][..]), (3, "35"));
    let rows =
        records(&eval(folder.path(), &["circle.csv", "--per-class", "--format", "csv"]).ok());
    assert_eq!((rows.len(), &rows[0][0][..]), (3, "label"));
    eval(folder.path(), &[&args[..], &["--format", "csv"]].concat()).fails_with(&["one table"]);
    eval(folder.path(), &["circle.csv", "circle.csv", "--per-class"])
        .fails_with(&["`--per-class`", "one"]);
    eval(folder.path(), &["circle.csv", "--worst", "2", "--sheet", "w.png"])
        .fails_with(&["`--sheet` is of a run", "no images"]);
    eval(folder.path(), &["circle.csv", "--sheet", "w.png"]).fails_with(&["--worst N"]);
}

#[test]
fn clusters_verification_and_health() {
    let folder = tempfile::tempdir().unwrap();
    // Two tight, well separated classes: everything is perfect.
    let text = "label,e0,e1\n1,1,0\n1,0.99,0.01\n1,0.98,0\n2,0,1\n2,0.01,0.99\n2,0,0.98\n";
    fs_err::write(folder.path().join("x.csv"), text).unwrap();
    let args = ["x.csv", "--cluster", "--verification", "--health", "--ci"];
    let found = json(folder.path(), &args);
    for key in ["nmi", "ami", "roc_auc", "recall_at_1", "recall_at_1_low", "recall_at_1_high"] {
        close(&found[key], 1.0);
    }
    close(&found["eer"], 0.0);
    close(&found["fnmr_at_fmr_0.001"], 0.0);
    assert_eq!(
        (&found["positive_pairs"], &found["negative_pairs"]),
        (&Value::from(6), &Value::from(9))
    );
    assert!(found["positive_mean"].as_f64().unwrap() > 0.99);
    assert!(found["negative_mean"].as_f64().unwrap() < 0.02);
    // After scaling to length one, 1,0 and 0.98,0 are equal rows, and so are their mirrors.
    assert_eq!((&found["duplicates"], &found["distinct_rows"]), (&Value::from(2), &Value::from(4)));
    assert!(found["uniformity"].as_f64().unwrap() < 0.0);
    let table = eval(folder.path(), &args).ok();
    for part in ["k-means into 2 clusters", "verification", "health", "95 % from"] {
        assert!(table.contains(part), "no {part} in {table}");
    }
}

/// Drawn are both classes (half of the time), a twice (ranks 1 1 2) or b twice (ranks 4 2).
#[test]
fn the_median_has_an_interval() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let found = json(folder.path(), &["circle.csv", "--ci"]);
    close(&found["median_rank"], 2.0);
    close(&found["median_rank_low"], 1.0);
    close(&found["median_rank_high"], 3.0);
}

#[test]
fn parts_of_the_queries_by_a_column() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let found = json(folder.path(), &["circle.csv", "--per", "camera", "--per", "camera"]);
    let cameras = found["per_camera"].as_array().unwrap();
    let all: Vec<_> = cameras.iter().map(|row| (row["value"].as_str(), &row["queries"])).collect();
    assert_eq!(all, [(Some("2"), &Value::from(2)), (Some("1"), &Value::from(3))]);
    close(&cameras[0]["map_at_r"], 0.25 / 2.0);
    close(&cameras[1]["map_at_r"], 1.0 / 3.0);
    close(&found["macro_camera_map_at_r"], (0.125 + 1.0 / 3.0) / 2.0);
    assert!(found.get("macro_map_at_r").is_none(), "{found}");

    let table = eval(folder.path(), &["circle.csv", "--per", "camera", "--per-class"]).ok();
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    let at = |first: &str| lines.iter().position(|line| line.first() == Some(&first)).unwrap();
    assert!(at("class") < at("camera"), "{table}");
    assert_eq!(lines[at("camera") + 3][..4], ["mean", "of", "2", "5"], "{table}");
    let csv = ["circle.csv", "--per", "camera", "--format", "csv"];
    assert_eq!(records(&eval(folder.path(), &csv).ok())[1][..2], ["2", "2"]);
    eval(folder.path(), &[&csv[..], &["--per-class"]].concat()).fails_with(&["one table"]);
    eval(folder.path(), &["circle.csv", "--per", "place"])
        .fails_with(&["no column `place`", "label, camera"]);
    eval(folder.path(), &["circle.csv", "circle.csv", "--per", "camera"])
        .fails_with(&["`--per`", "one"]);
}

#[test]
fn steps_before_the_ranking() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let plain = json(folder.path(), &["circle.csv"]);
    // All components, unwhitened, are a rotation about the mean: distances stay.
    let plain_distance = json(folder.path(), &["circle.csv", "--similarity", "euclidean"]);
    let turned = json(folder.path(), &["circle.csv", "--similarity", "euclidean", "--post", "pca"]);
    assert_eq!(turned["map_at_r"], plain_distance["map_at_r"]);
    for post in ["whiten=1", "dba=1", "qe=2", "dba,qe=1", "rerank=2"] {
        let found = json(folder.path(), &["circle.csv", "--post", post]);
        assert_eq!(found["queries"], plain["queries"], "{post}");
    }
    // Each row becomes the mean of itself and its nearest: 0° and 10° meet at 5°, 35° and 50° at 42.5°.
    let found = json(folder.path(), &["circle.csv", "--post", "dba=1"]);
    assert_ne!(found["mean_rank"], plain["mean_rank"]);
    let learnt =
        ["circle.csv", "--post", "pca", "--similarity", "euclidean", "--learn-from", "circle.csv"];
    assert_eq!(json(folder.path(), &learnt)["map_at_r"], turned["map_at_r"]);

    eval(folder.path(), &["circle.csv", "--post", "rerank,pca"]).fails_with(&["last step"]);
    let outcome = eval(folder.path(), &["circle.csv", "--post", "lda"]);
    assert!(outcome.code == Some(2) && outcome.stderr.contains("pca, whiten, dba, qe and rerank"));
    eval(folder.path(), &["circle.csv", "--post", "pca=3"]).fails_with(&["components"]);
    fs_err::write(folder.path().join("wide.csv"), "e0,e1,e2\n1,0,0\n").unwrap();
    eval(folder.path(), &["circle.csv", "--post", "pca", "--learn-from", "wide.csv"])
        .fails_with(&["wide.csv", "3 numbers", "2"]);
    eval(folder.path(), &["circle.csv", "--post", "dba,qe", "--learn-from", "circle.csv"])
        .fails_with(&["`--learn-from`", "pca", "leave --learn-from out"]);
}

#[test]
fn a_run_and_its_saved_embeddings_agree() {
    let folder = tempfile::tempdir().unwrap();
    let args = [run(), "--save-embeddings", "run.safetensors"];
    let of_run = json(folder.path(), &args);
    let of_file = json(folder.path(), &["run.safetensors"]);
    for (key, value) in of_run.as_object().unwrap() {
        if !key.ends_with("seconds") {
            assert_eq!(&of_file[key], value, "{key}");
        }
    }
    let args = [run(), "--worst", "3", "--sheet", "worst.png", "--quiet"];
    let table = eval(folder.path(), &args).ok();
    assert!(table.contains("worst queries"), "{table}");
    let sheet = image::open(folder.path().join("worst.png")).unwrap();
    assert!(sheet.width() > sheet.height(), "a query and its neighbours a row");

    // Side by side: the same rows, so no difference, and none in any resample.
    let found = json(folder.path(), &[run(), "run.safetensors"]);
    let runs = found["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2);
    for end in ["", "_low", "_high"] {
        close(&runs[1][&format!("map_at_r_difference{end}")], 0.0);
    }
    assert!(runs[0].get("map_at_r_difference").is_none());
}

#[test]
fn differences_are_of_pairs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    // Forty classes of two. In `good` both of a class are alike; in `bad` one class in four has lost its second.
    let file = |name: &str, lost: u32| {
        let mut text = String::from("label,e0,e1\n");
        for class in 0..40u32 {
            for member in 0..2u32 {
                let stray = class % 4 < lost && member == 1;
                let angle =
                    if stray { (class + 20) as f32 * 0.15 + 0.07 } else { class as f32 * 0.15 };
                text += &format!("{class},{},{}\n", angle.cos(), angle.sin());
            }
        }
        fs_err::write(path(name), text).unwrap();
    };
    file("good.csv", 0);
    file("bad.csv", 1);
    let found = json(folder.path(), &["good.csv", "bad.csv", "--ci"]);
    let [good, bad] = &found["runs"].as_array().unwrap()[..] else { panic!() };
    close(&good["recall_at_1"], 1.0);
    let number = |key: &str| bad[key].as_f64().unwrap();
    close(&bad["recall_at_1_difference"], number("recall_at_1") - 1.0);
    let (low, high) = (number("recall_at_1_difference_low"), number("recall_at_1_difference_high"));
    assert!(low < number("recall_at_1_difference") && number("recall_at_1_difference") < high);
    assert!(high < 0.0, "ten classes of forty are more than chance");
    let table = eval(folder.path(), &["good.csv", "bad.csv"]).ok();
    assert!(table.contains("difference") && table.contains("95 % from"), "{table}");
    let rows = records(&eval(folder.path(), &["good.csv", "bad.csv", "--format", "csv"]).ok());
    assert_eq!((rows.len(), &rows[1][0][..], &rows[2][0][..]), (3, "good.csv", "bad.csv"));

    // Other queries: a warning, and no interval.
    circle(folder.path());
    let outcome = eval(folder.path(), &["good.csv", "circle.csv", "--format", "json"]);
    assert!(outcome.stderr.contains("other queries"), "{}", outcome.stderr);
    let found = outcome.json();
    assert!(found["runs"][1].get("map_at_r_difference_low").is_none());
    assert!(found["runs"][1].get("map_at_r_difference").is_some());
}

#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let path = |name: &str| folder.path().join(name);
    eval(folder.path(), &["--embeddings", "gone.npy"]).fails_with(&["gone.npy"]);
    eval(folder.path(), &["circle.csv", "gone.npz"]).fails_with(&["no file gone.npz"]);
    eval(folder.path(), &["circle.csv", "--worst", "0"]).fails_with(&["--worst 0"]);
    eval(folder.path(), &["circle.csv", "--weights", "best"])
        .fails_with(&["`--weights` is of a run"]);
    eval(folder.path(), &["circle.csv", "--data", "x"]).fails_with(&["`--data` is of a run"]);
    eval(folder.path(), &["circle.csv", "--set", "data.protocol=one-gallery"])
        .fails_with(&["`--set` is of a run"]);
    fs_err::write(path("x.pt"), "what PyTorch pickles").unwrap();
    eval(folder.path(), &["x.pt"])
        .fails_with(&["x.pt", ".safetensors, .npy, .npz, .csv, .tsv or .parquet"]);
    fs_err::write(path("x.npy"), "no array").unwrap();
    eval(folder.path(), &["x.npy"]).fails_with(&["x.npy", "NumPy"]);
    fs_err::write(path("nan.csv"), "label,e0,e1\na,1,0\na,NaN,1\n").unwrap();
    eval(folder.path(), &["nan.csv"]).fails_with(&["nan.csv, line 3", "`NaN`"]);
    fs_err::write(path("lone.csv"), "label,e0,e1\na,1,0\nb,0,1\n").unwrap();
    eval(folder.path(), &["lone.csv"]).fails_with(&["no query has a match"]);
    eval(folder.path(), &["circle.csv", "--recall", "0"]).fails_with(&["--recall 0"]);
    eval(folder.path(), &["circle.csv", "--threads", "100000"]).fails_with(&["threads = 100000"]);
    eval(folder.path(), &["circle.csv", "--save-embeddings", "x.npz"]).fails_with(&["`.npz`"]);
    eval(folder.path(), &["circle.csv", "--save-embeddings", "no/x.npy"])
        .fails_with(&["no folder no"]);
    let usage = eval(folder.path(), &[]);
    assert!(usage.code == Some(2) && usage.stderr.contains("RUN|FILE"), "{usage:?}");
}

/// Whatever a file is converted to, it is measured the same.
#[test]
fn formats_of_files_make_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let found = json(folder.path(), &["circle.csv", "--save-embeddings", "c.safetensors"]);
    let other = json(folder.path(), &["c.safetensors", "--save-embeddings", "c.npy"]);
    fs_err::write(folder.path().join("l.csv"), "label\na\na\nb\na\nb\n").unwrap();
    let third = json(folder.path(), &["c.npy", "--labels", "l.csv"]);
    for (key, value) in
        found.as_object().unwrap().iter().filter(|(key, _)| !key.ends_with("seconds"))
    {
        assert_eq!((&other[key], &third[key]), (value, value), "{key}");
    }
    let names = fs_err::read_to_string(folder.path().join("c.names.txt")).unwrap();
    assert_eq!(names, "0\n10\n35\n50\n91\n");
}

/// 60,000 vectors as `x.npy`, their labels as `l.txt`.
#[cfg(unix)]
fn many(folder: &Path) {
    let rows = 60_000;
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, 64), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    let noise = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 8_388_608.0 - 1.0;
    (0..rows * 64).for_each(|i| bytes.extend(noise(i).to_le_bytes()));
    fs_err::write(folder.join("x.npy"), bytes).unwrap();
    let labels: String = (0..rows).map(|row| format!("{}\n", row / 5)).collect();
    fs_err::write(folder.join("l.txt"), labels).unwrap();
}

#[cfg(unix)]
fn start(folder: &Path, args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_crossbatch"))
        .args(args)
        .current_dir(folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[cfg(unix)]
fn interrupt(child: &Child) {
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
}

/// Interrupts an evaluation once its stderr has a line with `part`; returns the rest of it.
#[cfg(unix)]
fn interrupted_at(part: &str, folder: &Path, args: &[&str]) -> String {
    let mut child = start(folder, args);
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(part) {
        line.clear();
        assert!(stderr.read_line(&mut line).unwrap() > 0, "no line with {part}");
    }
    interrupt(&child);
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest}");
    assert!(output.stdout.is_empty());
    rest
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_evaluation_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    many(folder.path());
    let args = ["eval", "x.npy", "--labels", "l.txt", "--format", "json"];
    let rest = interrupted_at("measuring x.npy · 60000 vectors", folder.path(), &args);
    assert!(rest.contains("nothing was written"), "{rest}");
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 2);
}

#[cfg(unix)]
#[test]
fn ctrl_c_says_what_was_saved() {
    let folder = tempfile::tempdir().unwrap();
    many(folder.path());
    let args = ["eval", "x.npy", "--labels", "l.txt", "--save-embeddings", "s.safetensors"];
    let rest = interrupted_at("embeddings in s.safetensors", folder.path(), &args);
    assert!(rest.contains("only the embeddings were written, to s.safetensors"), "{rest}");
    assert!(folder.path().join("s.safetensors").exists());
}

/// A pipe that never ends stands for a large file.
#[cfg(unix)]
#[test]
fn ctrl_c_ends_reading_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("x.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for args in [&["eval", "x.csv"][..], &["search", "--query", "x.csv", "--gallery", "x.csv"]] {
        let mut child = start(folder.path(), args);
        // Returns once the program has opened the other end.
        let mut rows = fs_err::OpenOptions::new().write(true).open(&pipe).unwrap();
        rows.write_all(b"label,e0,e1\n1,0.5,0.5\n").unwrap();
        interrupt(&child);
        let mut waited = 0;
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if waited > 300 => {
                    child.kill().unwrap();
                    panic!("{args:?} reads on");
                }
                None => std::thread::sleep(Duration::from_millis(100)),
            }
            waited += 1;
        };
        assert_eq!(status.code(), Some(130), "{args:?}");
    }
}

/// The rows that the ranking does not let meet are no pairs either.
#[test]
fn verification_keeps_the_rules() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let with = |args: &[&str]| {
        json(folder.path(), &[&["circle.csv", "--verification", "--health"], args].concat())
    };
    let pairs = |found: &Value| {
        ["positive_pairs", "negative_pairs"].map(|key| found[key].as_u64().unwrap())
    };
    let all = with(&[]);
    assert_eq!(pairs(&all), [4, 6]);
    // 0° and 10° are of one class and camera. Positives lie 50, 40 and 56 degrees apart, negatives 15 25 35 41 81 91.
    let found = with(&["--ignore-same", "label,camera"]);
    assert_eq!(pairs(&found), [3, 6]);
    close(&found["roc_auc"], (2.0 + 3.0 + 2.0) / 18.0);
    // Health is of the vectors, whoever meets whom.
    assert_eq!(found["positive_mean"], all["positive_mean"]);
    let table = ["circle.csv", "--verification", "--ignore-same", "label,camera"];
    let table = eval(folder.path(), &table).ok();
    assert!(table.contains("over all pairs that --ignore-same leaves"), "{table}");

    // Rows on both sides do not meet themselves.
    let sides = ["--embeddings", "circle.csv", "--query", "camera=1", "--gallery", "all=1"];
    let text = fs_err::read_to_string(folder.path().join("circle.csv")).unwrap();
    let text = text.replace("label,", "all,id,label,").replace(",a,", ",1,ID,a,");
    let text = text.replace(",b,", ",1,ID,b,");
    let text: String = text
        .lines()
        .enumerate()
        .map(|(at, line)| line.replace("ID", &at.to_string()) + "\n")
        .collect();
    fs_err::write(folder.path().join("circle.csv"), text).unwrap();
    let found =
        json(folder.path(), &[&sides[..], &["--ignore-same", "id", "--verification"]].concat());
    // 0° and 10° have two positives each, 35° one: 5 of 3 x 4 pairs.
    assert_eq!(pairs(&found), [5, 7]);
}

/// Expanded queries are ranked against the rows as they were, and judged so: 5 x 4 pairs, not 10.
#[test]
fn verification_judges_what_was_ranked() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let found = json(folder.path(), &["circle.csv", "--verification", "--post", "qe=1"]);
    assert_eq!((&found["positive_pairs"], &found["negative_pairs"]), (&8.into(), &12.into()));
    let found = json(folder.path(), &["circle.csv", "--verification", "--post", "dba=1"]);
    assert_eq!((&found["positive_pairs"], &found["negative_pairs"]), (&4.into(), &6.into()));
}

#[test]
fn false_match_rates_and_restarts_can_be_chosen() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let args = ["circle.csv", "--verification", "--fmr", "0.2,0.00001", "--fmr", "0.2"];
    let found = json(folder.path(), &[&args[..], &["--cluster", "--restarts", "3"]].concat());
    // Of six negative pairs one may pass: the threshold lies between 15 and 25 degrees, where 10° is let in.
    close(&found["fnmr_at_fmr_0.2"], 0.75);
    close(&found["threshold_at_fmr_0.2"], 10f64.to_radians().cos());
    close(&found["fnmr_at_fmr_0.00001"], 0.75);
    assert!(found.get("fnmr_at_fmr_0.01").is_none() && found["nmi"].is_number(), "{found}");
    let table = eval(folder.path(), &args).ok();
    assert_eq!(table.matches("fnmr at fmr 0.2").count(), 1, "{table}");

    for rate in ["1", "0", "-0.1", "few"] {
        let outcome =
            eval(folder.path(), &["circle.csv", "--verification", &format!("--fmr={rate}")]);
        assert_eq!(outcome.code, Some(2), "{rate}");
        assert!(outcome.stderr.contains("between 0 and 1"), "{}", outcome.stderr);
    }
    assert_eq!(eval(folder.path(), &["circle.csv", "--fmr", "0.1"]).code, Some(2));
    assert_eq!(eval(folder.path(), &["circle.csv", "--restarts", "2"]).code, Some(2));
    eval(folder.path(), &["circle.csv", "--cluster", "--restarts", "0"])
        .fails_with(&["--restarts 0"]);
}

/// Classes are the labels; a column may be called `class` too.
#[test]
fn a_column_called_class_has_keys_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let text = fs_err::read_to_string(folder.path().join("circle.csv")).unwrap();
    fs_err::write(folder.path().join("circle.csv"), text.replace("camera", "class")).unwrap();
    let found = json(folder.path(), &["circle.csv", "--per-class", "--per", "class"]);
    let first = |key: &str| found[key][0].as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!((first("per_class"), first("per_column_class")), ("label".into(), "value".into()));
    close(&found["macro_map_at_r"], (0.5 + 0.5 + 0.25) / 6.0);
    close(&found["macro_column_class_map_at_r"], (0.125 + 1.0 / 3.0) / 2.0);
}

/// The first file has a uniformity, the second differences.
#[test]
fn a_csv_of_several_files_has_the_keys_of_all() {
    let folder = tempfile::tempdir().unwrap();
    circle(folder.path());
    let rows = Embeddings::read(&folder.path().join("circle.csv")).unwrap();
    let rows = rows.with_metadata("similarity", "euclidean");
    rows.save(&folder.path().join("far.safetensors")).unwrap();
    let args = ["circle.csv", "far.safetensors", "--health", "--format", "csv"];
    let rows = records(&eval(folder.path(), &args).ok());
    let cells = |key: &str| {
        let at = rows[0].iter().position(|own| own == key).unwrap_or_else(|| panic!("no {key}"));
        [rows[1][at].is_empty(), rows[2][at].is_empty()]
    };
    assert_eq!(cells("uniformity"), [false, true]);
    assert_eq!(cells("map_at_r_difference"), [true, false]);
    assert_eq!(cells("map_at_r"), [false, false]);
}

/// No row finds itself where the same file, or the same row of it, is on both sides.
#[test]
fn rows_that_are_queries_and_gallery_do_not_find_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<f32> = (0..40 * 3).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
    let text = |label: fn(usize) -> String| {
        crossbatch_retrieval::Labels::from_text((0..40).map(label).collect::<Vec<_>>())
    };
    let all = crossbatch_retrieval::Embeddings::new(rows, 3).unwrap();
    let all = all.with_labels(text(|row| (row % 8).to_string())).unwrap();
    let all = all.with_column("id", text(|row| row.to_string())).unwrap();
    let all = all.with_column("all", text(|_| "1".to_owned())).unwrap();
    let all = all.with_column("half", text(|row| (row / 20).to_string())).unwrap();
    all.save(&folder.path().join("a.safetensors")).unwrap();
    let eval = |args: &[&str]| {
        let all = [&["eval", "--format", "json"], args].concat();
        crate::support::crossbatch_in(folder.path(), &all)
    };
    let first = |args: &[&str]| eval(args).json()["recall_at_1"].as_f64().unwrap();
    let alone = first(&["a.safetensors"]);
    assert!(alone < 0.9, "{alone}");
    assert_eq!(first(&["--query", "a.safetensors", "--gallery", "./a.safetensors"]), alone);

    let sides =
        |query, gallery| ["--embeddings", "a.safetensors", "--query", query, "--gallery", gallery];
    assert_eq!(first(&sides("all=1", "all=1")), alone);
    eval(&sides("half=0", "all=1")).fails_with(&["20 rows are in the queries and in the gallery"]);
    let named =
        |query, gallery| first(&[&sides(query, gallery)[..], &["--ignore-same", "id"]].concat());
    let halves = (named("half=0", "all=1") + named("half=1", "all=1")) / 2.0;
    assert!((halves - alone).abs() < 1e-12, "{halves} {alone}");
}
