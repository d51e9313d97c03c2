//! `crossbatch data verify`, and data sets whose lists say who searches whom.

use std::path::{Path, PathBuf};

use crate::support::{Outcome, crossbatch_in, draw_classes, spoil};

/// A folder of the shared data, or none with a notice.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("CROSSBATCH_DATA").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(fs_err::canonicalize(folder).unwrap());
    }
    let required = std::env::var("CROSSBATCH_REQUIRE").unwrap_or_default();
    assert!(!required.contains("data"), "{} is not there", folder.display());
    None
}

fn verify(path: &Path, more: &[&str]) -> Outcome {
    let args = [&["data", "verify", "-q", path.to_str().unwrap()], more].concat();
    crossbatch_in(Path::new("."), &args)
}

#[test]
fn excerpts_are_sound_but_for_their_images() {
    for (name, images) in
        [("cub200_2011", 11_788), ("cars196", 8144), ("inshop", 600), ("vehicleid", 11_493)]
    {
        let Some(path) = shared(&format!("formats/{name}")) else { return };
        let lists = verify(&path, &["--lists-only"]);
        assert_eq!(lists.code, Some(0), "{name}: {lists:?}");
        assert!(lists.stdout.contains("sound"), "{}", lists.stdout);
        let whole = verify(&path, &["--format", "json"]);
        assert_eq!(whole.code, Some(1), "{name}");
        let json: serde_json::Value = serde_json::from_str(&whole.stdout).unwrap();
        assert_eq!((&json["missing"], &json["faults"]), (&images.into(), &0.into()), "{name}");
        assert_eq!(json["sound"], false);
    }
}

#[test]
fn packs_with_images_are_sound() {
    for (name, kind, images) in [("sop_sample", "sop", 396), ("cars196_crops", "list", 3136)] {
        let Some(path) = shared(name) else { return };
        let json = verify(&path, &["--format", "json"]).json();
        assert_eq!((&json["kind"], &json["images_read"]), (&kind.into(), &images.into()));
    }
}

#[test]
fn what_is_wrong_is_counted_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let names = draw_classes(folder.path(), &["a", "b", "c", "d"], 3);
    let mut list: String = names.iter().map(|name| format!("{name},{}\n", &name[..1])).collect();
    list.push_str("a/9.png,a\na/0.png,b\nlonely\n");
    fs_err::write(folder.path().join("l.csv"), &list).unwrap();
    spoil(folder.path().join("b/1.png"));
    fs_err::copy(folder.path().join("c/0.png"), folder.path().join("d/0.png")).unwrap();
    let outcome = verify(&folder.path().join("l.csv"), &[]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for part in [
        "2 faults, 1 missing, 1 corrupt",
        "l.csv:15: no label",
        "`a/0.png` has the label `b`",
        "l.csv:13: `a/9.png` is not there",
        "b/1.png: ",
        "1 image(s) are the same file as an earlier one (1 under two classes): d/0.png = c/0.png",
    ] {
        assert!(outcome.stdout.contains(part), "no `{part}` in {}", outcome.stdout);
    }
    verify(&folder.path().join("nowhere"), &[]).fails_with(&["nowhere"]);
    verify(folder.path(), &["--kind", "sop"]).stdout.contains("Ebay_train.txt");
    verify(folder.path(), &["--format", "csv"]).fails_with(&["table or json"]);
}

/// Classes a to d train; of e to h image 0 is the gallery and images 1 and 2 are queries.
fn list_with_roles(folder: &Path) {
    let classes = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let names = draw_classes(folder, &classes, 3);
    let row = |name: &String| {
        let (class, number) = (&name[..1], &name[2..3]);
        let part = match (class, number) {
            ("a" | "b" | "c" | "d", _) => "train",
            (_, "0") => "gallery",
            _ => "query",
        };
        format!("{part},{name},{class},{number}\n")
    };
    let rows: String = names.iter().map(row).collect();
    fs_err::write(folder.join("all.csv"), format!("part,image,sku,view\n{rows}")).unwrap();
}

const ROLES: [&str; 16] = [
    "--data",
    "all.csv",
    "--set",
    "data.columns.path=image",
    "--set",
    "data.columns.label=sku",
    "--set",
    "data.columns.split=part",
    "--set",
    "data.columns.groups=[\"view\"]",
    "--set",
    "steps=2",
    "--set",
    "batch.classes=4",
    "--set",
    "compare-without-memory=false",
];

#[test]
fn queries_search_the_gallery_in_training_and_eval() {
    let folder = tempfile::tempdir().unwrap();
    list_with_roles(folder.path());
    fs_err::write(folder.path().join("r.toml"), "[memory]\nsize = 16\nstart = 0\n").unwrap();
    let args = [&["train", "-q", "r.toml", "--out", "run"], &ROLES[..]].concat();
    crossbatch_in(folder.path(), &args).ok();
    let summary = fs_err::read_to_string(folder.path().join("run/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    // Eight queries, one match each in a gallery of four: R-precision is R@1, and R@10 is certain.
    for row in ["raw", "untrained", "trained"] {
        let metrics = &summary["metrics"][row];
        assert_eq!((&metrics["queries"], &metrics["left_out"]), (&8.into(), &0.into()), "{row}");
        assert_eq!(metrics["r_precision"], metrics["recall_at_1"], "{row}");
        assert_eq!(metrics["recall_at_10"], 1.0, "{row}");
    }
    let eval = crossbatch_in(folder.path(), &["eval", "run", "--format", "json"]).json();
    let text = eval.to_string();
    assert!(text.contains("\"gallery\":4"), "{text}");
    let trained = summary["metrics"]["trained"]["recall_at_1"].as_f64().unwrap();
    assert!(text.contains(&format!("\"recall_at_1\":{trained}")), "{trained} in {text}");
}

#[test]
fn one_image_of_each_class_can_make_the_gallery() {
    let folder = tempfile::tempdir().unwrap();
    draw_classes(&folder.path().join("photos"), &["a", "b", "c", "d", "e", "f", "g", "h"], 3);
    let args = [
        "train",
        "-q",
        "--out",
        "run",
        "--data",
        "photos",
        "--set",
        "data.protocol=one-gallery",
        "--set",
        "steps=2",
        "--set",
        "batch.classes=4",
        "--set",
        "compare-without-memory=false",
        "--set",
        "memory.size=16",
        "--set",
        "data.validation=0",
    ];
    crossbatch_in(folder.path(), &args).ok();
    let summary = fs_err::read_to_string(folder.path().join("run/summary.json")).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    // Four test classes of three images: eight queries.
    assert_eq!(summary["metrics"]["trained"]["queries"], 8);
    assert_eq!(summary["metrics"]["trained"]["recall_at_10"], 1.0);
}

#[test]
fn what_a_recipe_expects_is_checked_by_plan_and_train() {
    let folder = tempfile::tempdir().unwrap();
    draw_classes(&folder.path().join("photos"), &["a", "b", "c", "d"], 3);
    for command in ["plan", "train"] {
        let run = |images: &str| {
            let expected = format!("data.expected.images={images}");
            let args =
                [command, "--data", "photos", "--set", "batch.classes=2", "--set", &expected];
            crossbatch_in(folder.path(), &args)
        };
        run("13").fails_with(&["holds 12 images", "`data.expected.images = 13`"]);
    }
}

#[test]
fn the_papers_recipes_plan_from_the_lists_alone() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/paper");
    let plan = |name: &str, data: &Path| {
        let recipe = recipes.join(format!("{name}.toml"));
        let args = [
            "plan",
            "-q",
            recipe.to_str().unwrap(),
            "--data",
            data.to_str().unwrap(),
            "--format",
            "json",
        ];
        let outcome = crossbatch_in(Path::new("."), &args);
        // 1 where the network does not fit this machine.
        assert!(matches!(outcome.code, Some(0 | 1)), "{outcome:?}");
        assert!(outcome.stderr.contains("lists alone"), "{}", outcome.stderr);
        serde_json::from_str::<serde_json::Value>(&outcome.stdout).unwrap()
    };
    // Lists of the official size, made up: classes in order, each image in one.
    let folder = tempfile::tempdir().unwrap();
    for (name, first, classes, images) in
        [("train", 1, 11_318, 59_551), ("test", 11_319, 11_316, 60_502)]
    {
        let mut list = "image_id class_id super_class_id path\n".to_owned();
        for image in 0..images {
            let class = first + image % classes;
            list.push_str(&format!("{} {class} 1 chair_final/{name}_{image}.JPG\n", image + 1));
        }
        fs_err::write(folder.path().join(format!("Ebay_{name}.txt")), list).unwrap();
    }
    let sop = plan("sop", folder.path());
    assert_eq!((&sop["training_images"], &sop["slots"]), (&59_551.into(), &55_000.into()));

    let Some(formats) = shared("formats") else { return };
    let lists = tempfile::tempdir().unwrap();
    let zip = formats.join("inshop/list_eval_partition_full.zip");
    fs_err::copy(zip, lists.path().join("list.zip")).unwrap();
    let inshop = plan("inshop", lists.path());
    assert_eq!(
        (&inshop["training_images"], &inshop["training_classes"]),
        (&25_882.into(), &3997.into())
    );
    let vehicles = plan("vehicleid", &formats.join("vehicleid"));
    assert_eq!((&vehicles["training_images"], &vehicles["slots"]), (&5000.into(), &5000.into()));
}
