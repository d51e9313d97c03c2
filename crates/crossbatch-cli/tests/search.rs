//! `crossbatch search`

use std::path::Path;

use serde_json::Value;

use crate::support::{Outcome, crossbatch_in, draw, draw_classes, records, run, spoil};

const GREEN: [u8; 3] = [0x2a, 0x9d, 0x3a];
const RED: [u8; 3] = [0xd1, 0x32, 0x2e];

/// A gallery of 3 classes x 4 images, and a copy of one of them in a file of its own.
fn gallery() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    draw_classes(&folder.path().join("gallery"), &["disk", "bars", "post"], 4);
    draw(&folder.path().join("query.png"), 1, 2);
    folder
}

fn search(folder: &Path, args: &[&str]) -> Outcome {
    crossbatch_in(folder, &[&["search", run(), "--gallery", "gallery"], args].concat())
}

fn neighbours(answer: &Value) -> Vec<(&str, f64)> {
    let list = answer["neighbours"].as_array().unwrap().iter();
    let similarity = |one: &Value| one["similarity"].as_f64().unwrap();
    list.map(|one| (one["name"].as_str().unwrap(), similarity(one))).collect()
}

#[test]
fn a_copy_is_found_with_similarity_one() {
    let folder = gallery();
    let args = ["--query", "query.png", "--top", "5", "--format", "json"];
    let found = search(folder.path(), &args).json();
    assert_eq!(found["format_version"], 1);
    let answer = &found["queries"][0];
    assert_eq!((&answer["name"], answer.get("label")), (&Value::from("query.png"), None));
    let neighbours = neighbours(answer);
    assert_eq!(neighbours.len(), 5);
    assert_eq!(neighbours[0].0, "bars/2.png");
    assert!((neighbours[0].1 - 1.0).abs() < 1e-5, "{neighbours:?}");
    assert!(neighbours[1].1 < 0.9999 && neighbours.is_sorted_by(|a, b| a.1 >= b.1));
    assert_eq!(answer["neighbours"][0]["label"], "bars");
}

#[test]
fn an_image_is_no_neighbour_of_itself() {
    let folder = gallery();
    // The same file by another path, and another query that is not in the gallery.
    let args = ["--query", "gallery/../gallery/post/0.png", "query.png", "--top", "99"];
    let outcome = search(folder.path(), &[&args[..], &["--format", "json"]].concat());
    assert!(outcome.stderr.contains("1 of 2 queries are in the gallery"), "{outcome:?}");
    assert!(outcome.stderr.contains("fewer than 99 neighbours"), "{outcome:?}");
    let found = outcome.json();
    let [own, other] = [&found["queries"][0], &found["queries"][1]].map(neighbours);
    assert_eq!((own.len(), other.len()), (11, 12));
    assert!(own.iter().all(|(name, _)| *name != "post/0.png"));
    // Its label is known from the gallery.
    assert_eq!(found["queries"][0]["label"], "post");
}

#[test]
fn formats_say_the_same() {
    let folder = gallery();
    let args = |format| ["--query", "gallery/disk", "query.png", "--top", "3", "--format", format];
    let json = search(folder.path(), &args("json")).json();
    let rows = records(&search(folder.path(), &args("csv")).ok());
    let header = ["query", "query_label", "rank", "similarity", "name", "label"];
    assert_eq!((rows[0].as_slice(), rows.len()), (&header.map(str::to_owned)[..], 1 + 5 * 3));
    let table = search(folder.path(), &args("table")).ok();
    let mut rows = rows[1..].iter();
    for answer in json["queries"].as_array().unwrap() {
        for (place, neighbour) in answer["neighbours"].as_array().unwrap().iter().enumerate() {
            let row = rows.next().unwrap();
            assert_eq!(row[0], answer["name"]);
            assert_eq!(row[1], answer["label"].as_str().unwrap_or(""));
            assert_eq!(row[2], (place + 1).to_string());
            let similarity = neighbour["similarity"].as_f64().unwrap() as f32;
            assert_eq!(row[3].parse::<f32>().unwrap(), similarity);
            assert_eq!((&row[4], &row[5]), (&text(&neighbour["name"]), &text(&neighbour["label"])));
            let mark = match answer.get("label") {
                Some(label) if *label == neighbour["label"] => "✓   ",
                Some(_) => "✗   ",
                None => "",
            };
            assert!(table.contains(&format!("{mark}{}   {}", row[4], row[5])), "{table}");
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn the_sheet_frames_right_and_wrong_answers() {
    let folder = gallery();
    let args = ["--query", "gallery/bars/0.png", "gallery/post/3.png", "--top", "11"];
    let args = [&args[..], &["--sheet", "sheet.png", "--format", "json"]].concat();
    let found = search(folder.path(), &args).json();
    let sheet = image::open(folder.path().join("sheet.png")).unwrap().to_rgb8();
    // 16 margin, tiles of 104 with gaps of 8, the first column 16 apart.
    let left = |column: u32| 16 + column * 112 + if column > 0 { 16 } else { 0 };
    assert_eq!(sheet.dimensions(), (left(11) + 104 + 16, 16 + 104 + 8 + 104 + 16));
    let mut seen = [0, 0];
    for (row, answer) in found["queries"].as_array().unwrap().iter().enumerate() {
        for (place, neighbour) in answer["neighbours"].as_array().unwrap().iter().enumerate() {
            let right = neighbour["label"] == answer["label"];
            seen[usize::from(right)] += 1;
            let (x, y) = (left(place as u32 + 1), 16 + row as u32 * 112);
            for corner in [(x, y), (x + 103, y + 103), (x + 3, y + 50)] {
                let expected = if right { GREEN } else { RED };
                assert_eq!(sheet.get_pixel(corner.0, corner.1).0, expected, "{row} {place}");
            }
        }
    }
    assert_eq!(seen, [16, 6]);
    // The post of the second query stands in the middle of its tile, and paper is beside it.
    assert!(sheet.get_pixel(16 + 52, 128 + 52)[0] < 60);
    assert!(sheet.get_pixel(16 + 12, 128 + 52)[0] > 200);
    assert_eq!(sheet.get_pixel(0, 0).0, [255; 3]);
}

#[test]
fn an_unreadable_query_is_an_error_and_an_unreadable_gallery_image_a_warning() {
    let folder = gallery();
    spoil(folder.path().join("gallery/bad.png"));
    let args = ["--query", "query.png", "--format", "csv", "--top", "1"];
    let outcome = search(folder.path(), &args);
    assert!(outcome.stderr.contains("warning: cannot read bad.png"), "{outcome:?}");
    assert!(outcome.ok().contains("bars/2.png"));

    let args = ["--query", "gallery/bad.png", "query.png", "--top", "1"];
    let outcome = search(folder.path(), &args);
    outcome.fails_with(&["1 of 2 query images could not be read"]);
    assert!(outcome.stdout.contains("bars/2.png"));
    let outcome = search(folder.path(), &["--query", "gallery/bad.png"]);
    outcome.fails_with(&["none of the 1 query images", "bad.png"]);
    assert_eq!(outcome.stdout, "");
}

#[test]
fn mistakes_are_explained() {
    let folder = gallery();
    let with = |args: &[&str]| search(folder.path(), &[&["--query", "query.png"], args].concat());
    with(&["--top", "0"]).fails_with(&["--top 0", "at least 1"]);
    with(&["--sheet", "sheet.jpg"]).fails_with(&["sheet.jpg", ".png"]);
    with(&["--sheet", "nowhere/sheet.png"]).fails_with(&["no folder nowhere"]);
    with(&["--gallery", "missing"]).fails_with(&["nothing at missing"]);
    // Alone in its gallery.
    let args = ["search", run(), "--gallery", "query.png", "--query", "query.png"];
    assert!(crossbatch_in(folder.path(), &args).ok().contains("no other image"));
}
