//! What is done with an input: the body of each target, which tests of crossbatch-data run too.

use crossbatch_data::{Columns, DataConfig, Kind, VerifyConfig, open, verify};

/// Files by name, with their text.
type Files = &'static [(&'static str, &'static str)];

/// The kind, the list under test, and what must lie beside it.
const LISTS: [(Kind, &str, Files); 9] = [
    (Kind::List, "list.txt", &[]),
    (Kind::List, "list.tsv", &[]),
    (Kind::List, "list.csv", &[]),
    (
        Kind::Sop,
        "Ebay_train.txt",
        &[("Ebay_test.txt", "9 9 1 z_final/0.JPG\n10 9 1 z_final/1.JPG\n")],
    ),
    (Kind::InShop, "list_eval_partition.txt", &[]),
    (Kind::VehicleId, "train_list.txt", &[("test_list_800.txt", "0000001 1\n0000002 1\n")]),
    (Kind::Cub, "images.txt", &[("image_class_labels.txt", "1 1\n2 1\n3 101\n4 101\n")]),
    (
        Kind::Cub,
        "image_class_labels.txt",
        &[("images.txt", "1 a/1.jpg\n2 a/2.jpg\n3 b/3.jpg\n4 b/4.jpg\n")],
    ),
    (
        Kind::INaturalist,
        "Inaturalist_train_set1.txt",
        &[("Inaturalist_test_set1.txt", "t/S/9/a.jpg\nt/S/9/b.jpg\n")],
    ),
];

/// Lists of every kind: the first byte chooses the kind, the others are the list.
pub(crate) fn lists(data: &[u8]) {
    let Some((&choice, list)) = data.split_first() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let choice = usize::from(choice) % (LISTS.len() + 1);
    let columns = if choice == LISTS.len() {
        let name = |text: &str| Some(text.to_owned());
        Columns {
            path: name("path"),
            label: name("2"),
            split: name("3"),
            groups: vec!["4".to_owned()],
        }
    } else {
        Columns::default()
    };
    let (kind, name, beside) = LISTS[choice % LISTS.len()];
    for (name, text) in beside {
        fs_err::write(folder.path().join(name), text).expect("a file");
    }
    fs_err::write(folder.path().join(name), list).expect("a file");
    let path = if kind == Kind::List { folder.path().join(name) } else { folder.path().to_owned() };
    let config = DataConfig {
        path: Some(path),
        kind: Some(kind),
        columns,
        images: false,
        ..DataConfig::default()
    };
    let opened = open(&config);
    if let Ok(found) = verify(&VerifyConfig { data: config }, &|_, _| {}) {
        // What opens is sound, and what is not sound does not open.
        assert!(opened.is_err() || found.is_sound(), "{:?}", found.problems);
    }
    if let Ok(dataset) = opened {
        for sample in &dataset.samples {
            assert!((sample.class as usize) < dataset.classes.len());
        }
        for column in &dataset.columns {
            assert_eq!(column.codes.len(), dataset.samples.len());
        }
    }
}

/// MAT-files in the place of Cars196's annotations.
pub(crate) fn annotations(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("cars_annos.mat"), data).expect("a file");
    let config = DataConfig {
        path: Some(folder.path().to_owned()),
        kind: Some(Kind::Cars196),
        images: false,
        ..DataConfig::default()
    };
    let _ = open(&config);
}

const LIST: &str = "a/0.png,a\na/1.png,a\nb/0.png,b\nb/1.png,b\n";

/// Archives beside a list: the first byte chooses the ending.
pub(crate) fn archives(data: &[u8]) {
    let Some((&choice, archive)) = data.split_first() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let name = ["x.zip", "x.tar", "x.tgz"][usize::from(choice) % 3];
    fs_err::write(folder.path().join(name), archive).expect("a file");
    let list = folder.path().join("list.csv");
    fs_err::write(&list, LIST).expect("a file");
    let config = DataConfig { path: Some(list), ..DataConfig::default() };
    let _ = verify(&VerifyConfig { data: config }, &|_, _| {});
}
