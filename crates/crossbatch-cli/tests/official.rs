//! In-Shop and VehicleID from their official layouts to their official numbers.
//!
//! Pictures are black but for a few white squares of 8 x 8 (blocks of a JPEG, so that nothing smears), and training
//! pictures are all black: then the cosine of raw pixels, less the training mean, is the share of squares that two pictures
//! have in common, and the metrics of raw pixels can be had by hand.

use std::path::Path;

use image::{Luma, RgbImage, buffer::ConvertBuffer};
use serde_json::Value;

use crate::support::{Outcome, cosine, crossbatch_in};
use crate::verify::shared;

/// A picture of 32 x 32 with these of its 16 squares white.
fn squares(path: &Path, white: &[u32]) {
    let shade = |x: u32, y: u32| Luma([if white.contains(&(y / 8 * 4 + x / 8)) { 255 } else { 0 }]);
    let picture: RgbImage = image::GrayImage::from_fn(32, 32, shade).convert();
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    picture.save(path).unwrap();
}

/// Trains for a few steps into `run`.
fn train(folder: &Path, more: &[&str]) -> Value {
    let settings = [
        "steps=3",
        "data.image-size=32",
        "data.validation=0",
        "batch.classes=4",
        "memory.size=8",
        "memory.start=0",
        "evaluation.recall=[1, 2]",
        "compare-without-memory=false",
    ];
    let settings = settings.iter().chain(more).flat_map(|setting| ["--set", setting]);
    let args: Vec<&str> =
        ["train", "-q", "--data", "set", "--out", "run"].into_iter().chain(settings).collect();
    crossbatch_in(folder, &args).ok();
    let text = fs_err::read_to_string(folder.join("run/summary.json")).unwrap();
    serde_json::from_str::<Value>(&text).unwrap()["metrics"].take()
}

#[track_caller]
fn holds(metrics: &Value, expected: &[(&str, f64)]) {
    for (key, value) in expected {
        let found = metrics[key].as_f64().unwrap();
        assert!((found - value).abs() < 1e-9, "{key}: {found}, expected {value}");
    }
}

fn verify(folder: &Path) -> Outcome {
    crossbatch_in(folder, &["data", "verify", "-q", "set", "--format", "json"])
}

/// Eight items as the official list has them: item, role, file, white squares.
const INSHOP: [(u32, &str, &str, &[u32]); 20] = [
    (1, "query", "01_1_front", &[1]),
    (1, "query", "02_1_front", &[1]),
    (1, "gallery", "01_2_side", &[1]),
    (2, "train", "01_1_front", &[]),
    (2, "train", "01_3_back", &[]),
    (3, "query", "01_1_front", &[3]),
    (3, "query", "01_7_additional", &[3]),
    (3, "gallery", "01_2_side", &[3]),
    (4, "train", "01_1_front", &[]),
    (4, "train", "01_3_back", &[]),
    (6, "query", "01_1_front", &[6]),
    (6, "query", "01_2_side", &[6]),
    (6, "gallery", "01_4_full", &[6]),
    // Its queries look more like item 6 than like its own gallery image, and most like each other.
    (7, "query", "01_1_front", &[6, 10]),
    (7, "query", "02_1_front", &[6, 10]),
    (7, "gallery", "01_4_full", &[6, 7]),
    (8, "train", "01_1_front", &[]),
    (8, "train", "01_3_back", &[]),
    (9, "train", "01_1_front", &[]),
    (9, "train", "01_3_back", &[]),
];

fn inshop_path((item, _, file, _): &(u32, &str, &str, &[u32])) -> String {
    let category = if item % 2 == 0 { "WOMEN/Dresses" } else { "MEN/Denim" };
    format!("img/{category}/id_{item:08}/{file}.jpg")
}

#[test]
fn in_shop_queries_search_its_gallery() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let mut list = format!("{}\nimage_name item_id evaluation_status\n", INSHOP.len());
    for row in &INSHOP {
        let path = inshop_path(row);
        squares(&set.join(&path), row.3);
        list.push_str(&format!("{path:<70}id_{:08} {:<8}\n", row.0, row.1));
    }
    fs_err::create_dir_all(set.join("Eval")).unwrap();
    fs_err::write(set.join("Eval/list_eval_partition.txt"), list).unwrap();

    let found = verify(folder.path()).json();
    assert_eq!((&found["kind"], &found["images_read"]), (&"inshop".into(), &20.into()));

    let metrics = train(folder.path(), &[]);
    // Item 7's two of eight queries find item 6 first (cosine 1/√2) and their own second (1/2).
    let by_hand = [("queries", 8.0), ("recall_at_1", 0.75), ("recall_at_2", 1.0)];
    holds(&metrics["raw"], &by_hand);
    holds(&metrics["raw"], &[("mean_average_precision", (6.0 + 2.0 * 0.5) / 8.0)]);

    // The network's numbers, from its embeddings and the list alone.
    let args = ["embed", "run", "set/img", "-o", "e.safetensors"];
    crossbatch_in(folder.path(), &args).ok();
    let (names, rows) = embeddings(&folder.path().join("e.safetensors"));
    let row_of = |row: &(u32, &str, &str, &[u32])| {
        let path = inshop_path(row);
        let place = names.iter().position(|name| path.ends_with(name)).unwrap();
        &rows[place]
    };
    let with = |role: &'static str| INSHOP.iter().filter(move |row| row.1 == role);
    let hits = with("query").filter(|query| {
        let near = |row: &&(u32, &str, &str, &[u32])| cosine(row_of(query), row_of(row));
        let nearest = with("gallery").max_by(|a, b| near(a).total_cmp(&near(b))).unwrap();
        nearest.0 == query.0
    });
    let trained = &metrics["trained"];
    holds(trained, &[("queries", 8.0), ("recall_at_1", hits.count() as f64 / 8.0)]);
    let eval = |more: &[&str]| {
        let args = ["eval", "run", "--recall", "1,2", "--format", "json"];
        crossbatch_in(folder.path(), &[&args[..], more].concat()).json()
    };
    let own = eval(&[]);
    for key in ["queries", "recall_at_1", "recall_at_2", "map_at_r", "mean_average_precision"] {
        assert_eq!(own[key], trained[key], "{key}");
    }
    // All against all asks the gallery images too.
    assert_eq!(eval(&["--set", "data.protocol=all"])["queries"], 12);

    fs_err::remove_dir_all(folder.path().join("run")).unwrap();
    let all = train(folder.path(), &["data.protocol=all"]);
    // Item 7's queries find each other; its gallery image finds item 6.
    holds(&all["raw"], &[("queries", 12.0), ("recall_at_1", 11.0 / 12.0)]);
}

/// Names and rows of a file of `crossbatch embed`.
fn embeddings(path: &Path) -> (Vec<String>, Vec<Vec<f32>>) {
    let bytes = fs_err::read(path).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let names = serde_json::from_str(&header.metadata().clone().unwrap()["names"]).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let view = file.tensor("embeddings").unwrap();
    let numbers: Vec<f32> =
        view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    (names, numbers.chunks(view.shape()[1]).map(<[f32]>::to_vec).collect())
}

/// Vehicles that test, with the squares of their images. What 4's images have in common is vehicle 3's.
const VEHICLES: [(&str, &[&[u32]]); 4] = [
    ("1", &[&[1], &[1], &[1]]),
    ("02", &[&[2], &[2], &[2]]),
    ("3", &[&[3], &[3], &[3]]),
    ("4", &[&[3, 8], &[3, 9]]),
];

#[test]
fn vehicle_id_has_three_test_lists_and_two_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("set");
    let mut image = 0;
    let mut rows = |vehicle: &str, images: &[&[u32]]| {
        let mut lines = String::new();
        for white in images {
            image += 1;
            squares(&set.join(format!("image/{image:07}.jpg")), white);
            lines.push_str(&format!("{image:07} {vehicle}\n"));
        }
        lines
    };
    let train_list: String = ["11", "12", "13", "14"].map(|id| rows(id, &[&[], &[]])).concat();
    let tested = VEHICLES.map(|(vehicle, images)| rows(vehicle, images));
    let put = |name: &str, text: String| {
        fs_err::create_dir_all(set.join("train_test_split")).unwrap();
        fs_err::write(set.join("train_test_split").join(name), text).unwrap();
    };
    put("train_list.txt", train_list);
    for (name, count) in [("800", 2), ("1600", 3), ("2400", 4)] {
        put(&format!("test_list_{name}.txt"), tested[..count].concat());
    }
    let found = verify(folder.path()).json();
    assert_eq!((&found["kind"], &found["images_read"]), (&"vehicleid".into(), &14.into()));

    // One random image a vehicle is the gallery: the others are 2 + 2, + 2, + 1 queries. Vehicle 4's finds vehicle 3
    // (cosine 1/√2) before its own (1/2), whichever the draw.
    let one = "data.protocol=one-gallery";
    for (subset, queries, recall) in
        [("small", 4.0, 1.0), ("medium", 6.0, 1.0), ("large", 7.0, 6.0 / 7.0)]
    {
        let metrics = train(folder.path(), &[one, &format!("data.subset={subset}")]);
        holds(
            &metrics["raw"],
            &[("queries", queries), ("recall_at_1", recall), ("recall_at_2", 1.0)],
        );
        assert_eq!(metrics["trained"]["queries"].as_f64(), Some(queries), "{subset}");
        fs_err::remove_dir_all(folder.path().join("run")).unwrap();
    }
    // All against all: both of vehicle 4 find vehicle 3, of 11 queries.
    let metrics = train(folder.path(), &["data.subset=large"]);
    holds(&metrics["raw"], &[("queries", 11.0), ("recall_at_1", 9.0 / 11.0)]);

    // A run is measured on another list, under the other protocol, by its name.
    let eval = |more: &[&str]| {
        let args = ["eval", "run", "--recall", "1,2"];
        let settings = more.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<&str> = args.into_iter().chain(settings).collect();
        let json =
            crossbatch_in(folder.path(), &[&args[..], &["--format", "json"]].concat()).json();
        (json, crossbatch_in(folder.path(), &args).ok())
    };
    let (own, _) = eval(&[]);
    holds(
        &metrics["trained"],
        &[("queries", 11.0), ("recall_at_1", own["recall_at_1"].as_f64().unwrap())],
    );
    let (medium, table) = eval(&["data.subset=medium", one]);
    assert_eq!(medium["queries"], 6);
    let other = crossbatch_in(folder.path(), &["eval", "run", "--set", "steps=9"]);
    other.fails_with(&["steps=9", "[data]"]);
    assert!(table.contains("6 queries, 3 in the gallery, one draw of it"), "{table}");
}

#[test]
fn an_incomplete_official_list_is_refused_by_its_recipe() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/paper");
    let folder = tempfile::tempdir().unwrap();
    let list = |first: u32| -> String {
        (0..8)
            .map(|i| format!("{} {} 1 chair_final/{first}_{i}.JPG\n", first + i, first + i / 2))
            .collect()
    };
    fs_err::write(folder.path().join("Ebay_train.txt"), list(1)).unwrap();
    fs_err::write(folder.path().join("Ebay_test.txt"), list(101)).unwrap();
    fs_err::write(
        folder.path().join("list_eval_partition.txt"),
        "4\nimage_name item_id evaluation_status\nimg/a.jpg id_1 train\nimg/b.jpg id_1 train\nimg/c.jpg id_2 query\nimg/d.jpg id_2 gallery\n",
    )
    .unwrap();
    for (recipe, kind, classes) in [("sop", "sop", 22_634), ("inshop", "inshop", 7982)] {
        let recipe = recipes.join(format!("{recipe}.toml"));
        let kind = format!("data.kind={kind}");
        let args = ["plan", recipe.to_str().unwrap(), "--data", ".", "--set", &kind];
        let expected = format!("`data.expected.classes = {classes}`");
        crossbatch_in(folder.path(), &args).fails_with(&[&expected]);
    }
}

#[test]
fn the_recipes_for_photographs_plan_on_their_packs() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes");
    for (name, classes) in [("cub127", 85), ("cars196_crops", 98), ("grocery81", 41)] {
        let Some(data) = shared(name) else { return };
        let recipe = recipes.join(format!("{name}.toml"));
        let args = ["plan", "-q", recipe.to_str().unwrap(), "--data", data.to_str().unwrap()];
        let outcome = crossbatch_in(Path::new("."), &[&args[..], &["--format", "json"]].concat());
        // 1 where it does not fit this machine.
        assert!(matches!(outcome.code, Some(0 | 1)), "{outcome:?}");
        let plan: Value = serde_json::from_str(&outcome.stdout).unwrap();
        // ResNet-18 without its classifier, and a linear layer from 512 to 128.
        assert_eq!(plan["parameters"], 11_176_512 + 512 * 128 + 128);
        let trained = plan["training_classes"].as_u64().unwrap();
        let held = (0.15 * f64::from(classes)).round() as u64;
        assert!(trained.abs_diff(classes as u64 - held) <= 1, "{name}: {trained} of {classes}");
    }
}
