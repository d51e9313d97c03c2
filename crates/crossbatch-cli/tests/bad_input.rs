//! What cannot be done is said clearly, with exit code 2.

use std::{io::Write, path::Path};

use crate::support::{Outcome, crossbatch_in, draw_classes, run, spoil};

fn train(folder: &Path, args: &[&str]) -> Outcome {
    let mut all = vec!["train", "--out", "run", "--set", "compare-without-memory=false"];
    all.extend(["--set", "steps=2", "--set", "data.validation=0", "--set", "memory.size=0"]);
    all.extend(args);
    crossbatch_in(folder, &all)
}

#[test]
fn a_recipe_that_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let write = |text: &str| fs_err::write(folder.path().join("r.toml"), text).unwrap();
    crossbatch_in(folder.path(), &["train", "r.toml"])
        .fails_with(&["cannot read the recipe r.toml"]);
    write("stepz = 3");
    crossbatch_in(folder.path(), &["train", "r.toml"]).fails_with(&[
        "no key `stepz`",
        "r.toml, line 1",
        "did you mean `steps`",
    ]);
    write("[memory]\nsize = \"60k\"");
    crossbatch_in(folder.path(), &["train", "r.toml"]).fails_with(&[
        "`memory.size = \"60k\"`",
        "r.toml, line 2",
        "9640",
    ]);
    write("memory = [64]");
    crossbatch_in(folder.path(), &["train", "r.toml", "--set", "memory.size=64"])
        .fails_with(&["r.toml, line 1", "expected a table, [memory]"]);
    write("name = \"../elsewhere\"");
    crossbatch_in(folder.path(), &["train", "r.toml"]).fails_with(&["`name", "without slashes"]);
    write("steps = = 3");
    crossbatch_in(folder.path(), &["train", "r.toml"]).fails_with(&["r.toml is not valid TOML"]);
    crossbatch_in(folder.path(), &["train", "--set", "steps"])
        .fails_with(&["--set steps", "key=value"]);
    crossbatch_in(folder.path(), &["train", "--device", "tpu"])
        .fails_with(&["device", "tpu", "cpu", "gpu"]);
    #[cfg(not(feature = "wgpu"))]
    crossbatch_in(folder.path(), &["train", "--device", "gpu"]).fails_with(&[
        "device = \"gpu\"",
        "finds no GPU",
        "--features wgpu",
    ]);
    crossbatch_in(folder.path(), &["train", "--threads", "99999"]).fails_with(&["threads = 99999"]);
}

#[test]
fn data_that_is_missing_empty_or_too_little() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    train(path, &["--data", "nowhere"]).fails_with(&["nowhere"]);
    fs_err::create_dir_all(path.join("empty")).unwrap();
    train(path, &["--data", "empty"]).fails_with(&["empty"]);
    fs_err::create_dir_all(path.join("texts/a")).unwrap();
    fs_err::write(path.join("texts/a/readme.txt"), "no image").unwrap();
    train(path, &["--data", "texts"]).fails_with(&["no images", "texts"]);
    draw_classes(&path.join("one"), &["only"], 4);
    train(path, &["--data", "one"]).fails_with(&["1 class", "at least 2"]);
    draw_classes(&path.join("single"), &["a", "b", "c", "d"], 1);
    train(path, &["--data", "single"]).fails_with(&["two images"]);
    draw_classes(&path.join("few"), &["a", "b", "c", "d"], 3);
    train(path, &["--data", "few", "--set", "batch.classes=9"])
        .fails_with(&["batch.classes = 9", "2 classes"]);
    for size in ["10000000000000", "1e300%"] {
        let size = format!("memory.size={size}");
        train(path, &["--data", "few", "--set", "batch.classes=2", "--set", &size])
            .fails_with(&["memory.size", "GiB"]);
    }
    train(path, &["--data", "few", "--set", "batch.classes=2", "--set", "memory.size=3"])
        .fails_with(&["`memory.size = 3`", "at least 4"]);
    assert!(!path.join("run").exists(), "nothing is written for a run that cannot start");
}

#[test]
fn lists_with_faults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    draw_classes(&path.join("images"), &["a", "b", "c", "d"], 3);
    let write = |name: &str, text: &str| fs_err::write(path.join(name), text).unwrap();
    write("bad.csv", "images/a/0.png,a\nimages/a/1.png\n");
    train(path, &["--data", "bad.csv"]).fails_with(&["bad.csv:2", "path,label"]);
    write("gone.csv", "images/a/0.png,a\nimages/a/77.png,a\n");
    train(path, &["--data", "gone.csv"]).fails_with(&["77.png"]);
    write("train.txt", "images/a/0.png,a\nimages/a/1.png,a\nimages/b/0.png,b\nimages/b/1.png,b\n");
    write("test.txt", "images/b/2.png,b\nimages/c/1.png,c\nimages/c/0.png,c\n");
    let lists = ["--set", "data.train-list=train.txt", "--set", "data.test-list=test.txt"];
    train(path, &lists).fails_with(&["`b`", "train.txt", "test.txt"]);
}

#[test]
fn archives_and_images_that_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let omniglot = path.join("omniglot");
    fs_err::create_dir_all(&omniglot).unwrap();
    draw_classes(&path.join("images"), &["a", "b", "c", "d", "e", "f"], 3);
    for half in ["images_background", "images_evaluation"] {
        let file = fs_err::File::create(omniglot.join(format!("{half}.zip"))).unwrap();
        let mut zip = zip::ZipWriter::new(file);
        for (class, name) in ["a", "b", "c"].iter().enumerate() {
            for image in 0..3 {
                let entry = format!("{half}/Latin/character0{class}/000{class}_0{image}.png");
                zip.start_file(entry, zip::write::SimpleFileOptions::default()).unwrap();
                let bytes = fs_err::read(path.join(format!("images/{name}/{image}.png"))).unwrap();
                zip.write_all(&bytes).unwrap();
            }
        }
        zip.finish().unwrap();
    }
    let small = ["--data", "omniglot", "--set", "batch.classes=2"];
    train(path, &small).ok();
    fs_err::remove_dir_all(path.join("run")).unwrap();
    let zip = omniglot.join("images_evaluation.zip");
    let bytes = fs_err::read(&zip).unwrap();
    fs_err::write(&zip, &bytes[..bytes.len() - 200]).unwrap();
    train(path, &small).fails_with(&["images_evaluation.zip"]);

    // One damaged image among good ones is a counted warning; only damaged ones are an error.
    spoil(path.join("images/a/0.png"));
    let small = ["--data", "images", "--set", "batch.classes=2"];
    let outcome = train(path, &small);
    assert!(outcome.stderr.contains("warning: left out 1 unreadable"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("a/0.png"), "{}", outcome.stderr);
    outcome.ok();
    fs_err::remove_dir_all(path.join("run")).unwrap();
    for class in ["a", "b", "c", "d", "e", "f"] {
        for image in 0..3 {
            spoil(path.join(format!("images/{class}/{image}.png")));
        }
    }
    train(path, &small).fails_with(&["could be read"]);
}

#[test]
fn runs_that_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs_err::create_dir_all(path.join("used")).unwrap();
    fs_err::write(path.join("used/mine"), "mine").unwrap();
    crossbatch_in(path, &["train", "--out", "used"])
        .fails_with(&["used is in use already", "--resume"]);
    fs_err::write(path.join("file"), "mine").unwrap();
    crossbatch_in(path, &["train", "--out", "file"]).fails_with(&["file is in use already"]);
    crossbatch_in(path, &["eval", run(), "--weights", "last", "--data", "nowhere"])
        .fails_with(&["nowhere"]);
    crossbatch_in(path, &["train", "--resume", "used"]).fails_with(&["not a run folder"]);
    crossbatch_in(path, &["eval", "used"]).fails_with(&["not a run folder"]);
    crossbatch_in(path, &["train", "--resume", run(), "--set", "loss.margin=0.1"])
        .fails_with(&["`loss.margin` cannot change"]);

    let recipe = fs_err::read_to_string(Path::new(run()).join("recipe.toml")).unwrap();
    fs_err::create_dir_all(path.join("future")).unwrap();
    let future = recipe.replace("format-version = 1", "format-version = 2");
    fs_err::write(path.join("future/recipe.toml"), future).unwrap();
    for args in [["eval", "future"], ["train", "--resume=future"]] {
        crossbatch_in(path, &args).fails_with(&["recipe.toml has format version 2"]);
    }
}

#[test]
fn a_loss_that_is_no_number() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        ["optimizer.kind=sgd", "optimizer.lr=1e38", "steps=40", "data.glyphs.train-classes=24"];
    let mut args = Vec::from(["--set", "batch.classes=4", "--set", "data.glyphs.test-classes=12"]);
    args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    train(folder.path(), &args).fails_with(&["loss became NaN in step", "optimizer.lr"]);
}

#[cfg(unix)]
#[test]
fn paths_and_files_that_are_no_text_and_no_files() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let odd = std::ffi::OsStr::from_bytes(b"odd\xff");
    fs_err::create_dir_all(folder.path().join(odd)).unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_crossbatch"))
        .args(["train", "--data"])
        .arg(odd)
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("UTF-8"), "{stderr}");

    // A pipe that is called an image is passed over; reading it would never end.
    draw_classes(&folder.path().join("images"), &["a"], 2);
    let pipe = folder.path().join("images/a/pipe.png");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    crossbatch_in(folder.path(), &["embed", run(), "images", "-o", "e.csv"]).ok();
}

#[test]
fn a_run_without_validation_has_no_best_weights() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--set", "data.glyphs.train-classes=24", "--set", "data.glyphs.test-classes=12"];
    let mut args = Vec::from(["--set", "batch.classes=4"]);
    args.extend(small);
    train(folder.path(), &args).ok();
    crossbatch_in(folder.path(), &["eval", "run", "--weights", "best"])
        .fails_with(&["no best weights", "data.validation = 0"]);
}

#[cfg(unix)]
#[test]
fn a_disk_that_is_full() {
    // A limit on the size of written files stands in for a full disk: the kernel refuses the write.
    let folder = tempfile::tempdir().unwrap();
    let command = format!(
        "trap '' XFSZ; ulimit -f 100; exec '{}' train --out run --set steps=3 --set batch.classes=4 \
         --set memory.size=32 --set data.glyphs.train-classes=24 --set data.glyphs.test-classes=12",
        env!("CARGO_BIN_EXE_crossbatch")
    );
    let output = std::process::Command::new("sh")
        .args(["-c", &command])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("error: ") && stderr.contains(".safetensors"), "{stderr}");
    let left: Vec<String> = fs_err::read_dir(folder.path().join("run/without-memory"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("safetensors"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "no half-written file is left");
}
