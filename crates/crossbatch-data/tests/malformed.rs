//! Official lists, spoilt: each fault is told with its file and line, and none of it stops at the first.

use std::path::Path;

use crossbatch_data::{DataConfig, Kind, Verification, VerifyConfig, open, verify};

use crate::support::{at, put};

fn checked(root: &Path, kind: Kind) -> Verification {
    let data = DataConfig { images: false, kind: Some(kind), ..at(root) };
    verify(&VerifyConfig { data }, &|_, _| {}).unwrap()
}

/// Checks that exactly these problems are told, in order, each by some of its words.
#[track_caller]
fn told(found: &Verification, expected: &[&[&str]]) {
    let messages: Vec<&str> = found.problems.iter().map(|problem| problem.message()).collect();
    assert_eq!(messages.len(), expected.len(), "{messages:#?}");
    for (message, parts) in messages.iter().zip(expected) {
        for part in *parts {
            assert!(message.contains(part), "no `{part}` in {message}");
        }
    }
}

const TRAIN: &str = "image_id class_id super_class_id path\n1 1 1 a_final/0.JPG\n2 1 1 a_final/1.JPG\n3 2 1 a_final/2.JPG\n4 2 1 a_final/3.JPG\n";
const TEST: &str = "image_id class_id super_class_id path\n5 3 1 a_final/4.JPG\n6 3 1 a_final/5.JPG\n7 4 1 b_final/6.JPG\n8 4 1 b_final/7.JPG\n";

fn sop(train: &[u8], test: &[u8]) -> Verification {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "Ebay_train.txt", train);
    put(root.path(), "Ebay_test.txt", test);
    checked(root.path(), Kind::Sop)
}

#[test]
fn crlf_marks_blank_lines_and_padding_are_fine() {
    let windows = format!("\u{feff}{}\r\n\r\n", TRAIN.replace('\n', " \r\n"));
    let found = sop(windows.as_bytes(), TEST.as_bytes());
    told(&found, &[]);
    let parts: Vec<_> = found.parts.iter().map(|part| (part.classes, part.images)).collect();
    assert_eq!(parts, [(2, 4), (2, 4)]);
}

#[test]
fn sop_lines() {
    let more = "9 5 1 c.JPG extra\nx 5 1 a_final/9.JPG\n10 5 1 ../../a.JPG\n11 5 1 /a.JPG\n1 5 1 a_final/12.JPG\n12 2 1 a_final/0.JPG\n1 1 1 a_final/0.JPG\n";
    let found = sop(format!("{TRAIN}{more}").as_bytes(), TEST.as_bytes());
    told(
        &found,
        &[
            &["Ebay_train.txt:6: 5 fields in `9 5 1 c.JPG extra`"],
            &["Ebay_train.txt:7: an id that is no number"],
            &["Ebay_train.txt:8", "`..`"],
            &["Ebay_train.txt:9", "absolute"],
            &["Ebay_train.txt:10: image id 1 is that of line 2 too"],
            &["Ebay_train.txt:11", "`a_final/0.JPG`", "label `2 (train)`", "Ebay_train.txt:2"],
        ],
    );
    assert!(found.notes.iter().any(|note| note.contains("1 line repeat")), "{:?}", found.notes);

    let found = sop(b"1 1 1 a\xff.JPG\n2 1 1 a\0b.JPG\n", TEST.as_bytes());
    told(&found, &[&["Ebay_train.txt:1", "UTF-8"], &["Ebay_train.txt:2", "zero byte"]]);
    let found = sop(TRAIN.as_bytes(), TEST.replace("7 4", "7 1").as_bytes());
    told(&found, &[&["class `1` is in both"]]);
    let found = sop(TRAIN.as_bytes(), b"");
    assert_eq!(found.parts.len(), 1);
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "Ebay_train.txt", TRAIN.as_bytes());
    told(&checked(root.path(), Kind::Sop), &[&["no Ebay_test.txt"]]);
}

#[test]
fn inshop_counts_and_roles() {
    let inshop = |text: &str| {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "list_eval_partition.txt", text.as_bytes());
        checked(root.path(), Kind::InShop)
    };
    let head = "image_name item_id evaluation_status";
    let rows = "img/WOMEN/Tops/id_1/a.jpg   id_1   train   \nimg/MEN/Tops/id_2/b.jpg id_2 query\nimg/MEN/Tops/id_2/c.jpg id_2 gallery\n";
    told(&inshop(&format!("3\n{head}\n{rows}")), &[]);
    told(
        &inshop(&format!("4\n{head}\n{rows}img/x.jpg id_9 probe\n")),
        &[&[":6: the unknown role `probe`"]],
    );
    told(&inshop(&format!("9\n{head}\n{rows}")), &[&[":1: 9 rows are announced, but 3 follow"]]);
    told(&inshop(&format!("many\n{head}\n{rows}")), &[&[":1: no number of rows"]]);
    told(
        &inshop(&format!("4\n{head}\n{rows}img/WOMEN/Tops/id_1/a.jpg id_1 gallery\n")),
        &[&["a.jpg", "`id_1 (gallery)`", "`id_1 (train)`"]],
    );
    told(
        &inshop(&format!("4\n{head}\n{rows}img/x.jpg id_1 gallery\n")),
        &[&["class `id_1` is in both"]],
    );
    told(
        &inshop(&format!("4\n{head}\n{rows}img/x.jpg\n")),
        &[&[":6: 1 fields"], &["4 rows", "3 follow"]],
    );
}

#[test]
fn vehicle_id_lines() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "train_test_split/train_list.txt", b"0000001 01\n1 1\n2 01\n0000003 x\n4\n");
    put(root.path(), "train_test_split/test_list_800.txt", b"0000005 7\n0000006 7\n0000005 8\n");
    let found = checked(root.path(), Kind::VehicleId);
    told(
        &found,
        &[
            &["train_list.txt:4: an id that is no number"],
            &["train_list.txt:5: 1 fields"],
            &["`0000005.jpg`", "`8 (test)`", "`7 (test)`", "test_list_800.txt:1"],
        ],
    );
    // 01 and 1 are two vehicles, 0000001 and 1 two images.
    assert_eq!((found.parts[0].classes, found.parts[0].images), (2, 3));
}

#[test]
fn cub_files_must_agree() {
    let root = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| put(root.path(), name, text.as_bytes());
    put("images.txt", "1 a/x y.jpg\n2 a/2.jpg\n7 b/1.jpg\n8 b/2.jpg\n9 b/3.jpg\n8 b/4.jpg\n");
    put("image_class_labels.txt", "1 1\n2 1\n7 101\n8 102\n10 101\n");
    put("classes.txt", "1 001.a\n101 101.b\n");
    put("bounding_boxes.txt", "1 0 0 5 5\n2 0 0 5 -5\n7 1 2 3 4\n");
    let found = checked(root.path(), Kind::Cub);
    told(
        &found,
        &[
            &["images.txt:6: id 8 is that of line 4 too"],
            &["bounding_boxes.txt:2: no bounding box"],
            &["image_class_labels.txt:4: class 102 is not in"],
            &["images.txt:4: image 8 has no box"],
            &["images.txt:5: image 9 has no label"],
            &["image_class_labels.txt:5: image 10 is not in images.txt"],
        ],
    );
    assert_eq!(found.parts[0].images, 2);
}

#[test]
fn annotations_that_are_no_mat_file() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "cars_annos.mat", b"MATLAB 7.3 MAT-file, Platform: GLNXA64");
    told(&checked(root.path(), Kind::Cars196), &[&["cars_annos.mat", "7.3", "-v7"]]);
    put(root.path(), "cars_annos.mat", b"");
    told(&checked(root.path(), Kind::Cars196), &[&["cars_annos.mat", "byte 126"]]);
}

#[test]
fn inaturalist_lines() {
    let root = tempfile::tempdir().unwrap();
    put(
        root.path(),
        "Inaturalist_train_set1.txt",
        b"train_val2018/Aves/12/a.jpg\ntrain_val2018/Aves/12/b.jpg\nc.jpg\n",
    );
    put(
        root.path(),
        "Inaturalist_test_set1.txt",
        b"train_val2018/Fungi/12/a.jpg\ntrain_val2018/Fungi/12/b.jpg\n",
    );
    let found = checked(root.path(), Kind::INaturalist);
    told(&found, &[&["train_set1.txt:3: no two folders above the image"]]);
    assert_eq!(found.columns, ["superclass"]);
    // The same number under another superclass is another class.
    assert_eq!((found.parts[0].classes, found.parts[1].classes), (1, 1));
}

#[test]
fn lists_tell_all_their_faults() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "l.csv", b"a.png,1\nb.png\n,2\nc.png,2\na.png,2\nd\xff.png,1\n");
    let data = DataConfig { images: false, ..at(&root.path().join("l.csv")) };
    let found = verify(&VerifyConfig { data: data.clone() }, &|_, _| {}).unwrap();
    told(
        &found,
        &[
            &["l.csv:2: no label"],
            &["l.csv:3: no path"],
            &["l.csv:6", "UTF-8"],
            &["l.csv:5", "`a.png` has the label `2`, but `1`"],
        ],
    );
    assert!(open(&data).is_err());
}
