//! Class folders, and what is recognised when nothing is said.

use crossbatch_data::{DataConfig, Kind, Split, open};

use crate::support::{assert_sound, at, class_counts, png, put, refuses};

fn ten_classes(root: &std::path::Path) {
    for class in 0..10 {
        for image in 0..3 {
            put(root, &format!("class{class}/{image}.png"), &png(image));
        }
    }
}

#[test]
fn classes_are_split_by_the_seed() {
    let root = tempfile::tempdir().unwrap();
    ten_classes(root.path());
    let mut config = at(root.path());
    let dataset = open(&config).unwrap();
    assert_sound(&dataset);
    assert_eq!((dataset.kind, class_counts(&dataset)), (Kind::Folder, [5, 0, 5]));
    assert_eq!(dataset.samples.len(), 30);
    assert!(
        dataset.description.contains("5 training classes (15 images), 5 test classes (15 images)"),
        "{}",
        dataset.description
    );
    assert_eq!(dataset.indices(Split::Test), open(&config).unwrap().indices(Split::Test));
    let splits: std::collections::BTreeSet<_> = (0..10)
        .map(|split_seed| {
            open(&DataConfig { split_seed, ..config.clone() }).unwrap().indices(Split::Test)
        })
        .collect();
    assert!(splits.len() > 5);
    for (test_fraction, expected) in
        [(0.0, [10, 0, 0]), (0.01, [8, 0, 2]), (0.3, [7, 0, 3]), (1.0, [0, 0, 10])]
    {
        config.test_fraction = test_fraction;
        assert_eq!(class_counts(&open(&config).unwrap()), expected);
    }
    for test_fraction in [-0.1, 1.5, f64::NAN] {
        refuses(&DataConfig { test_fraction, ..config.clone() }, &["data.test-fraction"]);
    }
}

#[test]
fn validation_comes_out_of_the_training_classes() {
    let root = tempfile::tempdir().unwrap();
    ten_classes(root.path());
    let config = |validation| DataConfig { validation, ..at(root.path()) };
    let plain = open(&config(0.0)).unwrap();
    let held = open(&config(0.1)).unwrap();
    assert_sound(&held);
    assert_eq!(class_counts(&held), [3, 2, 5]);
    assert_eq!(plain.indices(Split::Test), held.indices(Split::Test));
    assert!(held.description.contains("2 of the training classes"), "{}", held.description);
    refuses(&config(0.9), &["data.validation = 0.9", "5 training classes"]);
    refuses(&config(1.0), &["data.validation = 1"]);
}

#[test]
fn odd_things_are_counted_not_read() {
    let root = tempfile::tempdir().unwrap();
    for name in
        ["a/1.png", "a/deep/er/2.JPG", "b/1.WebP", "b/2.gif", ".git/x.png", "a/.x.png", "loose.png"]
    {
        put(root.path(), name, &png(0));
    }
    for name in ["a/3.tiff", "a/readme.txt", "empty/notes.md"] {
        put(root.path(), name, b"");
    }
    let dataset = open(&at(root.path())).unwrap();
    assert_eq!(dataset.classes, ["a", "b"]);
    let names: Vec<&str> = dataset.samples.iter().map(|sample| sample.name.as_str()).collect();
    assert_eq!(names, ["a/1.png", "a/deep/er/2.JPG", "b/1.WebP", "b/2.gif"]);
    let warnings = dataset.warnings.join("\n");
    for part in ["1 image(s) lie in", "first empty", "3.tiff"] {
        assert!(warnings.contains(part), "{warnings}");
    }
    assert_eq!(dataset.warnings.len(), 3);
}

#[test]
#[cfg(unix)]
fn a_loop_of_links_ends() {
    let root = tempfile::tempdir().unwrap();
    ten_classes(root.path());
    fs_err::os::unix::fs::symlink(root.path(), root.path().join("class3/up")).unwrap();
    // The link leads to all images once more, but not round again.
    assert!(open(&at(root.path())).unwrap().samples.len() <= 60);
}

#[test]
fn unusable_paths_say_what_to_do() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name);
    refuses(&at(&path("nowhere")), &["nowhere", "there is nothing", "give a folder"]);
    fs_err::create_dir(path("empty")).unwrap();
    refuses(&at(&path("empty")), &["empty", "train.txt"]);
    put(root.path(), "text/readme.md", b"x");
    refuses(&at(&path("text")), &["no images", "CLASS/IMAGE.png"]);
    put(root.path(), "text/deep/readme.md", b"x");
    refuses(&at(&path("text")), &["no images"]);
    put(root.path(), "one/a/1.png", &png(0));
    refuses(&at(&path("one")), &["one has 1 class", "at least 2"]);
    put(root.path(), "one/b/1.png", &png(0));
    refuses(&at(&path("one")), &["none of the 1 training classes", "two images"]);
    put(root.path(), "model.bin", b"x");
    refuses(&at(&path("model.bin")), &["model.bin", "expected a folder"]);
    put(root.path(), "things.zip", b"x");
    refuses(&at(&path("things.zip")), &["things.zip", "train.txt and test.txt"]);
    let forced = |kind| DataConfig { kind: Some(kind), ..at(&path("one")) };
    refuses(&forced(Kind::Omniglot), &["images_background.zip"]);
    refuses(&forced(Kind::List), &["path,label"]);
    refuses(
        &DataConfig { kind: Some(Kind::Folder), ..DataConfig::default() },
        &["`folder` needs `data.path`"],
    );
    let glyphs = open(&forced(Kind::Glyphs)).unwrap();
    assert_eq!((glyphs.kind, glyphs.warnings.len()), (Kind::Glyphs, 1));
}

#[test]
fn kinds_are_words() {
    for kind in [Kind::Glyphs, Kind::Omniglot, Kind::List, Kind::Folder] {
        assert_eq!(kind.to_string().parse::<Kind>().unwrap(), kind);
    }
    let error = "imagenet".parse::<Kind>().unwrap_err().to_string();
    assert!(error.contains("data.kind") && error.contains("\"folder\""), "{error}");
}
