//! `crossbatch train`: the table, the run folder, data of each kind, Ctrl-C and going on.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::support::{crossbatch_in, draw_classes};

/// Settings of a run of seconds.
const TINY: [&str; 12] = [
    "--set",
    "steps=6",
    "--set",
    "batch.classes=4",
    "--set",
    "batch.images=2",
    "--set",
    "memory.size=32",
    "--set",
    "memory.start=2",
    "--set",
    "evaluation.every=3",
];

fn glyphs(more: &[&'static str]) -> Vec<&'static str> {
    let mut args = vec!["train", "--set", "data.glyphs.train-classes=24"];
    args.extend(["--set", "data.glyphs.test-classes=12"]);
    args.extend(TINY);
    args.extend(more);
    args
}

#[test]
fn the_built_in_recipe_trains_measures_and_compares() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = crossbatch_in(folder.path(), &glyphs(&["--out", "run", "--seed", "3"]));
    let stderr = outcome.stderr.clone();
    let table = outcome.ok();
    for part in [
        "R@1",
        "R@100",
        "MAP@R",
        "raw pixels",
        "untrained network",
        "trained without memory",
        "trained with memory of 32",
    ] {
        assert!(table.contains(part), "no `{part}` in\n{table}");
    }
    assert!(stderr.contains("data: glyphs"), "{stderr}");
    assert!(stderr.contains("validation classes"), "{stderr}");
    assert!(!stderr.contains('\u{1b}') && !table.contains('\u{1b}'), "no colour when piped");

    let text = fs_err::read_to_string(folder.path().join("run/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    for network in ["raw", "untrained", "trained", "without_memory"] {
        for metric in ["recall_at_1", "recall_at_10", "recall_at_100", "map_at_r", "r_precision"] {
            let value = summary["metrics"][network][metric].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&value), "{network}.{metric} = {value}");
        }
    }
    assert_eq!(summary["format_version"], 1);
    assert_eq!(summary["steps"], 6);
    assert_eq!(summary["seed"], 3);
    assert_eq!(summary["device"], "cpu");
    assert!(summary["train_seconds"].as_f64().unwrap() > 0.0);
    let recipe = fs_err::read_to_string(folder.path().join("run/recipe.toml")).unwrap();
    assert!(recipe.contains("format-version = 1") && recipe.contains("seed = 3"), "{recipe}");
}

/// The first step's loss is that of the CPU; what follows trains and is measured.
#[cfg(feature = "wgpu")]
#[test]
fn trains_on_a_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |device: &'static str| {
        let more = ["--device", device, "--out", device, "--set", "compare-without-memory=false"];
        let outcome = crossbatch_in(folder.path(), &glyphs(&more));
        if device == "gpu" {
            let told = outcome.stderr.matches("warning: pair_rows: the gradient").count();
            assert_eq!(told, 1, "{}", outcome.stderr);
        }
        outcome.ok();
        let rows =
            fs_err::read_to_string(folder.path().join(device).join("metrics.jsonl")).unwrap();
        let rows = rows.lines().map(|row| serde_json::from_str::<serde_json::Value>(row).unwrap());
        rows.filter_map(|row| row["loss"].as_f64()).collect::<Vec<f64>>()
    };
    let [cpu, gpu] = ["cpu", "gpu"].map(losses);
    assert_eq!((cpu.len(), gpu.len()), (6, 6));
    assert!(
        (cpu[0] - gpu[0]).abs() <= 1e-4 * cpu[0].abs(),
        "{cpu:?} on the CPU, {gpu:?} on the GPU"
    );
    assert!(gpu.iter().all(|loss| loss.is_finite()), "{gpu:?}");
    let text = fs_err::read_to_string(folder.path().join("gpu/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(summary["device"], "gpu");
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let run = |threads: &'static str| {
        crossbatch_in(folder.path(), &glyphs(&["-q", "--threads", threads, "--out", threads])).ok();
        fs_err::read(folder.path().join(threads).join("last.safetensors")).unwrap()
    };
    let one = run("1");
    assert!(one == run("2"), "1 and 2 threads differ");
    assert!(one == run("3"), "1 and 3 threads differ");
}

#[test]
fn class_folders_and_lists_are_recognised_and_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let classes: Vec<String> = (0..10).map(|class| format!("class{class}")).collect();
    let classes: Vec<&str> = classes.iter().map(String::as_str).collect();
    let names = draw_classes(&folder.path().join("images"), &classes, 4);

    let mut args = vec!["train", "--data", "images", "--out", "a", "--set", "data.validation=0"];
    args.extend(TINY);
    let outcome = crossbatch_in(folder.path(), &args);
    assert!(outcome.stderr.contains("5 training classes (20 images)"), "{}", outcome.stderr);
    outcome.ok();

    let (train, test) = names.split_at(6 * 4);
    let list = |name: &str, part: &[String]| {
        let lines: Vec<String> = part
            .iter()
            .map(|name| format!("\"images/{name}\",{}", name.split('/').next().unwrap()))
            .collect();
        fs_err::write(folder.path().join(name), lines.join("\n")).unwrap();
    };
    list("train.csv", train);
    list("test.csv", test);
    let mut args = vec!["train", "--out", "b", "--set", "data.validation=0"];
    args.extend(["--set", "data.kind=list", "--set", "data.train-list=train.csv"]);
    args.extend(["--set", "data.test-list=test.csv"]);
    args.extend(TINY);
    let outcome = crossbatch_in(folder.path(), &args);
    assert!(outcome.stderr.contains("6 training classes (24 images)"), "{}", outcome.stderr);
    outcome.ok();
}

/// Where genuine data lies, or `None` aloud.
fn data(part: &str) -> Option<PathBuf> {
    let root = std::env::var_os("CROSSBATCH_DATA").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let path = root.join(part);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var("CROSSBATCH_REQUIRE").unwrap_or_default();
    assert!(!required.split(',').any(|what| what == "data"), "{} is missing", path.display());
    let mut stderr = std::io::stderr();
    writeln!(stderr, "SKIPPED: no {}; set CROSSBATCH_DATA", path.display()).unwrap();
    None
}

#[test]
fn genuine_omniglot_is_read_from_its_zips() {
    let Some(path) = data("omniglot") else { return };
    let folder = tempfile::tempdir().unwrap();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/omniglot.toml");
    let mut args = vec!["train", recipe.to_str().unwrap(), "--data", path.to_str().unwrap()];
    args.extend(["--out", "run", "--set", "compare-without-memory=false"]);
    args.extend(TINY);
    let outcome = crossbatch_in(folder.path(), &args);
    assert!(outcome.stderr.contains("659 test classes (13180 images)"), "{}", outcome.stderr);
    let table = outcome.ok();
    // What Pillow and NumPy give for raw pixels is 33.3 %.
    let raw = table.lines().find(|line| line.contains("raw pixels")).unwrap();
    let recall: f64 = raw.split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!((recall - 33.3).abs() < 0.15, "{raw}");
}

#[test]
fn genuine_photographs_are_read_through_their_lists() {
    let Some(path) = data("sop_sample") else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut args = vec!["train", "--data", path.to_str().unwrap(), "--out", "run"];
    args.extend(["--set", "compare-without-memory=false", "--set", "data.validation=0"]);
    args.extend(TINY);
    let outcome = crossbatch_in(folder.path(), &args);
    assert!(outcome.stderr.contains("43 test classes (180 images)"), "{}", outcome.stderr);
    outcome.ok();
    let recipe = fs_err::read_to_string(folder.path().join("run/recipe.toml")).unwrap();
    assert!(recipe.contains("channels = 3") && recipe.contains("invert = false"), "{recipe}");
}

#[cfg(unix)]
#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut args = glyphs(&["--out", "run", "--verbose"]);
    // The last setting of a key counts.
    args.extend(["--set", "steps=100000", "--set", "compare-without-memory=false"]);
    args.extend(["--set", "evaluation.every=0"]);
    let child = Command::new(env!("CARGO_BIN_EXE_crossbatch"))
        .args(&args)
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Interrupt it in the middle of training.
    let metrics = folder.path().join("run/metrics.jsonl");
    let started = Instant::now();
    while fs_err::metadata(&metrics).map_or(0, |data| data.len()) < 2000 {
        assert!(started.elapsed() < Duration::from_secs(120), "training never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("crossbatch train --resume run"), "{stderr}");
    let stopped: u64 = stderr
        .lines()
        .find_map(|line| line.strip_prefix("stopped and saved at step "))
        .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
        .unwrap()
        .parse()
        .unwrap();

    let steps = format!("steps={}", stopped + 2);
    let outcome = crossbatch_in(folder.path(), &["train", "--resume", "run", "--set", &steps]);
    assert!(outcome.stderr.contains(&format!("from step {stopped}")), "{}", outcome.stderr);
    outcome.ok();
    let lines = fs_err::read_to_string(&metrics).unwrap();
    let step = |line: &str| {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["step"].as_u64().unwrap()
    };
    let found: Vec<u64> =
        lines.lines().filter(|line| line.contains("\"event\":\"step\"")).map(step).collect();
    assert_eq!(found, (1..=stopped + 2).collect::<Vec<_>>(), "every step once");
}
