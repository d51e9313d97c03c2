//! `crossbatch models`, `weights`, `export`, and training from published weights.

use std::path::Path;

use burn::tensor::{Device, Tensor};
use crossbatch_models::{
    BackboneKind, Embedder, EmbedderConfig, Mode, from_safetensors, read_weights,
};

use crate::support::{crossbatch_in, records, run};

#[test]
fn every_backbone_is_listed_alike_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let models = |more: &[&str]| crossbatch_in(folder.path(), &[&["models"], more].concat());
    let json = models(&["--format", "json"]).json();
    let rows = records(&models(&["--format", "csv"]).ok());
    let table = models(&[]).ok();
    let listed = json["models"].as_array().unwrap();
    assert_eq!((listed.len(), rows.len()), (BackboneKind::ALL.len(), BackboneKind::ALL.len() + 1));
    for (model, row) in listed.iter().zip(&rows[1..]) {
        let name = model["name"].as_str().unwrap();
        assert_eq!(row[0], name);
        assert_eq!(row[1], model["parameters"].to_string());
        assert!(table.lines().any(|line| line.split_whitespace().next() == Some(name)), "{name}");
    }
    let resnet = listed.iter().find(|model| model["name"] == "resnet50").unwrap();
    assert_eq!(resnet["parameters"], 23_508_032);
    assert_eq!(resnet["weights"][1], "resnet50.imagenet1k-v2");
}

#[test]
fn published_weights_are_listed_with_what_is_known_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let list = |format| crossbatch_in(folder.path(), &["weights", "list", "--format", format]);
    let json = list("json").json();
    let all = json["weights"].as_array().unwrap();
    let of = |name: &str| all.iter().find(|file| file["name"] == name).unwrap();
    assert_eq!(of("resnet18.imagenet1k-v1")["sha256"], "f37072fd");
    assert!(of("dinov2-s14.lvd142m")["sha256"].is_null());
    assert_eq!(records(&list("csv").ok()).len(), all.len() + 1);
    assert!(list("table").ok().contains("not stated"));
}

#[test]
fn a_run_is_exported_in_pytorchs_names_and_as_onnx() {
    let folder = tempfile::tempdir().unwrap();
    let export = |format: &str, file: &str, more: &[&str]| {
        let args = [&["export", run(), "--format", format, "-o", file], more].concat();
        crossbatch_in(folder.path(), &args)
    };
    export("safetensors", "all.safetensors", &[]).ok();
    export("safetensors", "backbone.safetensors", &["--backbone"]).ok();
    let (all, _) =
        from_safetensors(&fs_err::read(folder.path().join("all.safetensors")).unwrap(), "")
            .unwrap();
    let own = read_weights(&Path::new(run()).join("last.safetensors")).unwrap();
    assert_eq!(all, own);

    // What a backbone's own library would load goes back through the importer.
    let state = read_weights(&folder.path().join("backbone.safetensors")).unwrap();
    assert!(state.keys().all(|name| name.starts_with("blocks.")));
    let config = EmbedderConfig::new(BackboneKind::Conv4, 1, 28, 128);
    let fresh = Embedder::new(&config, 9, &Device::flex());
    let (back, report) = fresh.import_backbone(&config, &state, false).unwrap();
    assert_eq!(report.taken, state.len());
    let images = Tensor::<4>::ones([1, 1, 28, 28], &Device::flex());
    let trained = Embedder::blank(&config, &Device::flex()).load_state_dict(&own).unwrap();
    assert_eq!(
        back.features(images.clone(), Mode::Inference).into_data(),
        trained.features(images, Mode::Inference).into_data()
    );

    export("onnx", "net.onnx", &[]).ok();
    let onnx = fs_err::read(folder.path().join("net.onnx")).unwrap();
    // ir_version 8, then the producer.
    assert!(onnx.starts_with(b"\x08\x08\x12\x0acrossbatch"));
    let holds = |text: &str| onnx.windows(text.len()).any(|part| part == text.as_bytes());
    for text in ["Conv", "BatchNormalization", "MaxPool", "backbone.blocks.3.norm.running_var"] {
        assert!(holds(text), "{text}");
    }
    let weights = &own["head.weight"].values;
    let bytes: Vec<u8> = weights.iter().flat_map(|value| value.to_le_bytes()).collect();
    assert!(onnx.windows(bytes.len()).any(|part| part == bytes));
    export("onnx", "net.onnx", &["--backbone"]).fails_with(&["--backbone", "safetensors"]);
}

#[test]
fn training_starts_from_given_weights_or_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let weights = format!("{}/last.safetensors", run());
    let train = |weights: &str, more: &[&str]| {
        let settings = [
            "train",
            "--set",
            "data.glyphs.train-classes=12",
            "--set",
            "data.glyphs.test-classes=6",
            "--set",
            "batch.classes=4",
            "--set",
            "steps=1",
            "--set",
            "memory.size=0",
            "--set",
            "evaluation.raw=false",
            "--weights",
            weights,
        ];
        crossbatch_in(folder.path(), &[&settings[..], more].concat())
    };
    // Freezing everything, the trained backbone is the one that was given.
    let frozen = ["--set", "model.freeze-stages=4", "--out", "frozen", "--verbose"];
    let outcome = train(&weights, &frozen);
    assert!(
        outcome.stderr.contains("tensors taken") && outcome.stderr.contains("`head.weight`"),
        "{outcome:?}"
    );
    outcome.ok();
    let state = |path: &Path| read_weights(&path.join("last.safetensors")).unwrap();
    let (given, trained) = (state(Path::new(run())), state(&folder.path().join("frozen")));
    for (name, tensor) in &given {
        assert_eq!(&trained[name] == tensor, name.starts_with("backbone."), "{name}");
    }
    let resnet = ["--set", "model.backbone=resnet18", "--out", "other"];
    train(&weights, &resnet).fails_with(&["not those of `resnet18`", "missing", "`conv1.weight`"]);
    train("nowhere.pth", &["--out", "other"]).fails_with(&["nowhere.pth"]);
    assert!(!folder.path().join("other").exists());
}

#[cfg(not(feature = "download"))]
#[test]
fn fetching_needs_its_feature() {
    let folder = tempfile::tempdir().unwrap();
    let fetch = |name| crossbatch_in(folder.path(), &["weights", "fetch", name]);
    fetch("resnet18.imagenet1k-v1").fails_with(&[
        "`download`",
        "download.pytorch.org",
        "--weights",
    ]);
    fetch("resnet19").fails_with(&["`resnet19`", "resnet18.imagenet1k-v1"]);
}

#[test]
fn weights_that_are_there_are_checked_and_unknown_ones_must_be_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let fetch = |name, more: &[&str]| {
        crossbatch_in(folder.path(), &[&["weights", "fetch", name], more].concat())
    };
    let unknown = "dinov2-s14.lvd142m";
    fetch(unknown, &[]).fails_with(&["no checksum", "--sha256", "--accept-unknown"]);
    fetch(unknown, &["--sha256", "xyz"]).fails_with(&["`xyz`", "hexadecimal"]);
    fs_err::write(folder.path().join("dinov2-s14.lvd142m.pth"), b"abc").unwrap();
    // FIPS 180-2's own example.
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let found = fetch(unknown, &["--sha256", abc]);
    assert!(found.stderr.contains("there already") && found.stderr.contains(abc), "{found:?}");
    assert_eq!(found.ok().trim(), "./dinov2-s14.lvd142m.pth");
    // Nobody needs to be asked about what is there.
    for more in [&[][..], &["--accept-unknown"]] {
        let taken = fetch(unknown, more);
        let told = ["there already", "compared with nothing", abc];
        assert!(told.iter().all(|&text| taken.stderr.contains(text)), "{taken:?}");
        taken.ok();
    }
    fs_err::write(folder.path().join("resnet18.imagenet1k-v1.pth"), b"abc").unwrap();
    let other = fetch("resnet18.imagenet1k-v1", &[]);
    other.fails_with(&["another file", "ba7816bf", "f37072fd"]);
}
