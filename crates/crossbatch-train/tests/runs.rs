//! Whole runs: what they write, and that stopping and going on changes nothing.

use std::path::Path;

use crossbatch_train::{Outcome, Phase, Report, RunFolder};

use crate::support::{Listener, finish, recipe, start};

#[test]
fn a_run_leaves_weights_metrics_and_summary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let settings = ["data.validation=0.2", "evaluation.every=4", "compare-without-memory=true"];
    let summary = finish(&recipe(&settings), &path);

    let run = RunFolder::open(&path).unwrap();
    assert_eq!(run.summary().unwrap(), summary);
    assert_eq!(summary.metrics.trained.queries, 60);
    assert!(summary.metrics.without_memory.is_some());
    for file in ["recipe.toml", "command.json"] {
        assert!(path.join(file).is_file(), "{file}");
    }
    for file in ["metrics.csv", "last.safetensors", "best.safetensors", "checkpoint.safetensors"] {
        assert!(path.join(file).is_file(), "{file}");
        assert!(path.join("without-memory").join(file).is_file(), "without-memory/{file}");
    }
    run.model(Report::Last).unwrap();
    run.model(Report::Best).unwrap();

    // A row a step and a row a measurement, in JSON and in CSV.
    let lines = fs_err::read_to_string(path.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 8 + 2);
    for line in lines.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(value["format_version"], 1);
    }
    let mut table = csv::Reader::from_path(path.join("metrics.csv")).unwrap();
    assert_eq!(table.records().count(), 8 + 2);
    assert!(table.headers().unwrap().iter().any(|name| name == "memory_loss"));
}

#[test]
fn the_memory_fills_after_its_start_and_enters_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::default();
    start(&recipe(&[]), &folder.path().join("run"), false, &listener).unwrap();
    let steps = listener.steps.into_inner().unwrap();
    let filled: Vec<usize> = steps.iter().map(|(_, event)| event.memory_filled).collect();
    assert_eq!(filled, [0, 0, 8, 16, 20, 20, 20, 20]);
    for (_, event) in &steps {
        assert_eq!(event.memory_loss.is_some(), event.step > 2);
        let memory = event.memory_loss.unwrap_or(0.0);
        assert!((event.loss - event.batch_loss - memory).abs() < 1e-4 * event.loss);
        // 4 classes x 2 images: each row has one positive in its batch.
        assert_eq!(event.batch_positives, 8.0);
    }
    // In its first step the memory holds the batch alone, so both terms are equal.
    assert!((steps[2].1.batch_loss - steps[2].1.memory_loss.unwrap()).abs() < 1e-4);
}

#[test]
fn stopping_and_going_on_gives_the_same_weights_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&["compare-without-memory=true", "optimizer.schedule=cosine"]);
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let expected = finish(&recipe, &whole);

    let stopped = |step| Listener { stop_at: Some(step), ..Listener::default() };
    let first = start(&recipe, &parts, false, &stopped(3)).unwrap();
    assert_eq!(first, Outcome::Stopped { phase: Phase::WithoutMemory, step: 3 });
    assert!(!parts.join("summary.json").exists());
    // Through the end of the comparison and into the recipe's own network.
    let resumed = RunFolder::open(&parts).unwrap().recipe(&[]).unwrap();
    let listener = stopped(100);
    let outcome = start(&resumed, &parts, true, &listener).unwrap();
    assert_eq!(listener.steps.lock().unwrap()[0].1.step, 4, "goes on with the next step");
    let Outcome::Finished(found) = outcome else { panic!("{outcome:?}") };
    assert_eq!(found.metrics, expected.metrics);

    for file in ["last.safetensors", "without-memory/last.safetensors"] {
        assert!(
            fs_err::read(whole.join(file)).unwrap() == fs_err::read(parts.join(file)).unwrap(),
            "{file} differs"
        );
    }
    let lines = |run: &Path| {
        let text = fs_err::read_to_string(run.join("without-memory/metrics.jsonl")).unwrap();
        text.lines().count()
    };
    assert_eq!(lines(&whole), lines(&parts), "no step is told twice or lost");
}

#[test]
fn a_stop_in_the_memorys_middle_resumes_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = recipe(&[]);
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    finish(&recipe, &whole);
    // Step 5: the ring has wrapped and its cursor stands in the middle.
    let listener = Listener { stop_at: Some(5), ..Listener::default() };
    start(&recipe, &parts, false, &listener).unwrap();
    let resumed = RunFolder::open(&parts).unwrap().recipe(&[]).unwrap();
    start(&resumed, &parts, true, &Listener::default()).unwrap();
    let file = "last.safetensors";
    assert!(fs_err::read(whole.join(file)).unwrap() == fs_err::read(parts.join(file)).unwrap());
}

#[test]
fn best_is_best_on_validation_classes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let listener = Listener::default();
    let recipe = recipe(&["data.validation=0.3", "evaluation.every=2", "train.report=best"]);
    start(&recipe, &path, false, &listener).unwrap();
    let evaluations = listener.evaluations.into_inner().unwrap();
    assert_eq!(evaluations.len(), 4);
    let mut highest = 0.0;
    for evaluation in evaluations {
        assert_eq!(evaluation.split, "validation");
        let recall = evaluation.metrics.recall(1);
        assert_eq!(evaluation.best, recall > highest, "step {}", evaluation.step);
        highest = f64::max(highest, recall);
    }
}

#[test]
fn without_validation_nothing_is_called_best() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let listener = Listener::default();
    start(&recipe(&["evaluation.every=4"]), &path, false, &listener).unwrap();
    let evaluations = listener.evaluations.into_inner().unwrap();
    assert_eq!(evaluations.len(), 1, "the last step is measured as the result");
    assert_eq!(evaluations[0].split, "test");
    assert!(!evaluations[0].best);
    assert!(!path.join("best.safetensors").exists());
}

#[test]
fn a_share_of_the_training_images_is_a_memory_size() {
    let folder = tempfile::tempdir().unwrap();
    let summary = finish(&recipe(&["memory.size=50%"]), &folder.path().join("run"));
    assert_eq!(summary.memory_slots, 75);
}

#[test]
fn the_resolved_recipe_gives_the_same_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    let first = finish(&recipe(&[]), &one);
    let resolved = RunFolder::open(&one).unwrap().recipe(&[]).unwrap();
    assert_eq!(resolved.data.channels, Some(1));
    let second = finish(&resolved, &two);
    assert_eq!(first.metrics, second.metrics);
}
