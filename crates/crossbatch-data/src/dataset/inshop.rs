//! DeepFashion In-shop Clothes Retrieval: the number of rows, column names, then `path item role`.
//!
//! Liu, Luo, Qiu, Wang, Tang, "DeepFashion", CVPR 2016. Query images search the gallery images only; items
//! of training and test are interleaved.

use std::collections::HashMap;

use crate::dataset::builder::{Builder, Record, strangers};
use crate::dataset::findings::Findings;
use crate::dataset::root::{Root, Text};
use crate::dataset::text::{fault, lines};
use crate::dataset::{DataConfig, Dataset, Kind, Protocol, Region, Role, Split};
use crate::error::Error;

const LIST: &str = "list_eval_partition.txt";
const LISTS: [&str; 3] =
    ["list_eval_partition.txt", "Eval/list_eval_partition.txt", "Anno/list_eval_partition.txt"];
const BOXES: [&str; 2] = ["Anno/list_bbox_inshop.txt", "list_bbox_inshop.txt"];
const RECORD: &str = "`path item_id train|query|gallery`, apart by blanks";
const BOX: &str = "`path clothes_type pose_type x1 y1 x2 y2`, apart by blanks";
/// Images that train, query and lie in the gallery; items that train, and those that test.
const FULL: [usize; 5] = [25_882, 14_218, 12_612, 3_997, 3_985];

pub(crate) fn fits(root: &Root) -> bool {
    root.file(&LISTS).is_some() || !root.files_like("list_eval_partition", ".txt").is_empty()
}

/// The list by its official name; else a file whose name starts so.
fn list(root: &Root) -> Result<Option<Text>, Error> {
    if let Some(path) = root.file(&LISTS) {
        return Ok(Some(Text { bytes: fs_err::read(&path)?, path }));
    }
    match root.files_like("list_eval_partition", ".txt").into_iter().next() {
        Some(path) => Ok(Some(Text { bytes: fs_err::read(&path)?, path })),
        None => root.text(&LISTS),
    }
}

pub(crate) fn open(
    root: &Root,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    let list = list(root)?.ok_or(Error::NoList { path: root.path().to_owned(), list: LIST })?;
    if list.path.file_name() != Some(LIST.as_ref()) {
        findings.note(format!("the list is called {}, not {LIST}", list.path.display()));
    }
    let regions = regions(root, findings)?;
    let columns = ["department", "category"];
    let prefixes = ["", "Img/", "In-shop Clothes Retrieval Benchmark/"];
    let mut builder = Builder::new(Kind::InShop, root, &prefixes, &columns, config.images, RECORD);
    let (mut announced, mut rows) = (None, 0);
    for (place, line) in lines(&list.path, &list.bytes, RECORD, findings).into_iter().enumerate() {
        let bad = |what: String| fault(&list.path, line.number, line.text, what, RECORD);
        let fields = line.fields();
        match fields[..] {
            [count] if place == 0 => match count.parse::<usize>() {
                Ok(count) => announced = Some((line, count)),
                Err(_) => findings.fault(bad("no number of rows".to_owned())),
            },
            ["image_name", ..] if place <= 1 => {}
            [path, item, role] => {
                rows += 1;
                let (split, role) = match role {
                    "train" => (Split::Train, Role::Both),
                    "query" => (Split::Test, Role::Query),
                    "gallery" => (Split::Test, Role::Gallery),
                    other => {
                        findings.fault(bad(format!("the unknown role `{other}`")));
                        continue;
                    }
                };
                let role = match config.protocol {
                    Some(Protocol::All | Protocol::OneGallery) => Role::Both,
                    _ => role,
                };
                let parts: Vec<&str> = path.split('/').collect();
                let groups = match parts[..] {
                    ["img", department, category, ..] => [department, category],
                    _ => ["", ""],
                };
                let region = regions.get(path).copied();
                let place = (list.path.as_path(), line.number);
                builder.add(
                    &Record { place, path, class: item, split, role, region, groups: &groups },
                    findings,
                );
            }
            _ => findings.fault(bad(format!("{} fields", fields.len()))),
        }
    }
    match announced {
        Some((line, count)) if count != rows => {
            let what = format!("{count} rows are announced, but {rows} follow");
            findings.fault(fault(&list.path, line.number, line.text, what, "the number of rows"));
        }
        Some(_) => {}
        None => findings.note(format!("{} does not say how many rows it has", list.path.display())),
    }
    let mut dataset = builder.finish("In-shop Clothes Retrieval", findings);
    if config.protocol.is_none() {
        dataset.protocol = Protocol::QueryGallery;
    }
    let count = |split, role| {
        dataset.samples.iter().filter(|one| one.split == split && one.role == role).count()
    };
    let found = [
        count(Split::Train, Role::Both),
        count(Split::Test, Role::Query),
        count(Split::Test, Role::Gallery),
        dataset.class_count(Split::Train),
        dataset.class_count(Split::Test),
    ];
    if found != FULL && dataset.protocol == Protocol::QueryGallery {
        let text = |[train, query, gallery, trained, tested]: [usize; 5]| {
            format!(
                "{train} training images of {trained} items, {query} queries and {gallery} gallery images of {tested}"
            )
        };
        findings.note(format!("{}; the full set has {}", text(found), text(FULL)));
    }
    let known = |name: &str| {
        list.path.file_name().is_some_and(|own| own == name) || name == "list_bbox_inshop.txt"
    };
    strangers(root, known, findings);
    Ok(dataset)
}

/// Bounding boxes by path, where there is a file of them.
fn regions(root: &Root, findings: &mut Findings) -> Result<HashMap<String, Region>, Error> {
    let mut regions = HashMap::new();
    let Some(path) = root.file(&BOXES) else { return Ok(regions) };
    let bytes = fs_err::read(&path)?;
    for line in lines(&path, &bytes, BOX, findings).into_iter().skip(2) {
        let fields = line.fields();
        let numbers: Vec<f32> =
            fields.iter().skip(3).filter_map(|text| text.parse().ok()).collect();
        match (fields.len(), &numbers[..]) {
            (7, &[x, y, right, bottom]) if right > x && bottom > y => {
                let region = Region { x, y, width: right - x, height: bottom - y };
                regions.insert(fields[0].to_owned(), region);
            }
            _ => findings.fault(fault(&path, line.number, line.text, "no bounding box", BOX)),
        }
    }
    Ok(regions)
}
