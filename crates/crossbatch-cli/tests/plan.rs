//! `crossbatch plan`

use crate::support::{crossbatch_in, draw_classes, records};

const GLYPHS: [&str; 6] = [
    "--set",
    "data.glyphs.train-classes=24",
    "--set",
    "data.glyphs.test-classes=12",
    "--set",
    "batch.classes=4",
];

#[test]
fn parameters_work_and_pairs_are_told_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let plan =
        |more: &[&str]| crossbatch_in(folder.path(), &[&["plan"], &GLYPHS[..], more].concat());
    let options = ["--set", "memory.size=40", "--set", "data.validation=0"];
    let json = plan(&[&options[..], &["--format", "json"]].concat()).json();
    // Conv-4: 576 + 3 x 36,864 weights, 8 x 64 of normalisation, 576 x 128 + 128 of the head.
    assert_eq!(json["parameters"], 185_536);
    assert_eq!((&json["training_classes"], &json["training_images"]), (&24.into(), &120.into()));
    // 4 classes x 2 images; groups of 2 cover 5 images in 3: 24 x 3 groups in batches of 4.
    assert_eq!((&json["batch"], &json["steps_per_epoch"]), (&8.into(), &18.into()));
    assert_eq!((&json["batch_negatives"], &json["batch_positives"]), (&6.0.into(), &1.0.into()));
    // 32 older entries, of 24 classes that come equally often.
    let number = |key: &str| json[key].as_f64().unwrap();
    assert!((number("memory_negatives") - (6.0 + 32.0 * 23.0 / 24.0)).abs() < 1e-9);
    assert_eq!(json["oldest_age"], 4);
    assert_eq!(json["flops"]["memory_pairs"], 4 * 8 * 40 * 128);
    // Codes beside the embeddings, where the processor makes use of them.
    let memory = 40 * (128 * 4 + 8) + crossbatch::MemoryConfig::new(40, 128).screen_bytes();
    assert_eq!(json["bytes"]["memory"], memory);

    let table = plan(&options).ok();
    for part in ["185536", "18 steps", "40 slots", "from step 101 on", "estimate", "trained twice"]
    {
        assert!(table.contains(part), "no `{part}` in\n{table}");
    }
    let rows = records(&plan(&[&options[..], &["--format", "csv"]].concat()).ok());
    let column = rows[0].iter().position(|name| name == "bytes.memory").unwrap();
    assert_eq!(rows[1][column], memory.to_string());
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0, "nothing is written");
}

#[test]
fn it_plans_what_a_run_then_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut args = GLYPHS.to_vec();
    args.extend(["--set", "steps=2", "--set", "compare-without-memory=false"]);
    let json =
        crossbatch_in(folder.path(), &[&["plan", "--format", "json"], &args[..]].concat()).json();
    crossbatch_in(folder.path(), &[&["train", "-q", "--out", "run"], &args[..]].concat()).ok();
    let file = fs_err::read(folder.path().join("run/last.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let trained = file.tensors().into_iter().filter(|(name, _)| !name.contains("running_"));
    let numbers: usize = trained.map(|(_, view)| view.shape().iter().product::<usize>()).sum();
    assert_eq!(json["parameters"], numbers);
}

/// Other systems do not say what is free.
#[cfg(target_os = "linux")]
#[test]
fn what_does_not_fit_is_told_with_its_numbers_and_refused() {
    let folder = tempfile::tempdir().unwrap();
    // 24 classes x 1,000 images of a megapixel in 64 channels: terabytes of activations.
    let large = ["--set", "data.image-size=1024", "--set", "batch.images=1000", "--format", "json"];
    let outcome = crossbatch_in(folder.path(), &[&["plan"], &GLYPHS[..], &large].concat());
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("does not fit"), "{outcome:?}");
    let json: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["fits"], false);
    let bytes = |value: &serde_json::Value| value.as_u64().unwrap();
    assert!(bytes(&json["bytes"]["total"]) > bytes(&json["available_bytes"]));
    let small =
        crossbatch_in(folder.path(), &[&["plan", "--format", "json"], &GLYPHS[..]].concat());
    assert_eq!(small.json()["fits"], true);
}

#[test]
fn what_train_refuses_is_refused_alike() {
    let folder = tempfile::tempdir().unwrap();
    draw_classes(&folder.path().join("few"), &["a", "b", "c", "d"], 3);
    fs_err::write(folder.path().join("r.toml"), "stepz = 3").unwrap();
    let cases: [&[&str]; 7] = [
        &["--data", "nowhere"],
        &["--data", "few", "--set", "batch.classes=9"],
        &["--data", "few", "--set", "batch.classes=2", "--set", "memory.size=3"],
        &["--data", "few", "--set", "batch.classes=2", "--set", "memory.size=10000000000000"],
        &["--set", "memory.sise=3"],
        &["--set", "loss.kind=contrastiv"],
        &["r.toml"],
    ];
    for case in cases {
        let error = |command: &[&str]| {
            let outcome = crossbatch_in(folder.path(), &[command, case].concat());
            assert_eq!(outcome.code, Some(2), "{outcome:?}");
            let error = outcome.stderr.lines().find(|line| line.starts_with("error: "));
            error.unwrap_or_else(|| panic!("{outcome:?}")).to_owned()
        };
        assert_eq!(error(&["plan"]), error(&["train", "--out", "run"]), "{case:?}");
    }
}
