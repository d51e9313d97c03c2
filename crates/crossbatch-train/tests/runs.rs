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

/// Chance comes from the place in the plan: neither a stop nor the number of workers changes it.
#[test]
fn augmented_runs_resume_to_the_bit_with_other_workers() {
    let settings = [
        "images.crop=random-resized",
        "images.flip=0.5",
        "images.brightness=0.4",
        "images.erase=0.5",
        "images.workers=1",
        "images.cache-mib=1",
    ];
    let whole_run = recipe(&settings);
    let root = tempfile::tempdir().unwrap();
    let whole = root.path().join("whole");
    finish(&whole_run, &whole);

    let parts = root.path().join("parts");
    let stopper = Listener { stop_at: Some(5), ..Listener::default() };
    let outcome = start(&whole_run, &parts, false, &stopper).unwrap();
    assert_eq!(outcome, Outcome::Stopped { phase: Phase::Main, step: 5 });
    let others =
        ["images.workers=3", "images.cache-mib=0", "images.disk-cache-mib=1"].map(str::to_owned);
    let resumed = RunFolder::open(&parts).unwrap().recipe(&others).unwrap();
    let outcome = start(&resumed, &parts, true, &Listener::default()).unwrap();
    assert!(matches!(outcome, Outcome::Finished(_)));
    let weights = |folder: &Path| fs_err::read(folder.join("last.safetensors")).unwrap();
    assert_eq!(weights(&whole), weights(&parts));

    let plain = root.path().join("plain");
    finish(&recipe(&[]), &plain);
    assert_ne!(weights(&whole), weights(&plain));
}

/// Images that do not fit the budget are read ahead, and are the same images.
#[test]
fn the_budget_of_decoded_images_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let weights = |settings: &[&str], name: &str| {
        let folder = root.path().join(name);
        finish(&recipe(settings), &folder);
        fs_err::read(folder.join("last.safetensors")).unwrap()
    };
    assert_eq!(weights(&[], "all"), weights(&["data.cache-mib=0"], "none"));
}

/// The options of each case touch other parts of what is saved.
#[test]
fn a_stop_in_the_memorys_middle_resumes_to_the_bit() {
    let cases: [&[&str]; 4] = [
        &[],
        &["memory.policy=keyed", "memory.storage=f16", "memory.correction=kalman"],
        &["memory.momentum=0.9", "memory.fill=sampled", "memory.storage=bf16", "memory.ramp=4"],
        &[
            "loss.kind=margin",
            "loss.learn-beta=per-class",
            "memory.correction=moments",
            "memory.half-life=2",
            "drift.every=1",
            "drift.probes=8",
            "drift.spans=[2, 4]",
        ],
    ];
    for settings in cases {
        let folder = tempfile::tempdir().unwrap();
        let recipe = recipe(settings);
        let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
        finish(&recipe, &whole);
        // Step 5: the ring has wrapped and its cursor stands in the middle.
        let listener = Listener { stop_at: Some(5), ..Listener::default() };
        start(&recipe, &parts, false, &listener).unwrap();
        let resumed = RunFolder::open(&parts).unwrap().recipe(&[]).unwrap();
        start(&resumed, &parts, true, &Listener::default()).unwrap();
        let same = |file| {
            fs_err::read(whole.join(file)).unwrap() == fs_err::read(parts.join(file)).unwrap()
        };
        assert!(same("last.safetensors"), "{settings:?}");
        // Losses and drift as well, but not the seconds.
        let told = |path: &Path| -> Vec<serde_json::Value> {
            let text = fs_err::read_to_string(path.join("metrics.jsonl")).unwrap();
            let parse = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
            let mut lines: Vec<_> = text.lines().map(parse).collect();
            lines.iter_mut().filter_map(|line| line.as_object_mut()).for_each(|line| {
                line.remove("seconds");
            });
            lines
        };
        assert_eq!(told(&whole), told(&parts), "{settings:?}");
    }
}

#[test]
fn a_sampled_memory_is_full_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::default();
    let recipe = recipe(&["memory.fill=sampled"]);
    start(&recipe, &folder.path().join("run"), false, &listener).unwrap();
    let steps = listener.steps.into_inner().unwrap();
    let filled: Vec<usize> = steps.iter().map(|(_, event)| event.memory_filled).collect();
    assert_eq!(filled, [0, 0, 20, 20, 20, 20, 20, 20]);
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

/// Losses of the steps of a run.
fn losses(settings: &[&str]) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::default();
    start(&recipe(settings), &folder.path().join("run"), false, &listener).unwrap();
    let steps = listener.steps.into_inner().unwrap();
    steps.iter().map(|(_, event)| f64::from(event.loss)).collect()
}

#[test]
fn kernel_and_reference_body_train_alike() {
    for loss in ["contrastive", "multi-similarity", "margin"] {
        let kind = format!("loss.kind={loss}");
        let through = |kernel| losses(&[&kind, "loss.reduction=anchor-mean", kernel]);
        let (fused, reference) = (through("loss.kernel=fused"), through("loss.kernel=reference"));
        assert_eq!(fused.len(), reference.len());
        for (fused, reference) in fused.iter().zip(&reference) {
            assert!(*reference > 0.0, "{loss} trains");
            let apart = (fused - reference).abs() / reference;
            assert!(apart < 1e-3, "{loss}: {fused} by the kernel, not {reference}");
        }
        // Another body is other arithmetic, so that equal bits would mean the option does nothing.
        assert_ne!(fused, reference, "{loss}");
    }
}

#[test]
fn drift_tells_how_far_how_old_and_what_it_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let settings = ["drift.every=2", "drift.probes=8", "drift.spans=[2, 4]", "loss.margin=0"];
    finish(&recipe(&settings), &path);
    let text = fs_err::read_to_string(path.join("metrics.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let drift: Vec<_> = lines.filter(|line| line["event"] == "drift").collect();
    let steps: Vec<_> = drift.iter().map(|line| line["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [2, 4, 6, 8]);
    // The memory starts in step 3.
    assert!(drift[0]["ages"].is_null() && drift[0]["training"].as_array().unwrap().is_empty());
    let last = &drift[3];
    for mode in ["training", "inference"] {
        let spans: Vec<_> =
            last[mode].as_array().unwrap().iter().map(|of| of["span"].as_u64().unwrap()).collect();
        assert_eq!(spans, [2, 4]);
        assert!(last[mode][0]["mean_squared"].as_f64().unwrap() > 0.0);
    }
    let total = |of: &serde_json::Value| -> u64 {
        of["counts"].as_array().unwrap().iter().map(|count| count.as_u64().unwrap()).sum()
    };
    assert_eq!(total(&last["ages"]), 20);
    // 8 anchors against 20 entries, some of their classes; unit vectors of few steps are close.
    let (all, active) = (total(&last["pairs"]["all"]), total(&last["pairs"]["active"]));
    assert!(0 < active && active <= all && all <= 160, "{active} of {all}");
    assert!(last["gradient"]["relative"].as_f64().unwrap() > 0.0);
}
