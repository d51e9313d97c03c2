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

#[cfg(feature = "download")]
mod fetch {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        sync::{Arc, Mutex},
    };

    use super::*;

    /// SHA-256 of [`content`], by Python's `hashlib`.
    const SHA256: &str = "ff41b7e9cc397e9de1484b9ba8bd73b47c1bdfbc363d738bde401789cca5ef56";

    fn content() -> Vec<u8> {
        (0..200_000u32).map(|i| (i * 7 % 251) as u8).collect()
    }

    /// Serves the content from the byte asked for; the first `broken` answers stop half-way. Notes the ranges.
    fn serve(broken: usize) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/file.pth", listener.local_addr().unwrap());
        let ranges = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&ranges);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> =
                    lines.map(|line| line.unwrap()).take_while(|line| !line.is_empty()).collect();
                let range = head.iter().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("range").then(|| value.to_owned())
                });
                noted.lock().unwrap().push(range.clone().unwrap_or_default());
                let content = content();
                let start: usize = range.map_or(0, |range| {
                    range.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap()
                });
                let rest = &content[start..];
                let status = if start > 0 { "206 Partial Content" } else { "200 OK" };
                let range = format!("bytes {start}-{}/{}", content.len() - 1, content.len());
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {}\r\nContent-Range: {range}\r\nConnection: close\r\n\r\n",
                    rest.len()
                );
                stream.write_all(head.as_bytes()).unwrap();
                let sent = if number < broken { rest.len() / 2 } else { rest.len() };
                stream.write_all(&rest[..sent]).unwrap();
            }
        });
        (url, ranges)
    }

    fn fetch(folder: &Path, url: &str, more: &[&str]) -> crate::support::Outcome {
        let args = ["weights", "fetch", "dinov2-s14.lvd142m", "-o", "weights", "--url", url];
        crossbatch_in(folder, &[&args[..], more].concat())
    }

    #[test]
    fn a_file_is_checked_and_continued_where_it_broke_off() {
        let folder = tempfile::tempdir().unwrap();
        let (url, ranges) = serve(1);
        let sha256 = ["--sha256", SHA256];
        fetch(folder.path(), &url, &sha256).fails_with(&["cannot fetch", ".part"]);
        let target = folder.path().join("weights/dinov2-s14.lvd142m.pth");
        assert!(!target.exists());
        fetch(folder.path(), &url, &sha256).ok();
        assert_eq!(fs_err::read(&target).unwrap(), content());
        assert_eq!(*ranges.lock().unwrap(), ["", "bytes=100000-"]);
        // It is there: nothing is fetched again.
        fetch(folder.path(), &url, &sha256).ok();
        assert_eq!(ranges.lock().unwrap().len(), 2);
        fetch(folder.path(), &url, &["--sha256", "00000000"]).fails_with(&["another file"]);
    }

    #[test]
    fn a_wrong_or_unknown_checksum_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (url, _) = serve(0);
        fetch(folder.path(), &url, &[]).fails_with(&["no checksum", "--accept-unknown"]);
        let wrong = fetch(folder.path(), &url, &["--sha256", "12345678"]);
        wrong.fails_with(&["thrown away", "expected 12345678", &SHA256[..16]]);
        fetch(folder.path(), &url, &["--sha256", "xyz"]).fails_with(&["hexadecimal"]);
        assert_eq!(fs_err::read_dir(folder.path().join("weights")).unwrap().count(), 0);
        let outcome = fetch(folder.path(), &url, &["--accept-unknown"]);
        assert!(
            outcome.stderr.contains(SHA256) && outcome.stderr.contains("not checked"),
            "{outcome:?}"
        );
        outcome.ok();
    }
}
