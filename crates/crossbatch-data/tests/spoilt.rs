//! The genuine lists and annotations with one thing done to each: what changes nothing, and what is told.

use std::path::{Path, PathBuf};

use crossbatch_data::{DataConfig, Dataset, Kind, VerifyConfig, open, verify};

use crate::data_folder::data;
use crate::support::at;

/// Kind, folder, and the files that are read from it.
const SETS: [(Kind, &str, &[&str]); 5] = [
    (Kind::Sop, "sop_sample", &["Ebay_train.txt", "Ebay_test.txt"]),
    (Kind::InShop, "formats/inshop", &["list_eval_partition_excerpt.txt"]),
    (Kind::VehicleId, "formats/vehicleid", &["train_list_excerpt.txt", "test_list_800.txt"]),
    (
        Kind::Cub,
        "formats/cub200_2011",
        &["images.txt", "image_class_labels.txt", "classes.txt", "bounding_boxes.txt"],
    ),
    (
        Kind::Cars196,
        "formats/cars196",
        &["cars_train_annos.mat", "cars_test_annos.mat", "cars_meta.mat"],
    ),
];

/// A copy of a set's files that may be spoilt.
struct Copy {
    kind: Kind,
    root: tempfile::TempDir,
}

impl Copy {
    fn of((kind, folder, files): &(Kind, &str, &[&str])) -> Option<Self> {
        let from = data(folder)?;
        let root = tempfile::tempdir().unwrap();
        for file in *files {
            fs_err::copy(from.join(file), root.path().join(file)).unwrap();
        }
        Some(Self { kind: *kind, root })
    }

    fn path(&self, file: &str) -> PathBuf {
        self.root.path().join(file)
    }

    fn config(&self) -> DataConfig {
        DataConfig { kind: Some(self.kind), images: false, ..at(self.root.path()) }
    }

    fn open(&self) -> Dataset {
        open(&self.config()).unwrap()
    }

    /// Checks that it does not open, and that one of the problems says all of `parts`.
    #[track_caller]
    fn tells(&self, parts: &[&str]) {
        let refused = open(&self.config()).unwrap_err().to_string();
        let messages = match verify(&VerifyConfig { data: self.config() }, &|_, _| {}) {
            Ok(found) => {
                assert!(!found.is_sound());
                found.problems.iter().map(|problem| problem.message().to_owned()).collect()
            }
            Err(error) => vec![error.to_string()],
        };
        let told = messages.iter().any(|one| parts.iter().all(|part| one.contains(part)));
        assert!(told, "no {parts:?} in {:#?}", &messages[..messages.len().min(5)]);
        assert!(!refused.is_empty());
    }
}

fn text(path: &Path) -> String {
    fs_err::read_to_string(path).unwrap()
}

#[test]
fn windows_lines_and_byte_order_marks_change_nothing() {
    for set in &SETS {
        let Some(copy) = Copy::of(set) else { return };
        let plain = copy.open();
        for file in set.2.iter().filter(|file| file.ends_with(".txt")) {
            let path = copy.path(file);
            let windows =
                format!("\u{feff}{}", text(&path).replace("\r\n", "\n").replace('\n', "\r\n"));
            fs_err::write(path, windows).unwrap();
        }
        let windows = copy.open();
        assert_eq!(windows.classes, plain.classes, "{}", set.1);
        assert_eq!(windows.samples.len(), plain.samples.len());
        for (a, b) in windows.samples.iter().zip(&plain.samples) {
            let of = |one: &crossbatch_data::Sample| {
                (one.name.clone(), one.class, one.split, one.role, one.region)
            };
            assert_eq!(of(a), of(b), "{}", set.1);
        }
        assert!(verify(&VerifyConfig { data: copy.config() }, &|_, _| {}).unwrap().is_sound());
    }
}

#[test]
fn missing_files_are_named() {
    for (place, file, named) in [
        (0, "Ebay_train.txt", Some("Ebay_train.txt")),
        (0, "Ebay_test.txt", Some("Ebay_test.txt")),
        (1, "list_eval_partition_excerpt.txt", Some("list_eval_partition.txt")),
        (2, "train_list_excerpt.txt", Some("train_list.txt")),
        (2, "test_list_800.txt", Some("test_list_800.txt")),
        (3, "images.txt", Some("images.txt")),
        (3, "image_class_labels.txt", Some("image_class_labels.txt")),
        // Names and boxes are not needed.
        (3, "classes.txt", None),
        (3, "bounding_boxes.txt", None),
        (4, "cars_train_annos.mat", Some("cars_annos.mat")),
        (4, "cars_test_annos.mat", None),
        (4, "cars_meta.mat", None),
    ] {
        let Some(copy) = Copy::of(&SETS[place]) else { return };
        let images = copy.open().samples.len();
        fs_err::remove_file(copy.path(file)).unwrap();
        match named {
            Some(named) => copy.tells(&[named]),
            None => assert_eq!(copy.open().samples.len(), images, "{file}"),
        }
    }
}

/// Cut within a line, after its first field, so that the rest of the file is missing.
#[test]
fn files_that_end_too_early_are_told_with_their_line() {
    for (place, file, told) in [
        (0, "Ebay_train.txt", "1 fields"),
        (0, "Ebay_test.txt", "1 fields"),
        (1, "list_eval_partition_excerpt.txt", "1 fields"),
        (1, "list_eval_partition_excerpt.txt", "600 rows are announced"),
        (2, "train_list_excerpt.txt", "1 fields"),
        (2, "test_list_800.txt", "1 fields"),
        (3, "images.txt", "a single field"),
        (3, "image_class_labels.txt", "a single field"),
        (3, "classes.txt", "a single field"),
        (3, "bounding_boxes.txt", "a single field"),
    ] {
        let Some(copy) = Copy::of(&SETS[place]) else { return };
        let whole = text(&copy.path(file));
        let lines: Vec<&str> = whole.lines().collect();
        let number = lines.len() * 3 / 5;
        let first = lines[number - 1].split_whitespace().next().unwrap();
        let cut = format!("{}\n{first}", lines[..number - 1].join("\n"));
        fs_err::write(copy.path(file), cut).unwrap();
        let number = if told.contains("announced") { 1 } else { number };
        copy.tells(&[&format!("{file}:{number}"), told]);
    }
    // CUB's files also have to agree about what follows.
    for (file, other, told) in [
        ("images.txt", "image_class_labels.txt:11788", "is not in images.txt"),
        ("image_class_labels.txt", "images.txt:11788", "has no label"),
        ("bounding_boxes.txt", "images.txt:11788", "has no box"),
    ] {
        let Some(copy) = Copy::of(&SETS[3]) else { return };
        let whole = text(&copy.path(file));
        let lines: Vec<&str> = whole.lines().collect();
        fs_err::write(copy.path(file), lines[..11_700].join("\n")).unwrap();
        copy.tells(&[other, told]);
    }
}

#[test]
fn annotations_that_end_too_early_are_never_half_read() {
    for file in ["cars_train_annos.mat", "cars_test_annos.mat", "cars_meta.mat"] {
        let Some(copy) = Copy::of(&SETS[4]) else { return };
        let whole = fs_err::read(copy.path(file)).unwrap();
        for end in [0, 100, 127, 130, 140, whole.len() / 2, whole.len() - 1] {
            fs_err::write(copy.path(file), &whole[..end]).unwrap();
            copy.tells(&[file]);
        }
        // One bit, somewhere in what is packed.
        let mut bent = whole.clone();
        bent[whole.len() / 2] ^= 4;
        fs_err::write(copy.path(file), &bent).unwrap();
        copy.tells(&[file]);
    }
}

#[test]
fn commas_and_blanks_in_names_are_part_of_them() {
    for (place, file, from, to) in [
        (0, "Ebay_train.txt", "_0.JPG", ",_0.JPG"),
        (1, "list_eval_partition_excerpt.txt", "01_1_front", "01,1_front"),
        (3, "images.txt", "Black_Footed_Albatross_0046", "Black, Footed Albatross_0046"),
    ] {
        let Some(copy) = Copy::of(&SETS[place]) else { return };
        let before = copy.open();
        let path = copy.path(file);
        let changed = text(&path).replace(from, to);
        fs_err::write(&path, changed).unwrap();
        let after = copy.open();
        let renamed: Vec<String> =
            before.samples.iter().map(|one| one.name.replace(from, to)).collect();
        let names: Vec<String> = after.samples.iter().map(|one| one.name.clone()).collect();
        assert!(names.iter().any(|name| name.contains(',')));
        // Test paths of SOP are in the other list.
        let differ = names.iter().zip(&renamed).filter(|(a, b)| a != b && a.contains(','));
        assert_eq!(differ.count(), 0, "{file}");
    }
    // VehicleID's lists hold numbers only.
    let Some(copy) = Copy::of(&SETS[2]) else { return };
    let path = copy.path("test_list_800.txt");
    let first = text(&path).lines().next().unwrap().to_owned();
    let changed = text(&path).replacen(&first, &first.replacen('0', "0,", 1), 1);
    fs_err::write(&path, changed).unwrap();
    copy.tells(&["test_list_800.txt:1", "an id that is no number"]);
}

#[test]
fn paths_that_leave_the_set_are_refused_in_every_list() {
    for (place, file, from, to, told) in [
        (0, "Ebay_train.txt", "bicycle_final/", "../bicycle_final/", "`..`"),
        (1, "list_eval_partition_excerpt.txt", "img/", "/img/", "absolute"),
        (1, "list_eval_partition_excerpt.txt", "img/", "img/../../", "`..`"),
        (3, "images.txt", "001.Black_footed_Albatross/", "../../", "`..`"),
    ] {
        let Some(copy) = Copy::of(&SETS[place]) else { return };
        let path = copy.path(file);
        let changed = text(&path).replace(from, to);
        fs_err::write(&path, changed).unwrap();
        copy.tells(&[file, told]);
    }
}
