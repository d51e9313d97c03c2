//! CUB-200-2011: text files that give each image id its path, class and bounding box.
//!
//! Wah, Branson, Welinder, Perona, Belongie, Caltech CNS-TR-2011-001. Classes up to 100 train, the others
//! test; `train_test_split.txt` is the classification split and plays no part. Ids may have gaps.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::dataset::builder::{Builder, Record, compare, strangers};
use crate::dataset::findings::Findings;
use crate::dataset::root::Root;
use crate::dataset::text::{fault, lines};
use crate::dataset::{DataConfig, Dataset, Kind, Region, Role, Split};
use crate::error::Error;

/// Classes that train.
const TRAINED: u32 = 100;
const FULL: [(Split, usize, usize); 2] = [(Split::Train, 100, 5_864), (Split::Test, 100, 5_924)];
const IMAGES: &str = "`id path`, apart by a blank";
const LABELS: &str = "`id class`, apart by a blank";
const BOXES: &str = "`id x y width height`, apart by blanks";
const NAMES: &str = "`class name`, apart by a blank";

const FILES: [&str; 5] = [
    "images.txt",
    "image_class_labels.txt",
    "classes.txt",
    "train_test_split.txt",
    "bounding_boxes.txt",
];

pub(crate) fn fits(root: &Root) -> bool {
    let both = |folder: &str| {
        FILES[..2].iter().all(|name| root.file(&[&format!("{folder}{name}")]).is_some())
    };
    both("") || both("CUB_200_2011/")
}

/// A file by its records: id to the rest of the line, with its line number.
struct Table {
    path: PathBuf,
    rows: Vec<(u32, usize, String)>,
    places: HashMap<u32, usize>,
}

impl Table {
    fn read(
        root: &Root,
        name: &'static str,
        expected: &'static str,
        findings: &mut Findings,
    ) -> Result<Option<Self>, Error> {
        let inner = format!("CUB_200_2011/{name}");
        let Some(text) = root.text(&[name, &inner])? else { return Ok(None) };
        let (mut rows, mut places) = (Vec::new(), HashMap::new());
        for line in lines(&text.path, &text.bytes, expected, findings) {
            let bad = |what: String| fault(&text.path, line.number, line.text, what, expected);
            let Some((id, rest)) = line.first_and_rest() else {
                findings.fault(bad("a single field".to_owned()));
                continue;
            };
            let Ok(id) = id.parse() else {
                findings.fault(bad("an id that is no number".to_owned()));
                continue;
            };
            if let Some(first) = places.insert(id, rows.len()) {
                let (_, line, earlier): &(u32, usize, String) = &rows[first];
                if earlier != rest {
                    findings.fault(bad(format!("id {id} is that of line {line} too")));
                }
                places.insert(id, first);
                continue;
            }
            rows.push((id, line.number, rest.to_owned()));
        }
        Ok(Some(Self { path: text.path, rows, places }))
    }

    fn get(&self, id: u32) -> Option<&(u32, usize, String)> {
        Some(&self.rows[*self.places.get(&id)?])
    }
}

pub(crate) fn open(
    root: &Root,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    let need = |name| Error::NoList { path: root.path().to_owned(), list: name };
    let images = Table::read(root, FILES[0], IMAGES, findings)?.ok_or_else(|| need(FILES[0]))?;
    let labels = Table::read(root, FILES[1], LABELS, findings)?.ok_or_else(|| need(FILES[1]))?;
    let names = Table::read(root, FILES[2], NAMES, findings)?;
    let boxes = Table::read(root, FILES[4], BOXES, findings)?;
    // Read for its faults alone.
    Table::read(root, FILES[3], "`id 0|1`, apart by a blank", findings)?;

    let prefixes = ["images/", "CUB_200_2011/images/", ""];
    let mut builder = Builder::new(Kind::Cub, root, &prefixes, &[], config.images, IMAGES);
    for (id, line, path) in &images.rows {
        let bad = |what: String| fault(&images.path, *line, &format!("{id} {path}"), what, IMAGES);
        let Some((_, place, label)) = labels.get(*id) else {
            findings.fault(bad(format!("image {id} has no label in {}", FILES[1])));
            continue;
        };
        let Some(class) = label.parse::<u32>().ok().filter(|&class| class > 0) else {
            let what = "a class that is no number from 1";
            findings.fault(fault(&labels.path, *place, label, what, LABELS));
            continue;
        };
        let name = names.as_ref().and_then(|names| names.get(class));
        if let (Some(names), None) = (&names, name) {
            let what = format!("class {class} is not in {}", names.path.display());
            findings.fault(fault(&labels.path, *place, label, what, LABELS));
        }
        let region = match boxes.as_ref().map(|boxes| (boxes, boxes.get(*id))) {
            None => None,
            Some((_, None)) => {
                findings.fault(bad(format!("image {id} has no box in {}", FILES[4])));
                None
            }
            Some((boxes, Some((_, line, text)))) => {
                let region = region(text);
                if region.is_none() {
                    findings.fault(fault(&boxes.path, *line, text, "no bounding box", BOXES));
                }
                region
            }
        };
        let class_name = name.map_or(label, |(_, _, name)| name);
        builder.add(
            &Record {
                place: (&images.path, *line),
                path,
                class: class_name,
                split: if class <= TRAINED { Split::Train } else { Split::Test },
                role: Role::Both,
                region,
                groups: &[],
            },
            findings,
        );
    }
    for (id, line, label) in &labels.rows {
        if images.get(*id).is_none() {
            let what = format!("image {id} is not in {}", FILES[0]);
            findings.fault(fault(&labels.path, *line, label, what, LABELS));
        }
    }
    let dataset = builder.finish("CUB-200-2011", findings);
    compare(&dataset, &FULL, findings);
    let more = ["attributes.txt", "train.txt", "test.txt"];
    strangers(root, |name| FILES.contains(&name) || more.contains(&name), findings);
    Ok(dataset)
}

fn region(text: &str) -> Option<Region> {
    let numbers: Option<Vec<f32>> =
        text.split_ascii_whitespace().map(|number| number.parse().ok()).collect();
    match numbers?[..] {
        [x, y, width, height] if x >= 0.0 && y >= 0.0 && width > 0.0 && height > 0.0 => {
            Some(Region { x, y, width, height })
        }
        _ => None,
    }
}
