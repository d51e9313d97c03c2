//! `crossbatch bench memory`

use std::{collections::HashMap, path::Path};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::Value;

use crate::support::{crossbatch_in, run};

const DIM: usize = 5;

/// Anchors of classes -7 and 40, a bank of these and a third one; by no formula of the program's.
struct Case {
    anchors: Vec<f32>,
    anchor_labels: Vec<i64>,
    bank: Vec<f32>,
    bank_labels: Vec<i64>,
}

impl Case {
    fn new() -> Self {
        let rows = |count: usize, phase: f64| -> Vec<f32> {
            let unit = |row: usize| {
                let wave: Vec<f64> = (0..DIM)
                    .map(|column| (phase + 1.7 * row as f64 + 0.9 * column as f64).sin())
                    .collect();
                let length = wave.iter().map(|value| value * value).sum::<f64>().sqrt();
                wave.into_iter().map(move |value| (value / length) as f32)
            };
            (0..count).flat_map(unit).collect()
        };
        Self {
            anchors: rows(3, 0.0),
            anchor_labels: vec![-7, 40, -7],
            bank: rows(29, 0.4),
            bank_labels: (0..29).map(|row| [40, 9_000_000_000, -7][row % 3]).collect(),
        }
    }

    fn write(&self, folder: &Path) {
        let file = |name: &str, rows: &[f32], labels: &[i64]| {
            let labels: Vec<u8> = labels.iter().flat_map(|label| label.to_le_bytes()).collect();
            write(&folder.join(name), Dtype::F32, &bytes(rows), DIM, Dtype::I64, &labels);
        };
        file("a.safetensors", &self.anchors, &self.anchor_labels);
        file("b.safetensors", &self.bank, &self.bank_labels);
    }

    fn similarity(&self, anchor: usize, entry: usize) -> f64 {
        let row = |rows: &[f32], row: usize| rows[row * DIM..][..DIM].to_vec();
        let (anchor, entry) = (row(&self.anchors, anchor), row(&self.bank, entry));
        anchor.iter().zip(entry).map(|(&a, b)| f64::from(a) * f64::from(b)).sum()
    }

    /// Value and gradient of a loss that is, for each anchor, a value and its derivative by each similarity.
    fn expect(&self, row: impl Fn(&[f64], &[bool]) -> (f64, Vec<f64>)) -> (f64, Vec<f64>) {
        let (mut value, mut gradient) = (0.0, Vec::new());
        for (anchor, label) in self.anchor_labels.iter().enumerate() {
            let similarities: Vec<f64> =
                (0..self.bank_labels.len()).map(|entry| self.similarity(anchor, entry)).collect();
            let same: Vec<bool> = self.bank_labels.iter().map(|other| other == label).collect();
            let (own, weights) = row(&similarities, &same);
            value += own / self.anchor_labels.len() as f64;
            gradient.extend((0..DIM).map(|column| {
                let terms = weights.iter().zip(self.bank.chunks(DIM));
                let sum: f64 = terms.map(|(weight, row)| weight * f64::from(row[column])).sum();
                sum / self.anchor_labels.len() as f64
            }));
        }
        (value, gradient)
    }
}

/// As released: `1 − s` for a positive, `s` for a negative above 0.5.
fn contrastive(similarities: &[f64], same: &[bool]) -> (f64, Vec<f64>) {
    let term = |(&s, &same): (&f64, &bool)| match same {
        true => (1.0 - s, -1.0),
        false if s > 0.5 => (s, 1.0),
        false => (0.0, 0.0),
    };
    let (values, weights): (Vec<f64>, Vec<f64>) = similarities.iter().zip(same).map(term).unzip();
    (values.iter().sum(), weights)
}

/// As released: α 2, β 40, λ 0.5, mining 0.1.
fn multi_similarity(similarities: &[f64], same: &[bool]) -> (f64, Vec<f64>) {
    let of = |positive: bool| {
        similarities.iter().zip(same).filter(move |&(_, &same)| same == positive).map(|(&s, _)| s)
    };
    let (smallest, largest) =
        (of(true).fold(f64::INFINITY, f64::min), of(false).fold(f64::NEG_INFINITY, f64::max));
    let exponential = |s: f64, same: bool| match same {
        true if s - 0.1 < largest => (-2.0 * (s - 0.5)).exp(),
        false if s + 0.1 > smallest => (40.0 * (s - 0.5)).exp(),
        _ => 0.0,
    };
    let sum = |same| of(same).map(|s| exponential(s, same)).sum::<f64>();
    let (pulls, pushes) = (sum(true), sum(false));
    if pulls == 0.0 || pushes == 0.0 {
        return (0.0, vec![0.0; similarities.len()]);
    }
    let weight = |(&s, &same): (&f64, &bool)| match same {
        true => -exponential(s, true) / (1.0 + pulls),
        false => exponential(s, false) / (1.0 + pushes),
    };
    let value = (1.0 + pulls).ln() / 2.0 + (1.0 + pushes).ln() / 40.0;
    (value, similarities.iter().zip(same).map(weight).collect())
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn write(path: &Path, rows: Dtype, values: &[u8], dim: usize, ints: Dtype, labels: &[u8]) {
    let (count, columns) = (labels.len() * 8 / ints.bitsize(), values.len() * 8 / rows.bitsize());
    let tensors = HashMap::from([
        ("embeddings", TensorView::new(rows, vec![columns / dim, dim], values).unwrap()),
        ("labels", TensorView::new(ints, vec![count], labels).unwrap()),
    ]);
    fs_err::write(path, safetensors::serialize(tensors, None).unwrap()).unwrap();
}

fn gradient(path: &Path) -> Vec<f64> {
    let file = fs_err::read(path).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let values = file.tensor("gradient").unwrap().data().to_vec();
    values.chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

fn bench(folder: &Path, options: &[&str]) -> crate::support::Outcome {
    let mut args = vec!["bench", "memory", "--quiet", "--calls", "20"];
    args.extend(options);
    crossbatch_in(folder, &args)
}

fn json(folder: &Path, options: &[&str]) -> Value {
    bench(folder, &[options, &["--format", "json"]].concat()).json()
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number `{key}` in {value}"))
}

const FILES: [&str; 4] = ["--anchors", "a.safetensors", "--bank", "b.safetensors"];

#[test]
fn value_and_gradient_are_the_released_losses_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::new();
    case.write(folder.path());
    let expected = [
        ("contrastive", case.expect(contrastive)),
        ("multi-similarity", case.expect(multi_similarity)),
    ];
    for (loss, (value, expected)) in expected {
        let options = ["--loss", loss, "--gradient-out", "g.safetensors"];
        let found = json(folder.path(), &[&FILES[..], &options].concat());
        assert!((number(&found, "value") - value).abs() < 1e-5 * value, "{loss}: {found}, {value}");
        let gradient = gradient(&folder.path().join("g.safetensors"));
        assert_eq!(gradient.len(), expected.len());
        for (found, expected) in gradient.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-5, "{loss}: {gradient:?} is not {expected:?}");
        }
        let norm = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
        assert!((number(&found, "gradient_norm") - norm).abs() < 1e-9, "{loss}");
        assert_eq!((found["batch"].clone(), found["entries"].clone()), (3.into(), 29.into()));
        assert_eq!((&found["loss"], &found["data"]), (&loss.into(), &"file".into()));
    }
}

#[test]
fn the_object_is_flat_and_complete() {
    let folder = tempfile::tempdir().unwrap();
    let sizes =
        ["--batch", "8", "--entries", "700", "--dim", "12", "--threads", "2", "--seed", "5"];
    let found = json(folder.path(), &sizes);
    for (key, value) in found.as_object().unwrap() {
        assert!(value.is_number() || value.is_string(), "{key} is {value}");
    }
    for key in ["median_seconds", "products_seconds", "value", "gradient_norm"] {
        assert!(number(&found, key) > 0.0, "{key} in {found}");
    }
    let extra = number(&found, "peak_extra_bytes");
    assert!((1.0..16e6).contains(&extra), "{extra} bytes");
    assert!(number(&found, "memory_bytes") >= 700.0 * 12.0 * 4.0);
    for (key, value) in [("batch", 8), ("entries", 700), ("dim", 12), ("threads", 2), ("seed", 5)] {
        assert_eq!(found[key], value, "{key}");
    }
}

#[test]
fn what_is_written_out_gives_the_same_again() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = ["--batch", "6", "--entries", "500", "--dim", "16", "--data", "dense"];
    for storage in ["f32", "f16", "bf16"] {
        let options = ["--storage", storage, "--gradient-out", "g1.safetensors"];
        let out = ["--anchors-out", "a.safetensors", "--bank-out", "b.safetensors"];
        let first = json(folder.path(), &[&sizes[..], &options, &out].concat());
        let options = ["--storage", storage, "--gradient-out", "g2.safetensors"];
        let again = json(folder.path(), &[&FILES[..], &options].concat());
        for key in ["value", "gradient_norm", "active_negatives"] {
            assert_eq!(first[key], again[key], "{storage}: {key}");
        }
        assert!(number(&first, "active_negatives") > 1.0, "{first}");
        let read = |name: &str| fs_err::read(folder.path().join(name)).unwrap();
        assert!(read("g1.safetensors") == read("g2.safetensors"), "{storage}: gradients differ");
    }
}

#[test]
fn threads_change_nothing_but_time_and_the_seed_changes_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let value = |options: &[&str]| {
        let sizes = ["--batch", "8", "--entries", "3000", "--loss", "multi-similarity"];
        let found = json(folder.path(), &[&sizes[..], &["--data", "dense"], options].concat());
        (found["value"].clone(), found["gradient_norm"].clone())
    };
    let one = value(&["--threads", "1"]);
    assert_eq!(one, value(&["--threads", "3"]));
    assert_ne!(one, value(&["--threads", "1", "--seed", "1"]));
}

#[test]
fn several_sizes_are_several_rows() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--batch", "4", "--entries", "100,300", "--dim", "8"];
    let found = json(folder.path(), &options);
    let sizes: Vec<u64> =
        found.as_array().unwrap().iter().map(|row| row["entries"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [100, 300]);
    let table = bench(folder.path(), &options).ok();
    assert!(table.contains("contrastive · sparse data · f32 · 4 anchors · 8-d"), "{table}");
    assert!(table.lines().any(|line| line.trim_start().starts_with("300 ")), "{table}");
    let rows = crate::support::records(
        &bench(folder.path(), &[&options[..], &["--format", "csv"]].concat()).ok(),
    );
    assert_eq!(rows.len(), 3);
    assert!(rows[0].contains(&"median_seconds".to_owned()));
}

#[test]
fn every_loss_runs() {
    let folder = tempfile::tempdir().unwrap();
    let losses = crossbatch_in(folder.path(), &["losses", "--format", "json"]).json();
    for loss in losses["losses"].as_array().unwrap() {
        let name = loss["name"].as_str().unwrap();
        let options = ["--batch", "4", "--entries", "60", "--dim", "8", "--data", "dense"];
        let found = json(folder.path(), &[&options[..], &["--loss", name]].concat());
        assert!(number(&found, "value").is_finite(), "{name}");
    }
}

#[test]
fn a_runs_checkpoint_is_a_bank() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Path::new(run()).join("checkpoint.safetensors");
    let bank = ["--bank", checkpoint.to_str().unwrap(), "--batch", "5"];
    let found = json(folder.path(), &bank);
    assert_eq!((found["batch"].clone(), found["entries"].clone()), (5.into(), 27.into()));
    bench(folder.path(), &["--bank", bank[1], "--batch", "32"]).fails_with(&[
        "32 anchors",
        "32 embeddings",
        "--batch",
    ]);
}

#[test]
fn files_and_options_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let case = Case::new();
    case.write(folder.path());
    let path = |name: &str| folder.path().join(name);
    let bad = |name: &str, parts: &[&str]| {
        bench(folder.path(), &["--anchors", "a.safetensors", "--bank", name])
            .fails_with(&[&[name], parts].concat());
    };
    bad("missing.safetensors", &["cannot read"]);
    fs_err::write(path("text.safetensors"), "no tensors").unwrap();
    bad("text.safetensors", &["safetensors"]);
    fs_err::write(path("cut.safetensors"), &fs_err::read(path("b.safetensors")).unwrap()[..200])
        .unwrap();
    bad("cut.safetensors", &["safetensors"]);
    let labels = 1i64.to_le_bytes();
    write(&path("wide.safetensors"), Dtype::F32, &bytes(&[1.0; 7]), 7, Dtype::I64, &labels);
    bad("wide.safetensors", &["a.safetensors", "5 numbers", "have 7"]);
    write(&path("ints.safetensors"), Dtype::I32, &[0; 20], 5, Dtype::I64, &labels);
    bad("ints.safetensors", &["`embeddings`", "I32", "F32"]);
    write(&path("real.safetensors"), Dtype::F32, &bytes(&[1.0; 5]), 5, Dtype::F32, &[0; 4]);
    bad("real.safetensors", &["`labels`", "F32", "any integers"]);
    write(&path("short.safetensors"), Dtype::F32, &bytes(&[1.0; 10]), 5, Dtype::I64, &labels);
    bad("short.safetensors", &["`labels`", "[1]", "2 embeddings"]);
    write(&path("none.safetensors"), Dtype::F32, &[], 5, Dtype::I64, &[]);
    bad("none.safetensors", &["empty"]);
    let nan = bytes(&[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, f32::NAN, 0.0, 0.0, 0.0]);
    write(&path("nan.safetensors"), Dtype::F32, &nan, 5, Dtype::U8, &[1, 2]);
    bad("nan.safetensors", &["row 1", "NaN"]);
    let other = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    let file = safetensors::serialize([("weight", other)], None).unwrap();
    fs_err::write(path("other.safetensors"), file).unwrap();
    bad("other.safetensors", &["no tensor `embeddings`", "weight"]);

    let bad = |options: &[&str], parts: &[&str]| bench(folder.path(), options).fails_with(parts);
    bad(&["--batch", "0"], &["--batch 0"]);
    bad(&["--entries", "10,0"], &["--entries 0"]);
    bad(&["--dim", "0"], &["--dim 0"]);
    crossbatch_in(folder.path(), &["bench", "memory", "--calls", "3"])
        .fails_with(&["--calls 3", "at least 20"]);
    bad(&["--entries", "2147483648"], &["2147483648 entries", "GiB"]);
    bad(&["--entries", "10,20", "--bank-out", "x.safetensors"], &["x.safetensors", "2 sizes"]);
    bad(&["--gradient-out", "nowhere/x.safetensors"], &["no folder nowhere"]);
    bad(&["--loss", "contrastiv"], &["did you mean `contrastive`"]);
    bad(&["--device", "abacus"], &["device", "cpu"]);
    let alone = bench(folder.path(), &["--anchors", "a.safetensors"]);
    assert!(alone.code == Some(2) && alone.stderr.contains("--bank <FILE>"), "{alone:?}");
}

#[test]
fn what_is_read_is_never_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    Case::new().write(folder.path());
    let before = fs_err::read(folder.path().join("a.safetensors")).unwrap();
    for option in ["--gradient-out", "--anchors-out", "--bank-out"] {
        let options = [&FILES[..], &[option, "./a.safetensors"]].concat();
        bench(folder.path(), &options).fails_with(&["it is read from; give another file"]);
    }
    assert_eq!(fs_err::read(folder.path().join("a.safetensors")).unwrap(), before);
}

#[test]
fn a_training_step_is_one_flat_object_and_its_loss_falls() {
    let folder = tempfile::tempdir().unwrap();
    let size = ["--batch", "16", "--size", "16", "--steps", "6", "--format", "json"];
    let report = crossbatch_in(folder.path(), &[&["bench", "step"], &size[..]].concat()).json();
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report}"));
    let nested = |value: &Value| value.is_object() || value.is_array();
    assert!(!report.as_object().unwrap().values().any(nested));
    assert!(number("median_seconds") > 0.0);
    assert!(number("last_loss") < number("first_loss"), "{report}");
    // Weights, their gradients and two moments at least.
    assert!(number("peak_bytes") > 16.0 * number("parameters"), "{report}");
    if cfg!(target_os = "linux") {
        // What such a step allocates is a few megabytes; new ones in every step would be a page for every 4096 bytes.
        assert!(number("page_faults_per_step") >= 0.0, "{report}");
        assert!(number("resident_growth_bytes") < 64e6, "{report}");
    }
}

#[test]
fn inference_counts_images() {
    let folder = tempfile::tempdir().unwrap();
    let size = ["--batch", "8", "--size", "16", "--steps", "2", "--format", "json"];
    let report = crossbatch_in(folder.path(), &[&["bench", "infer"], &size[..]].concat()).json();
    let number = |key: &str| report[key].as_f64().unwrap_or_else(|| panic!("{key} in {report}"));
    assert!((number("images_per_second") * number("median_seconds") - 8.0).abs() < 1e-6);
    assert!(report.get("first_loss").is_none());
}

#[test]
fn batches_without_pairs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (command, batch) in [("step", "4"), ("step", "10"), ("infer", "0")] {
        crossbatch_in(folder.path(), &["bench", command, "--batch", batch])
            .fails_with(&[&format!("--batch {batch}")]);
    }
}
