//! The genuine list and annotation files: counts, splits, roles, and what verify says of them.

use std::path::Path;

use crossbatch_data::{
    DataConfig, Dataset, Error, Expected, Kind, Protocol, Role, Split, Subset, Verification,
    VerifyConfig, open, verify,
};

use crate::data_folder::data;
use crate::support::{assert_sound, at, class_counts};

fn lists_only(path: &Path) -> DataConfig {
    DataConfig { images: false, ..at(path) }
}

fn verified(config: DataConfig) -> Verification {
    verify(&VerifyConfig { data: config }, &|_, _| {}).unwrap()
}

fn images(dataset: &Dataset) -> [usize; 2] {
    [Split::Train, Split::Test].map(|split| dataset.indices(split).len())
}

/// Opens from the lists alone, and checks that verify has nothing against them but the images.
fn of_lists(name: &str, kind: Kind) -> Option<(Dataset, Verification)> {
    let path = data("formats")?.join(name);
    let dataset = open(&lists_only(&path)).unwrap();
    assert_eq!(dataset.kind, kind);
    assert_sound(&dataset);
    let found = verified(lists_only(&path));
    assert!(found.is_sound(), "{:?}", found.problems);
    let whole = verified(at(&path));
    assert_eq!((whole.faults, whole.corrupt), (0, 0), "{:?}", &whole.problems[..3]);
    assert_eq!(whole.missing, dataset.samples.len());
    assert!(matches!(open(&at(&path)), Err(Error::ListMissing { .. })));
    Some((dataset, found))
}

#[test]
fn cub_by_its_official_lists() {
    let Some((dataset, found)) = of_lists("cub200_2011", Kind::Cub) else { return };
    assert_eq!((class_counts(&dataset), images(&dataset)), ([100, 0, 100], [5864, 5924]));
    assert_eq!(dataset.classes[0], "001.Black_footed_Albatross");
    let box_of = |index: usize| {
        let region = dataset.samples[index].region.unwrap();
        [region.x, region.y, region.width, region.height]
    };
    assert_eq!(box_of(0), [60.0, 27.0, 325.0, 304.0]);
    assert_eq!(box_of(11_787), [20.0, 113.0, 177.0, 263.0]);
    // The full set: nothing to note.
    assert_eq!(found.notes, Vec::<String>::new());
}

#[test]
fn cars_by_the_devkit() {
    let Some((dataset, found)) = of_lists("cars196", Kind::Cars196) else { return };
    assert_eq!(class_counts(&dataset), [98, 0, 98]);
    assert_eq!(dataset.samples.len(), 8144);
    // By scipy the first record is 00001.jpg of class 14, its corners (39, 116) and (569, 375).
    let first = &dataset.samples[0];
    assert_eq!(first.name, "cars_train/00001.jpg");
    assert_eq!(dataset.classes[first.class as usize], "Audi TTS Coupe 2012");
    let region = first.region.unwrap();
    assert_eq!([region.x, region.y, region.width, region.height], [38.0, 115.0, 531.0, 260.0]);
    assert!(found.notes.iter().any(|note| note.contains("no labels: its 8041 images")));
    assert!(found.notes.iter().any(|note| note.contains("cars_annos_MADE_UP_sample.mat")));
}

#[test]
fn cars_by_one_annotation_file() {
    let Some(path) = data("formats") else { return };
    let root = tempfile::tempdir().unwrap();
    let from = path.join("cars196/cars_annos_MADE_UP_sample.mat");
    fs_err::copy(from, root.path().join("cars_annos.mat")).unwrap();
    let dataset = open(&lists_only(root.path())).unwrap();
    assert_eq!((dataset.kind, dataset.samples.len()), (Kind::Cars196, 180));
    assert_eq!(dataset.samples[0].name, "car_ims/000001.jpg");
    let list = fs_err::read_to_string(path.join("cars196/cars_annos_path_class_test.txt")).unwrap();
    for sample in &dataset.samples {
        let line = list.lines().find(|line| line.starts_with(&sample.name)).unwrap();
        let class: u32 = line.split(',').nth(1).unwrap().parse().unwrap();
        let split = if class <= 98 { Split::Train } else { Split::Test };
        assert_eq!(sample.split, split, "{line}");
    }
}

#[test]
fn inshop_in_full_and_in_part() {
    let Some(path) = data("formats") else { return };
    let Some((part, _)) = of_lists("inshop", Kind::InShop) else { return };
    assert_eq!((images(&part), part.protocol), ([300, 300], Protocol::QueryGallery));
    // The official name, in a zip.
    let root = tempfile::tempdir().unwrap();
    let zip = path.join("inshop/list_eval_partition_full.zip");
    fs_err::copy(zip, root.path().join("lists.zip")).unwrap();
    let config = DataConfig { kind: Some(Kind::InShop), ..lists_only(root.path()) };
    let full = open(&config).unwrap();
    assert_sound(&full);
    assert_eq!((class_counts(&full), full.samples.len()), ([3997, 0, 3985], 52_712));
    let count = |role| full.samples.iter().filter(|sample| sample.role == role).count();
    assert_eq!([Role::Both, Role::Query, Role::Gallery].map(count), [25_882, 14_218, 12_612]);
    assert!(full.samples.iter().all(|one| (one.split == Split::Train) == (one.role == Role::Both)));
    assert_eq!(full.column("department").unwrap().values, ["WOMEN", "MEN"]);
    assert_eq!(full.column("category").unwrap().codes.len(), 52_712);
    assert!(verified(config.clone()).is_sound());

    let all = open(&DataConfig { protocol: Some(Protocol::All), ..config.clone() }).unwrap();
    assert!(all.samples.iter().all(|sample| sample.role == Role::Both));
    // A recipe may say what it expects.
    let expected = |classes, images| DataConfig {
        expected: Expected { classes: Some(classes), images: Some(images) },
        ..config.clone()
    };
    open(&expected(7982, 52_712)).unwrap();
    let error = open(&expected(7982, 72_712)).unwrap_err().to_string();
    assert!(error.contains("52712 images") && error.contains("72712"), "{error}");
}

#[test]
fn vehicle_id_counts_rows_and_keeps_zeros() {
    let Some((dataset, _)) = of_lists("vehicleid", Kind::VehicleId) else { return };
    assert_eq!(images(&dataset), [5000, 6493]);
    assert_eq!(dataset.class_count(Split::Test), 800);
    assert_eq!(dataset.samples[5000].name, "0279029.jpg");
    assert_eq!(dataset.protocol, Protocol::All);
    let Some(path) = data("formats") else { return };
    let config = lists_only(&path.join("vehicleid"));
    let one = DataConfig { protocol: Some(Protocol::OneGallery), ..config.clone() };
    assert_eq!(open(&one).unwrap().protocol, Protocol::OneGallery);
    let gallery = DataConfig { protocol: Some(Protocol::QueryGallery), ..config.clone() };
    assert!(open(&gallery).unwrap_err().to_string().contains("one-gallery"));
    let medium = open(&DataConfig { subset: Subset::Medium, ..config }).unwrap_err().to_string();
    assert!(medium.contains("test_list_1600.txt"), "{medium}");
}

#[test]
fn sop_with_images_in_a_zip() {
    let Some(path) = data("sop_sample") else { return };
    let dataset = open(&at(&path)).unwrap();
    assert_eq!(dataset.column("category").unwrap().values, ["bicycle", "cabinet", "chair", "sofa"]);
    let found = verified(at(&path));
    assert!(found.is_sound(), "{:?}", found.problems);
    assert_eq!(found.images_read, 396);
    assert!(found.notes.iter().any(|note| note.contains("11318")), "{:?}", found.notes);
    // The archive alone has its lists inside.
    let zip = path.join("Stanford_Online_Products_sample.zip");
    let alone = open(&DataConfig { kind: Some(Kind::Sop), ..at(&zip) }).unwrap();
    assert_eq!(images(&alone), [216, 180]);
}

#[test]
fn cub_in_an_archive_with_gaps_in_its_ids() {
    let Some(path) = data("cub127") else { return };
    let dataset = open(&at(&path.join("CUB_200_2011.zip"))).unwrap();
    assert_eq!(dataset.kind, Kind::Cub);
    assert_eq!((class_counts(&dataset), images(&dataset)), ([85, 0, 42], [4982, 2474]));
}

#[test]
fn folds_are_disjoint_and_cover_the_training_classes() {
    let Some(path) = data("formats") else { return };
    let path = path.join("cub200_2011");
    let mut held = std::collections::BTreeSet::new();
    for fold in 0..4 {
        let config = DataConfig { folds: 4, fold, ..lists_only(&path) };
        let dataset = open(&config).unwrap();
        assert_eq!(class_counts(&dataset), [75, 25, 100]);
        let own = dataset.samples.iter().filter(|sample| sample.split == Split::Validation);
        let before = held.len();
        held.extend(own.map(|sample| sample.class));
        assert_eq!(held.len(), before + 25, "fold {fold}");
    }
    for (folds, fold, validation, part) in [
        (1, 0, 0.0, "data.folds"),
        (4, 4, 0.0, "data.fold"),
        (60, 0, 0.0, "data.folds"),
        (4, 0, 0.1, "data.validation"),
    ] {
        let config = DataConfig { folds, fold, validation, ..lists_only(&path) };
        let error = open(&config).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn omniglot_turned_has_four_times_the_training_classes() {
    let Some(path) = data("formats/omniglot") else { return };
    let plain = open(&at(&path)).unwrap();
    assert_eq!(plain.kind, Kind::Omniglot);
    let [train, _, test] = class_counts(&plain);
    // Greek and Latin are in both small sets, and train.
    assert_eq!(train, 136);
    assert!(plain.warnings[0].contains("Greek, Latin"), "{:?}", plain.warnings);
    let tested = plain.samples.iter().filter(|one| one.split == Split::Test);
    assert!(tested.clone().count() > 0);
    assert!(
        tested.clone().all(|one| !one.name.contains("/Greek/") && !one.name.contains("/Latin/"))
    );
    let config = DataConfig { rotations: true, validation: 0.2, ..at(&path) };
    let turned = open(&config).unwrap();
    let [trained, held, tested] = class_counts(&turned);
    assert_eq!((trained + held, tested), (4 * train, test));
    assert_sound(&turned);
    // All turns of a character are on one side.
    let split = |name: &str| {
        let class = turned.classes.iter().position(|own| own == name).unwrap() as u32;
        turned.samples.iter().find(|sample| sample.class == class).unwrap().split
    };
    for name in &plain.classes[..train] {
        for angle in [90, 180, 270] {
            assert_eq!(split(name), split(&format!("{name}@{angle}")), "{name}");
        }
    }
    let refused =
        DataConfig { rotations: true, ..at(path.parent().unwrap().join("cub200_2011").as_path()) };
    assert!(open(&refused).unwrap_err().to_string().contains("data.rotations"));
}

#[test]
fn packs_are_sound() {
    for (name, read) in
        [("omniglot", 32_460), ("cub127", 7456), ("cars196_crops", 3136), ("grocery81", 3793)]
    {
        let Some(path) = data(name) else { return };
        let found = verified(at(&path));
        assert!(found.is_sound(), "{name}: {:?}", found.problems);
        assert_eq!(found.images_read, read, "{name}");
        if name == "omniglot" {
            let twin = found.notes.iter().find(|note| note.contains("same file")).unwrap();
            assert!(twin.contains("1 image(s)") && twin.contains("0192_19.png"), "{twin}");
        }
    }
}
