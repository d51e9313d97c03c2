//! Cars196 (Stanford Cars): annotations in MAT-files.
//!
//! Krause, Stark, Deng, Fei-Fei, 3dRR 2013. Retrieval papers use `cars_annos.mat` with `car_ims/`; the devkit
//! has `cars_train_annos.mat` and `cars_test_annos.mat` with folders of their own, and no labels for
//! the second. Classes up to 98 train, the others test; the files' own split is for classification.

use std::path::{Path, PathBuf};

use crate::dataset::builder::{Builder, Record, compare, strangers};
use crate::dataset::findings::Findings;
use crate::dataset::root::{Root, Text};
use crate::dataset::text::fault;
use crate::dataset::{DataConfig, Dataset, Kind, Region, Role, Split};
use crate::error::Error;
use crate::matlab::{Value, parse};

/// Classes that train.
const TRAINED: f64 = 98.0;
const FULL: [(Split, usize, usize); 2] = [(Split::Train, 98, 8_054), (Split::Test, 98, 8_131)];
const RECORD: &str = "a struct with the path, the box and the class from 1";

const WHOLE: [&str; 2] = ["cars_annos.mat", "devkit/cars_annos.mat"];
const TRAIN: [&str; 2] = ["cars_train_annos.mat", "devkit/cars_train_annos.mat"];
const TEST: [&str; 3] =
    ["cars_test_annos_withlabels.mat", "cars_test_annos.mat", "devkit/cars_test_annos.mat"];
const META: [&str; 2] = ["cars_meta.mat", "devkit/cars_meta.mat"];

pub(crate) fn fits(root: &Root) -> bool {
    root.file(&WHOLE).is_some() || root.file(&TRAIN).is_some()
}

pub(crate) fn open(
    root: &Root,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    let whole = root.text(&WHOLE)?;
    let files: Vec<(Text, &[&str])> = match whole {
        Some(whole) => vec![(whole, &["", "car_ims/"])],
        None => {
            let train = root.text(&TRAIN)?;
            let need = || Error::NoList { path: root.path().to_owned(), list: WHOLE[0] };
            let mut files: Vec<(Text, &[&str])> = vec![(train.ok_or_else(need)?, &["cars_train/"])];
            match root.text(&TEST)? {
                Some(test) => files.push((test, &["cars_test/"])),
                None => findings.note(format!("{} is not there", TEST[1])),
            }
            files
        }
    };
    let mut names = match root.text(&META)? {
        Some(meta) => class_names(&meta)?,
        None => Vec::new(),
    };
    let prefixes = [""];
    let mut builder = Builder::new(Kind::Cars196, root, &prefixes, &[], config.images, RECORD);
    let mut used: Vec<PathBuf> = Vec::new();
    for (text, folders) in files {
        let variables = read(&text)?;
        let find = |name: &str| variables.iter().find(|(own, _)| own == name).map(|(_, v)| v);
        if names.is_empty() {
            names = find("class_names").map_or(Ok(Vec::new()), |value| texts(&text.path, value))?;
        }
        let annotations = find("annotations")
            .ok_or_else(|| mat(&text.path, "there is no variable `annotations`"))?;
        let Value::Structs { fields, records, .. } = annotations else {
            let found = annotations.describe();
            return Err(mat(&text.path, &format!("`annotations` is {found}, expected structs")));
        };
        let layout = Layout::of(&text.path, fields)?;
        if layout.class.is_none() {
            findings.note(format!(
                "{} has no labels: its {} images are left out",
                text.path.display(),
                records.len()
            ));
        }
        for (place, record) in records.iter().enumerate() {
            let number = place + 1;
            let (path, class, region) = match layout.read(record, number) {
                Ok(Some(found)) => found,
                Ok(None) => continue,
                Err((shown, what)) => {
                    findings.fault(fault(&text.path, number, &shown, what, RECORD));
                    continue;
                }
            };
            let path = match (path.contains('/'), folders) {
                (true, _) | (_, []) => path.to_owned(),
                (false, folders) => format!("{}{path}", folders[folders.len() - 1]),
            };
            let name = names.get(class as usize - 1).cloned();
            if name.is_none() && !names.is_empty() {
                let what = format!("class {class}, of {} names", names.len());
                findings.fault(fault(&text.path, number, &path, what, RECORD));
            }
            builder.add(
                &Record {
                    place: (&text.path, number),
                    path: &path,
                    class: &name.unwrap_or_else(|| format!("{class}")),
                    split: if class <= TRAINED { Split::Train } else { Split::Test },
                    role: Role::Both,
                    region,
                    groups: &[],
                },
                findings,
            );
        }
        used.push(text.path);
    }
    let dataset = builder.finish("Cars196", findings);
    compare(&dataset, &FULL, findings);
    let known = |name: &str| {
        name == "cars_meta.mat"
            || TEST.contains(&name)
            || TRAIN.contains(&name)
            || used.iter().any(|own| own.ends_with(name))
    };
    strangers(root, known, findings);
    Ok(dataset)
}

/// Which field holds what.
struct Layout {
    path: usize,
    class: Option<usize>,
    corners: [usize; 4],
}

type Found<'a> = (&'a str, f64, Option<Region>);

impl Layout {
    fn of(file: &Path, fields: &[String]) -> Result<Self, Error> {
        let find = |names: &[&str]| fields.iter().position(|own| names.contains(&own.as_str()));
        let need = |name: &str, found: Option<usize>| {
            let what = format!("`annotations` has no field `{name}`, but {}", fields.join(", "));
            found.ok_or_else(|| mat(file, &what))
        };
        let corner = |name: &str| need(name, find(&[name]));
        Ok(Self {
            path: need("fname", find(&["fname", "relative_im_path"]))?,
            class: find(&["class"]),
            corners: [
                corner("bbox_x1")?,
                corner("bbox_y1")?,
                corner("bbox_x2")?,
                corner("bbox_y2")?,
            ],
        })
    }

    /// Path, class and box; none without a label. The error holds what was read and what is wrong.
    fn read<'a>(
        &self,
        record: &'a [Value],
        number: usize,
    ) -> Result<Option<Found<'a>>, (String, String)> {
        let shown = || format!("record {number}");
        let path = record[self.path].text();
        let path = path.ok_or_else(|| (shown(), "the path is no text".to_owned()))?;
        let fail = |what: String| (path.to_owned(), what);
        let corner = |place: usize| record[self.corners[place]].number();
        let (Some(x), Some(y), Some(right), Some(bottom)) =
            (corner(0), corner(1), corner(2), corner(3))
        else {
            return Err(fail("a corner of the box is no number".to_owned()));
        };
        if !(right >= x && bottom >= y && x >= 0.0 && y >= 0.0) {
            return Err(fail(format!("the box {x} {y} {right} {bottom} has no inside")));
        }
        // Corners count pixels from 1, both ends inside.
        let (width, height) = ((right - x + 1.0) as f32, (bottom - y + 1.0) as f32);
        let region =
            Region { x: (x - 1.0).max(0.0) as f32, y: (y - 1.0).max(0.0) as f32, width, height };
        let Some(class) = self.class else { return Ok(None) };
        match record[class].number() {
            Some(class) if (1.0..=1e6).contains(&class) && class.fract() == 0.0 => {
                Ok(Some((path, class, Some(region))))
            }
            _ => Err(fail(format!("the class is {}, no number from 1", record[class].describe()))),
        }
    }
}

fn class_names(meta: &Text) -> Result<Vec<String>, Error> {
    let variables = read(meta)?;
    match variables.iter().find(|(name, _)| name == "class_names") {
        Some((_, value)) => texts(&meta.path, value),
        None => Err(mat(&meta.path, "there is no variable `class_names`")),
    }
}

fn texts(file: &Path, value: &Value) -> Result<Vec<String>, Error> {
    let Value::Cells { cells, .. } = value else {
        let found = value.describe();
        return Err(mat(file, &format!("`class_names` is {found}, expected cells of text")));
    };
    let text = |(place, cell): (usize, &Value)| {
        let what = || format!("class name {} is {}, expected text", place + 1, cell.describe());
        cell.text().map(str::to_owned).ok_or_else(|| mat(file, &what()))
    };
    cells.iter().enumerate().map(text).collect()
}

fn read(text: &Text) -> Result<Vec<(String, Value)>, Error> {
    parse(&text.bytes).map_err(|what| mat(&text.path, &what))
}

fn mat(path: &Path, fault: &str) -> Error {
    Error::Mat { path: path.to_owned(), fault: fault.to_owned() }
}
