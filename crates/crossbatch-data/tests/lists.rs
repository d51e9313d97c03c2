//! Lists on disk: where images are found, which lists are refused.

use std::path::Path;

use crossbatch_data::{DataConfig, Kind, Split, load, open};

use crate::support::{SPEC, assert_sound, at, class_counts, png, put, put_zip, refuses};

/// Images a0 a1 b0 b1 c0 c1 d0 d1 in `img/`.
fn images(root: &Path) {
    for class in ["a", "b", "c", "d"] {
        for image in 0..2 {
            put(root, &format!("img/{class}{image}.png"), &png(image));
        }
    }
}

const TRAIN: &str = "img/a0.png,a\nimg/a1.png,a\nimg/b0.png,b\nimg/b1.png,b\n";
const TEST: &str = "img/c0.png,c\nimg/c1.png,c\nimg/d0.png,d\nimg/d1.png,d\n";

#[test]
fn one_list_is_split_two_are_kept() {
    let root = tempfile::tempdir().unwrap();
    images(root.path());
    put(root.path(), "all.csv", format!("path,label\n{TRAIN}{TEST}").as_bytes());
    put(root.path(), "train.txt", TRAIN.as_bytes());
    put(root.path(), "test.txt", TEST.as_bytes());
    let one = open(&at(&root.path().join("all.csv"))).unwrap();
    assert_sound(&one);
    assert_eq!((one.kind, class_counts(&one), one.samples.len()), (Kind::List, [2, 0, 2], 8));
    assert_eq!(one.classes, ["a", "b", "c", "d"]);
    let two = open(&at(root.path())).unwrap();
    assert_sound(&two);
    assert_eq!(two.indices(Split::Test), [4, 5, 6, 7]);
    let named = DataConfig {
        train_list: Some(root.path().join("test.txt")),
        test_list: Some("train.txt".into()),
        ..at(root.path())
    };
    let swapped = open(&named).unwrap();
    assert_eq!(swapped.classes, ["c", "d", "a", "b"]);
    let (_, unreadable) = load(&swapped, &[0, 7], SPEC, 0, &|_, _| {}).unwrap();
    assert!(unreadable.is_empty());
    refuses(
        &DataConfig { test_list: None, ..named.clone() },
        &["data.train-list", "data.test-list"],
    );
    refuses(
        &DataConfig { test_list: Some("no.txt".into()), ..named },
        &["no.txt", "there is nothing"],
    );
}

#[test]
fn tolerant_reading() {
    let root = tempfile::tempdir().unwrap();
    for name in [
        "plain.png",
        "with, comma.png",
        "quoted, too.png",
        "say \"hi\".png",
        "last.png",
        "12\" pan.png",
    ] {
        put(root.path(), name, &png(0));
    }
    let text = "\u{feff}Image,Class\r\nplain.png,1\r\n\r\nwith, comma.png,1\r\n\"quoted, too.png\",\"soap, green\"\r\n\
        \"say \"\"hi\"\".png\",\"soap, green\"\r\n   \r\n12\" pan.png,pan\r\n./last.png, pan ";
    put(root.path(), "list.csv", text.as_bytes());
    let dataset = open(&at(&root.path().join("list.csv"))).unwrap();
    assert_eq!(dataset.classes, ["1", "soap, green", "pan"]);
    assert_eq!(
        dataset.samples.iter().map(|sample| sample.class).collect::<Vec<_>>(),
        [0, 0, 1, 1, 2, 2]
    );
    assert_eq!(dataset.samples[3].name, "say \"hi\".png");

    put(
        root.path(),
        "tabs.tsv",
        b"file\tlabel\nwith, comma.png\ta,b\nplain.png\ta,b\nlast.png\tc\n12\" pan.png\tc\n",
    );
    assert_eq!(open(&at(&root.path().join("tabs.tsv"))).unwrap().classes, ["a,b", "c"]);
}

#[test]
fn images_in_zips_beside_the_list() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "sub/a0.png", &png(7));
    let files =
        [("in/", vec![]), ("in/a1.png", png(8)), ("in/b0.png", png(9)), ("in/b1.png", png(10))];
    put_zip(&root.path().join("photos.ZIP"), &files);
    put(root.path(), "list.txt", b"sub/a0.png,a\nin/a1.png,a\nin/b0.png,b\nin/b1.png,b\n");
    put(root.path(), "unrelated.zip", b"PK but not really");
    let dataset = open(&at(&root.path().join("list.txt"))).unwrap();
    assert!(dataset.warnings[0].contains("unrelated.zip"), "{:?}", dataset.warnings);
    let (images, unreadable) = load(&dataset, &[0, 1, 2, 3], SPEC, 1 << 20, &|_, _| {}).unwrap();
    assert!(unreadable.is_empty());
    let shades: Vec<u8> = (0..4).map(|position| images.u8_pixels(position).unwrap()[0]).collect();
    assert_eq!(shades, [7, 8, 9, 10]);
    // Where an image is missing, a zip that cannot be opened is the likely reason.
    put(root.path(), "list.txt", b"sub/a0.png,a\nin/none.png,a\n");
    refuses(&at(&root.path().join("list.txt")), &["unrelated.zip", "incomplete"]);
}

#[test]
fn faults_name_the_line() {
    let root = tempfile::tempdir().unwrap();
    images(root.path());
    let path = root.path().join("list.csv");
    let cases: [(&[u8], &[&str]); 9] = [
        (b"img/a0.png,a\nimg/a1.png\n", &["list.csv:2", "no label", "`img/a1.png`"]),
        (b"img/a0.png,a\nimg/a1.png,\n", &["list.csv:2", "no label"]),
        (b",a\n", &["list.csv:1", "no path"]),
        (b"\"img/a0.png\",a,b\n", &["list.csv:1", "more than two fields"]),
        (b"img/a0.png,a\n\nimg/\xff.png,a\n", &["list.csv:3", "UTF-8"]),
        (b"path,label\n", &["list.csv lists no images"]),
        (b"", &["lists no images"]),
        (
            b"img/a0.png,a\nimg/x.png,a\nimg/y.png,b\nimg/z.png,b\nimg/w.png,b\n",
            &["4 of 5 images", "`img/x.png` (line 2)", "(line 4)"],
        ),
        (
            b"img/a0.png,a\nimg/a1.png,a\nimg/a0.png,b\n",
            &["list.csv:3", "label `b`", "`a` in", "list.csv:1"],
        ),
    ];
    for (text, parts) in cases {
        fs_err::write(&path, text).unwrap();
        refuses(&at(&path), parts);
    }
    fs_err::write(&path, b"img/a0.png,a\nimg/a0.png,a\nimg/a1.png,a\nimg/b0.png,b\nimg/b1.png,b\n")
        .unwrap();
    let dataset = open(&at(&path)).unwrap();
    assert_eq!(dataset.samples.len(), 4);
    assert!(dataset.warnings[0].contains("1 line(s) repeat"), "{:?}", dataset.warnings);
}

#[test]
fn classes_of_two_lists_must_differ() {
    let root = tempfile::tempdir().unwrap();
    images(root.path());
    put(root.path(), "train.csv", TRAIN.as_bytes());
    put(root.path(), "test.csv", b"img/c0.png,b\nimg/c1.png,c\nimg/d0.png,a\n");
    refuses(&at(root.path()), &["class `b`", "train.csv", "test.csv", "2 classes are"]);
    put(root.path(), "test.csv", b"img/a0.png,a\nimg/a1.png,a\n");
    refuses(&at(root.path()), &["class `a`", "1 classes are"]);
    put(root.path(), "test.csv", b"img/a0.png,new\nimg/c1.png,new\n");
    refuses(&at(root.path()), &["img/a0.png", "test.csv:1", "train.csv:1"]);
    put(root.path(), "test.csv", b"img/c0.png,c\nimg/d0.png,d\n");
    refuses(&at(root.path()), &["none of the 2 test classes", "two images"]);
}
