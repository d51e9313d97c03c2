//! Omniglot from tiny archives and folders.

use std::path::Path;

use crossbatch_data::{Kind, Split, load, open};

use crate::support::{SPEC, assert_sound, at, class_counts, png, put, put_zip, refuses};

/// Two alphabets of two characters in each half, three drawings of each.
fn names(half: &str) -> Vec<String> {
    let mut names = Vec::new();
    for alphabet in ["Greek", "Tifinagh_(old)"] {
        for character in 1..=2 {
            names.extend((1..=3).map(|image| {
                format!("{half}/{half}_{alphabet}/character{character:02}/0001_{image:02}.png")
            }));
        }
    }
    names
}

fn write_zip(root: &Path, half: &str) {
    let names = names(half);
    let first = format!("{half}/");
    let mut files = vec![(first.as_str(), Vec::new()), ("__MACOSX/x.png", png(0))];
    files.extend(names.iter().enumerate().map(|(shade, name)| (name.as_str(), png(shade as u8))));
    put_zip(&root.join(format!("{half}.zip")), &files);
}

#[test]
fn zips_and_folders_are_the_same_data_set() {
    let (zips, folders) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for half in ["images_background", "images_evaluation"] {
        write_zip(zips.path(), half);
        for (shade, name) in names(half).iter().enumerate() {
            put(folders.path(), name, &png(shade as u8));
        }
    }
    let both = [zips.path(), folders.path()].map(|path| open(&at(path)).unwrap());
    for dataset in &both {
        assert_sound(dataset);
        assert_eq!(
            (dataset.kind, class_counts(dataset), dataset.samples.len()),
            (Kind::Omniglot, [4, 0, 4], 24)
        );
        assert_eq!(dataset.classes[1], "images_background_Greek/character02");
        assert!(dataset.warnings.is_empty(), "{:?}", dataset.warnings);
    }
    assert!(
        both[0].description.contains("omniglot zips")
            && both[1].description.contains("omniglot folders")
    );
    let names = both.each_ref().map(|dataset| {
        dataset.samples.iter().map(|sample| sample.name.clone()).collect::<Vec<_>>()
    });
    assert_eq!(names[0], names[1]);
    let pixels = both.each_ref().map(|dataset| {
        let (images, unreadable) =
            load(dataset, &dataset.indices(Split::Test), SPEC, 100, &|_, _| {}).unwrap();
        assert!(unreadable.is_empty());
        let mut pixels = Vec::new();
        images.write_f32(&(0..12).collect::<Vec<_>>(), &mut pixels).unwrap();
        pixels
    });
    assert_eq!(pixels[0], pixels[1]);
    assert_eq!(pixels[0][11 * 64], 11.0 / 255.0);
}

#[test]
fn half_an_omniglot_is_refused() {
    let root = tempfile::tempdir().unwrap();
    write_zip(root.path(), "images_evaluation");
    refuses(&at(root.path()), &["only one half", "`images_background`"]);
    refuses(
        &at(&root.path().join("images_evaluation.zip")),
        &["`images_background`", "give that folder"],
    );
}

#[test]
fn damaged_archives_are_named() {
    let root = tempfile::tempdir().unwrap();
    write_zip(root.path(), "images_background");
    write_zip(root.path(), "images_evaluation");
    let path = root.path().join("images_evaluation.zip");
    let whole = fs_err::read(&path).unwrap();
    for length in [0, 10, whole.len() / 2, whole.len() - 5] {
        fs_err::write(&path, &whole[..length]).unwrap();
        refuses(&at(root.path()), &["images_evaluation.zip", "incomplete"]);
    }
    // One entry damaged: that image alone is unreadable.
    let mut bent = whole.clone();
    let place = bent.windows(4).position(|bytes| bytes == b"IHDR").unwrap_or(400);
    bent[place + 6] ^= 0xFF;
    fs_err::write(&path, bent).unwrap();
    let dataset = open(&at(root.path())).unwrap();
    let (images, unreadable) =
        load(&dataset, &dataset.indices(Split::Test), SPEC, 0, &|_, _| {}).unwrap();
    assert_eq!(images.len() + unreadable.len(), 12);
    assert!(unreadable.len() <= 1, "{unreadable:?}");
    for end in (0..whole.len()).step_by(31) {
        let mut bent = whole.clone();
        bent[end] ^= 0x55;
        fs_err::write(&path, bent).unwrap();
        if let Ok(dataset) = open(&at(root.path())) {
            let _ = load(&dataset, &dataset.indices(Split::Test), SPEC, 0, &|_, _| {});
        }
    }
}

#[test]
fn a_wrong_layout_is_refused() {
    let root = tempfile::tempdir().unwrap();
    write_zip(root.path(), "images_background");
    put_zip(
        &root.path().join("images_evaluation.zip"),
        &[("images_evaluation/Greek/0001_01.png", png(0))],
    );
    refuses(&at(root.path()), &["images_evaluation.zip", "ALPHABET/CHARACTER"]);
}
