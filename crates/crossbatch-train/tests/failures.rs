//! Runs that cannot start or go on say why, and lose nothing.

use crossbatch_train::{Error, Report, RunFolder};

use crate::support::{Listener, finish, recipe, start};

#[track_caller]
fn failure(settings: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::default();
    let path = folder.path().join("run");
    start(&recipe(settings), &path, false, &listener).unwrap_err().to_string()
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_with_advice() {
    // One step at this rate overflows the weights.
    let message = failure(&["optimizer.kind=sgd", "optimizer.lr=1e38", "steps=50"]);
    assert!(message.contains("loss became NaN in step"), "{message}");
    assert!(message.contains("optimizer.lr"), "{message}");
}

#[test]
fn a_memory_smaller_than_a_batch_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    let error = start(&recipe(&["memory.size=7"]), &path, false, &Listener::default()).unwrap_err();
    assert!(matches!(error, Error::MemoryTooSmall { slots: 7, batch: 8, .. }), "{error}");
    assert!(!path.exists());
    let message = failure(&["memory.size=1000000000000000"]);
    assert!(
        message.contains("GiB") && message.contains("memory.size = 1000000000000000"),
        "{message}"
    );
    assert!(failure(&["memory.size=1%"]).contains("`memory.size = 1%` is 2 slots"));
}

#[test]
fn a_batch_of_more_classes_than_there_are_is_refused() {
    let message = failure(&["batch.classes=31", "memory.size=0"]);
    assert!(message.contains("batch.classes = 31") && message.contains("30"), "{message}");
}

#[test]
fn a_folder_in_use_is_never_written_to() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::write(folder.path().join("mine.txt"), "mine").unwrap();
    let error = start(&recipe(&[]), folder.path(), false, &Listener::default()).unwrap_err();
    assert!(matches!(error, Error::FolderInUse(_)), "{error}");
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn other_versions_and_damaged_files_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    finish(&recipe(&["steps=2"]), &path);
    let run = RunFolder::open(&path).unwrap();

    let edit = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>| {
        let bytes = fs_err::read(path.join(file)).unwrap();
        fs_err::write(path.join(file), change(bytes.clone())).unwrap();
        bytes
    };
    let replace = |from: &'static str, to: &'static str| {
        move |bytes: Vec<u8>| {
            // Byte for byte, so that a safetensors header keeps its length.
            assert_eq!(from.len(), to.len());
            let at = bytes.windows(from.len()).position(|part| part == from.as_bytes()).unwrap();
            let mut bytes = bytes;
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            bytes
        }
    };

    let whole = edit("recipe.toml", &replace("format-version = 1", "format-version = 7"));
    let error = run.model(Report::Last).unwrap_err().to_string();
    assert!(error.contains("recipe.toml has format version 7"), "{error}");
    fs_err::write(path.join("recipe.toml"), whole).unwrap();

    let from = "\"crossbatch_format_version\":\"1\"";
    let whole = edit("last.safetensors", &replace(from, "\"crossbatch_format_version\":\"9\""));
    let error = run.model(Report::Last).unwrap_err().to_string();
    assert!(error.contains("last.safetensors has format version 9"), "{error}");

    fs_err::write(path.join("last.safetensors"), &whole[..whole.len() / 2]).unwrap();
    let error = run.model(Report::Last).unwrap_err().to_string();
    assert!(error.contains("last.safetensors") && error.contains("safetensors file"), "{error}");

    fs_err::remove_file(path.join("last.safetensors")).unwrap();
    let error = run.model(Report::Last).unwrap_err();
    assert!(matches!(error, Error::NoWeights { .. }), "{error}");

    edit("checkpoint.safetensors", &|bytes| bytes[..bytes.len() - 9].to_vec());
    let resumed = run.recipe(&["steps=4".to_owned()]).unwrap();
    let error = start(&resumed, &path, true, &Listener::default()).unwrap_err().to_string();
    assert!(error.contains("checkpoint.safetensors"), "{error}");

    edit("summary.json", &|_| b"{".to_vec());
    assert!(run.summary().unwrap_err().to_string().contains("summary.json"));
}

#[test]
fn a_folder_without_a_run_is_said_to_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let error = RunFolder::open(folder.path()).unwrap_err().to_string();
    assert!(error.contains("is not a run folder"), "{error}");
}

#[test]
fn unreadable_images_are_counted_and_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    for class in 0..8 {
        for image in 0..4u8 {
            let path = data.join(format!("class{class}")).join(format!("{image}.bmp"));
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            // A 16 x 16 BMP is easily written by hand: header, then rows of blue, green, red.
            let mut bytes = b"BM\x36\x03\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0\x10\0\0\0\x10\0\0\0\x01\0\x18\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0".to_vec();
            bytes.extend((0..768u32).map(|i| (i * (class + 2) + u32::from(image) * 7) as u8));
            fs_err::write(path, bytes).unwrap();
        }
    }
    fs_err::write(data.join("class0/0.bmp"), b"not an image").unwrap();
    fs_err::write(data.join("class7/1.bmp"), b"").unwrap();
    let listener = Listener::default();
    let path = serde_json::to_string(&data).unwrap();
    let settings =
        [&format!("data.path={path}")[..], "data.test-fraction=0.5", "batch.classes=2", "steps=2"];
    let run = folder.path().join("run");
    start(&recipe(&settings), &run, false, &listener).unwrap();
    let warnings = listener.warnings.into_inner().unwrap().join("\n");
    let counted = warnings.matches("left out 1 unreadable").count()
        + warnings.matches("left out 2 unreadable").count() * 2;
    assert_eq!(counted, 2, "{warnings}");
    assert!(warnings.contains("class0/0.bmp") && warnings.contains("class7/1.bmp"), "{warnings}");
}

#[test]
fn weights_that_are_no_numbers_are_never_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    // The first step's loss is finite; the weights after it are not.
    let wild = recipe(&["optimizer.kind=sgd", "optimizer.lr=1e300", "train.checkpoint-every=1"]);
    let error = start(&wild, &path, false, &Listener::default()).unwrap_err();
    assert!(matches!(error, Error::WeightsNotFinite { step: 1, kept: None, .. }), "{error}");
    assert!(!path.join("checkpoint.safetensors").exists());

    let last = recipe(&["optimizer.kind=sgd", "optimizer.lr=1e300", "steps=1"]);
    let path = folder.path().join("last");
    let error = start(&last, &path, false, &Listener::default()).unwrap_err().to_string();
    assert!(error.contains("infinite or NaN in step 1"), "{error}");
    assert!(!path.join("last.safetensors").exists());
}

#[test]
fn a_run_goes_on_with_more_steps_only_and_on_the_same_images_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    finish(&recipe(&["steps=4"]), &path);
    let run = RunFolder::open(&path).unwrap();
    let before = fs_err::read(path.join("recipe.toml")).unwrap();

    let fewer = run.recipe(&["steps=2".to_owned()]).unwrap();
    let error = start(&fewer, &path, true, &Listener::default()).unwrap_err();
    assert!(matches!(error, Error::FewerSteps { steps: 2, done: 4 }), "{error}");
    assert!(before == fs_err::read(path.join("recipe.toml")).unwrap(), "nothing was written");

    // Other images under the same recipe: as if a class folder had been renamed.
    let mut other = run.recipe(&["steps=6".to_owned()]).unwrap();
    other.data.glyphs.train_classes = 33;
    let error = start(&other, &path, true, &Listener::default()).unwrap_err();
    assert!(matches!(error, Error::DataChanged), "{error}");
}

#[test]
fn a_memory_that_is_never_used_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let listener = Listener::default();
    let path = folder.path().join("run");
    start(&recipe(&["memory.start=8"]), &path, false, &listener).unwrap();
    let warnings = listener.warnings.into_inner().unwrap().join("\n");
    assert!(warnings.contains("never used") && warnings.contains("8 steps"), "{warnings}");
}
