//! Files of embeddings that are larger than the memory allowed, measured and searched.

use std::path::Path;
#[cfg(unix)]
use std::{
    io::Read,
    process::{Command, Stdio},
};

use crossbatch_retrieval::{Embeddings, Labels};
use serde_json::Value;

use crate::support::{Outcome, crossbatch_in, records};

/// 2,600 rows of 2,048 numbers in 260 classes, 20 MiB, as `big.safetensors` and `big.npy`; the first 40 with names as
/// `few.safetensors`.
fn files(folder: &Path) {
    let (rows, dim) = (2600, 2048);
    let (values, labels) = (values(rows, dim), || labels(rows));
    let big = Embeddings::new(values.clone(), dim).unwrap();
    big.save(&folder.join("big.npy")).unwrap();
    big.with_labels(labels()).unwrap().save(&folder.join("big.safetensors")).unwrap();
    let few = Embeddings::new(values[..40 * dim].to_vec(), dim).unwrap();
    let names = (0..40).map(|row| format!("q{row}")).collect();
    let few = few.with_names(names).unwrap();
    let few = few.with_labels(Labels::from_integers(0..40i64)).unwrap();
    few.save(&folder.join("few.safetensors")).unwrap();
}

/// Rows of 260 classes.
fn values(rows: usize, dim: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (row, column) = (i / dim, i % dim);
        let class = row % 260;
        ((class * 37 + column * class) as f32).sin() + ((row * column) as f32 * 0.7).cos()
    };
    (0..rows * dim).map(value).collect()
}

fn labels(rows: usize) -> Labels {
    Labels::from_integers((0..rows as i64).map(|row| row % 260))
}

fn run(folder: &Path, args: &[&str]) -> Outcome {
    crossbatch_in(folder, args)
}

/// Without what depends on the clock.
fn timeless(mut found: Value) -> Value {
    let object = found.as_object_mut().unwrap();
    object.remove("seconds").unwrap();
    object.remove("measure_seconds").unwrap();
    found
}

#[test]
fn what_does_not_fit_is_measured_and_searched_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    files(folder);
    let eval = ["eval", "--embeddings", "big.safetensors", "--confused", "3", "--ci"];
    let eval = [&eval[..], &["--format", "json"]].concat();
    let whole = run(folder, &eval);
    assert!(!whole.stderr.contains("stay in their file"), "{whole:?}");
    let little = run(folder, &[&eval[..], &["--memory-budget", "39MiB", "-v"]].concat());
    assert!(little.stderr.contains("20.3 MiB of vectors are more than half"), "{little:?}");
    let whole = timeless(whole.json());
    assert_eq!(timeless(little.json()), whole);
    assert!(whole["recall_at_1"].as_f64().unwrap() > 0.0);

    // Queries in memory, the gallery in a file without labels.
    fs_err::write(
        folder.join("l.txt"),
        (0..2600).map(|i| format!("{}\n", i % 260)).collect::<String>(),
    )
    .unwrap();
    let two = ["eval", "--query", "few.safetensors", "--gallery", "big.npy", "--gallery-labels"];
    let two = [&two[..], &["l.txt", "--format", "json"]].concat();
    let little = run(folder, &[&two[..], &["--memory-budget", "41MiB"]].concat()).json();
    assert_eq!(timeless(little), timeless(run(folder, &two).json()));

    // A query is found at place 0, with its name and label; nothing is known of the gallery but numbers.
    let search = ["search", "--query", "few.safetensors", "--gallery", "big.npy", "--top", "3"];
    for format in ["json", "csv", "table"] {
        let search = [&search[..], &["--format", format]].concat();
        let whole = run(folder, &search).ok();
        let little = run(folder, &[&search[..], &["--memory-budget", "41MiB"]].concat()).ok();
        assert_eq!(little, whole);
        if format == "csv" {
            let rows = records(&whole);
            assert_eq!(rows.len(), 1 + 40 * 3);
            assert_eq!(rows[1 + 3 * 7][..3], ["q7", "7", "1"]);
            assert_eq!(rows[1 + 3 * 7][4..], ["7", ""]);
            assert!((rows[1 + 3 * 7][3].parse::<f32>().unwrap() - 1.0).abs() < 1e-6);
        }
    }
    // One file searches itself; a row is not among its own neighbours.
    let own = ["search", "--query", "big.npy", "--gallery", "./big.npy", "--format", "csv"];
    let own = [&own[..], &["--top", "1", "--similarity", "euclidean"]].concat();
    let whole = run(folder, &own);
    assert!(whole.stderr.contains("no neighbour of itself"), "{whole:?}");
    let rows = records(&run(folder, &[&own[..], &["--memory-budget", "39MiB"]].concat()).ok());
    assert_eq!(rows, records(&whole.ok()));
    assert!(rows[1..].iter().all(|row| row[0] != row[4] && row[3].starts_with('-')));

    let with = |more: &[&str]| {
        run(folder, &[&["eval", "big.safetensors", "--memory-budget", "39MiB"], more].concat())
    };
    with(&["--post", "pca"])
        .fails_with(&["`--post` needs all vectors in memory", "--memory-budget"]);
    with(&["--worst", "3"]).fails_with(&["`--worst`"]);
    with(&["--health"]).fails_with(&["`--health`"]);
    let small = |budget| run(folder, &["eval", "big.safetensors", "--memory-budget", budget]);
    small("20MiB").fails_with(&["a memory budget of 20.0 MiB is too small"]);
    small("32.1MiB").fails_with(&["memory budget of 32.1 MiB is too small", "labels"]);
    assert_eq!(small("much").code, Some(2));
    assert!(small("much").stderr.contains("such as 2GiB"));
}

/// What needs more than the budget beside vectors that fit says how much would do, and keeps its word.
#[test]
fn what_is_measured_besides_keeps_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let rows = Embeddings::new(values(1300, 256), 256).unwrap().with_labels(labels(1300)).unwrap();
    rows.save(&folder.join("rows.safetensors")).unwrap();
    let eval = |option: &[&str], budget: &str| {
        let eval = ["eval", "rows.safetensors", "--format", "json", "--threads", "2"];
        run(folder, &[&eval[..], option, &["--memory-budget", budget]].concat())
    };
    let mut refused = 0;
    for option in [
        &["--cluster"][..],
        &["--verification"],
        &["--health"],
        &["--post", "pca"],
        &["--post", "dba"],
    ] {
        // A later step may need more than the one that was short of memory.
        let mut budget = "38MiB".to_owned();
        for attempt in 0..4 {
            let found = eval(option, &budget);
            if found.code == Some(0) {
                assert!(found.json()["map_at_r"].is_number(), "{option:?}");
                refused += usize::from(attempt > 0);
                break;
            }
            assert!(attempt < 3, "{option:?} {budget} {}", found.stderr);
            let message = found.stderr.clone();
            found.fails_with(&["the memory budget is too small for what is asked"]);
            let (_, rest) = message.split_once("give --memory-budget ").unwrap();
            budget = rest.split_once(" or more").unwrap().0.to_owned();
        }
    }
    assert!((3..5).contains(&refused), "{refused}");
}

/// Whoever reads a long answer may stop: some megabytes are more than a pipe holds.
#[cfg(unix)]
#[test]
fn a_reader_that_has_enough_ends_a_search_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let rows = Embeddings::new(values(400, 16), 16).unwrap().with_labels(labels(400)).unwrap();
    rows.save(&folder.path().join("rows.safetensors")).unwrap();
    for format in ["json", "csv", "table"] {
        let search = ["search", "--query", "rows.safetensors", "--gallery", "rows.safetensors"];
        let mut child = Command::new(env!("CARGO_BIN_EXE_crossbatch"))
            .args([&search[..], &["--top", "300", "--format", format]].concat())
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 10]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{format} {stderr}");
        assert!(!stderr.contains("error"), "{format} {stderr}");
    }
}

/// Of 1,500 x 1,000 neighbours the numbers are counted, not the text: as JSON some 200 MB.
#[test]
fn a_long_answer_needs_no_memory_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let rows = Embeddings::new(values(1500, 16), 16).unwrap();
    rows.save(&folder.path().join("rows.npy")).unwrap();
    let search = ["search", "--query", "rows.npy", "--gallery", "rows.npy", "--top", "1000"];
    let search = [&search[..], &["--threads", "2", "--format", "csv"]].concat();
    let whole = run(folder.path(), &search).ok();
    let little = run(folder.path(), &[&search[..], &["--memory-budget", "90MiB"]].concat()).ok();
    assert_eq!(whole.lines().count(), 1 + 1500 * 1000);
    assert!(little == whole);
}

#[test]
fn mistakes_in_a_search_of_files_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs_err::write(folder.join("a.csv"), "name,e0,e1\np,1,0\nq,0,1\n").unwrap();
    fs_err::write(folder.join("wide.csv"), "name,e0,e1,e2\np,1,0,0\n").unwrap();
    let search = |query, gallery, more: &[&str]| {
        run(folder, &[&["search", "--query", query, "--gallery", gallery], more].concat())
    };
    let found = search("a.csv", "a.csv", &["--top", "9"]);
    assert!(found.stderr.contains("fewer than 9 neighbours: the gallery has 2 rows"), "{found:?}");
    assert!(found.ok().contains("row   label"));
    search("a.csv", "wide.csv", &[]).fails_with(&["2 dimensions", "3"]);
    search("a.csv", "missing.npy", &[]).fails_with(&["missing.npy"]);
    search("photo.jpg", "a.csv", &[]).fails_with(&["photo.jpg", "no file of embeddings", "RUN"]);
    search("a.csv", "a.csv", &["--gallery", "wide.csv"]).fails_with(&["one file", "not 2"]);
    search("a.csv", "a.csv", &["--top", "0"]).fails_with(&["--top 0"]);
    assert_eq!(search("a.csv", "a.csv", &["--sheet", "s.png"]).code, Some(2));
    fs_err::write(folder.join("nan.csv"), "name,e0,e1\np,1,NaN\n").unwrap();
    search("nan.csv", "a.csv", &[]).fails_with(&["nan.csv", "line 2", "NaN"]);
}
