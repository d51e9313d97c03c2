//! `crossbatch data list` and `crossbatch data show`

use crate::support::{crossbatch_in, draw_classes, records, spoil};

#[test]
fn the_built_in_data_and_the_kinds_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let json = crossbatch_in(folder.path(), &["data", "list", "--format", "json"]).json();
    let kinds: Vec<&String> = json["kinds"].as_object().unwrap().keys().collect();
    let expected = crossbatch_data::Kind::ALL.map(|kind| kind.to_string());
    assert_eq!(kinds, expected.iter().collect::<Vec<_>>());
    let glyphs = &json["data"][0];
    assert_eq!((&glyphs["name"], &glyphs["kind"]), (&"glyphs".into(), &"glyphs".into()));
    for split in ["train", "test"] {
        let number = |key: &str| glyphs[split][key].as_u64().unwrap();
        assert!(number("classes") >= 100);
        assert_eq!(number("images"), number("classes") * number("most"));
    }
    let table = crossbatch_in(folder.path(), &["data", "list"]).ok();
    assert!(table.contains("one sub-folder of images per class"), "{table}");
    assert!(table.contains(&glyphs["train"]["images"].to_string()), "{table}");
}

#[test]
fn what_lies_at_paths_is_recognised_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    let names = draw_classes(&photos, &["a", "b", "c", "d"], 3);
    let list = |range: std::ops::Range<usize>| -> String {
        names[range].iter().map(|name| format!("{name},{}\n", &name[..1])).collect()
    };
    fs_err::write(photos.join("mine.csv"), list(0..6)).unwrap();

    let args = ["data", "list", "photos", "photos/mine.csv", "--format", "csv"];
    let rows = records(&crossbatch_in(folder.path(), &args).ok());
    assert_eq!(rows[0][2..], ["train_classes", "train_images", "test_classes", "test_images"]);
    assert_eq!(rows[2], ["photos", "folder", "2", "6", "2", "6"]);
    assert_eq!(rows[3], ["photos/mine.csv", "list", "1", "3", "1", "3"]);

    // One bad path of two: the other is listed, and the command says that not all went well.
    let outcome = crossbatch_in(folder.path(), &["data", "list", "photos", "missing"]);
    outcome.fails_with(&["1 of 2 paths"]);
    assert!(outcome.stderr.contains("warning: there is no data set missing"), "{outcome:?}");
    assert!(outcome.stdout.contains("photos"));
}

#[test]
fn a_data_set_is_shown_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    draw_classes(&photos, &["a", "b", "c", "d"], 5);
    fs_err::remove_file(photos.join("a/0.png")).unwrap();
    spoil(photos.join("loose.png"));

    let args = ["data", "show", "photos", "--sheet", "s.png", "--images", "3"];
    let outcome = crossbatch_in(folder.path(), &args);
    assert!(outcome.stderr.contains("2 of 2 test classes"), "{outcome:?}");
    assert!(outcome.stderr.contains("warning: 1 image(s) lie in photos itself"), "{outcome:?}");
    let text = outcome.ok();
    assert!(text.contains("class folders in photos"), "{text}");
    let numbers = |split: &str| -> Vec<usize> {
        let line = text.lines().find(|line| line.trim().starts_with(split)).unwrap();
        line.split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect()
    };
    let (train, test) = (numbers("train"), numbers("test"));
    assert_eq!((train[0], test[0], train[1] + test[1]), (2, 2, 19));
    assert_eq!((train[2].min(test[2]), train[4].max(test[4])), (4, 5));

    let sheet = image::open(folder.path().join("s.png")).unwrap().to_rgb8();
    assert_eq!(sheet.dimensions(), (16 + 2 * 112 + 104 + 16, 16 + 112 + 104 + 16));
    let dark = sheet.pixels().filter(|pixel| pixel[0] < 60).count();
    assert!(dark > 1000, "{dark} dark pixels");
}

#[test]
fn glyphs_are_drawn_evenly_over_their_classes() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["data", "show", "glyphs", "--sheet", "g.png", "--classes", "4", "--images", "2"];
    let outcome = crossbatch_in(folder.path(), &args);
    assert!(outcome.stderr.contains("on the sheet: 4 of"), "{outcome:?}");
    outcome.ok();
    let sheet = image::open(folder.path().join("g.png")).unwrap().to_rgb8();
    assert_eq!(sheet.dimensions(), (16 + 112 + 104 + 16, 16 + 3 * 112 + 104 + 16));
}

#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    fs_err::create_dir(folder.path().join("empty")).unwrap();
    let show = |args: &[&str]| crossbatch_in(folder.path(), &[&["data", "show"], args].concat());
    show(&["glyphz"]).fails_with(&["no data set glyphz", "`glyphs`"]);
    show(&["empty"]).fails_with(&["empty"]);
    show(&["glyphs", "--classes", "0"]).fails_with(&["--classes 0", "at least 1"]);
    show(&["glyphs", "--sheet", "x.bmp"]).fails_with(&["x.bmp", ".png"]);
    crossbatch_in(folder.path(), &["data", "list", "empty"]).fails_with(&["empty"]);
}

/// The same batch whatever the number of workers; a bad batch or recipe says what is wrong.
#[test]
fn a_batch_is_previewed_as_training_sees_it() {
    let folder = tempfile::tempdir().unwrap();
    draw_classes(&folder.path().join("photos"), &["a", "b", "c", "d"], 5);
    let preview = |sheet: &str, more: &[&str]| {
        let args = ["data", "preview", "--data", "photos", "--sheet", sheet];
        let sets = [
            "data.validation=0",
            "batch.classes=2",
            "batch.images=3",
            "images.crop=random-resized",
        ];
        let sets = sets.iter().flat_map(|&set| ["--set", set]);
        let args: Vec<&str> = args.into_iter().chain(sets).chain(more.iter().copied()).collect();
        crossbatch_in(folder.path(), &args)
    };
    let text = preview("one.png", &["--set", "images.preset=imagenet"]).ok();
    assert!(text.contains("row 1") && text.contains("row 2"), "{text}");
    let read = |name: &str| image::open(folder.path().join(name)).unwrap().into_rgb8();
    let one = read("one.png");
    assert_eq!(one.dimensions(), (2 * 16 + 3 * 104 + 2 * 8, 2 * 16 + 2 * 104 + 8));
    preview("two.png", &["--set", "images.preset=imagenet", "--set", "images.workers=5"]).ok();
    assert_eq!(one, read("two.png"));
    preview("other.png", &["--set", "images.preset=imagenet", "--seed", "9"]).ok();
    assert_ne!(one, read("other.png"));

    preview("no.png", &["--batch", "99"]).fails_with(&["--batch 99"]);
    preview("no.png", &["--set", "images.flip=2"]).fails_with(&["images.flip", "from 0 to 1"]);
    preview("no.png", &["--set", "images.resize=3"]).fails_with(&["images.resize", "28"]);
}
