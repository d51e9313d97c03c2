//! One or two lists of `path,label`; the images lie beside the list or in an archive beside it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{Archive, is_archive};
use crate::dataset::findings::{Findings, Missing};
use crate::dataset::list_file::{self, Row};
use crate::dataset::split::split_classes;
use crate::dataset::walk::children;
use crate::dataset::{
    DataConfig, Dataset, GroupColumn, ImageSource, Kind, Protocol, Role, Sample, Split,
};
use crate::error::{Conflict, Error};

/// The names under which a folder's two lists are looked for.
const PAIRS: [[&str; 2]; 3] =
    [["train.txt", "test.txt"], ["train.csv", "test.csv"], ["train.tsv", "test.tsv"]];

pub(crate) fn pair_in(folder: &Path) -> Option<[PathBuf; 2]> {
    PAIRS
        .iter()
        .map(|pair| pair.map(|name| folder.join(name)))
        .find(|pair| pair.iter().all(|list| list.is_file()))
}

/// One list: its classes are split, unless a column says how.
pub(crate) fn open_one(
    list: &Path,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    let mut builder = Builder::new(config);
    builder.add(list, Split::Train, findings)?;
    let mut dataset = builder.finish();
    if config.columns.split.is_none() {
        split_classes(&mut dataset, config.test_fraction, config.split_seed);
    } else {
        let role = |role| dataset.samples.iter().any(|sample| sample.role == role);
        if role(Role::Query) && role(Role::Gallery) {
            dataset.protocol = Protocol::QueryGallery;
            let neither = |one: &&Sample| one.split == Split::Test && one.role == Role::Both;
            let count = dataset.samples.iter().filter(neither).count();
            if count > 0 {
                dataset.warnings.push(format!(
                    "{count} image(s) of the split `test` are neither `query` nor `gallery` and are not measured"
                ));
            }
        }
        check_overlap(&dataset, list, list, findings);
    }
    dataset.description = format!("list {}: {}", list.display(), dataset.counts());
    Ok(dataset)
}

/// Two lists, whose classes must differ.
pub(crate) fn open_two(
    train: &Path,
    test: &Path,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    let mut builder = Builder::new(config);
    builder.add(train, Split::Train, findings)?;
    builder.add(test, Split::Test, findings)?;
    let mut dataset = builder.finish();
    check_overlap(&dataset, train, test, findings);
    dataset.description =
        format!("lists {} and {}: {}", train.display(), test.display(), dataset.counts());
    Ok(dataset)
}

/// Classes that are in two splits are a fault.
fn check_overlap(dataset: &Dataset, train: &Path, test: &Path, findings: &mut Findings) {
    let sizes = Split::ALL.map(|split| dataset.class_sizes(split));
    let splits = |class: usize| sizes.iter().filter(|sizes| sizes[class] > 0).count();
    let both = (0..dataset.classes.len()).filter(|&class| splits(class) > 1);
    // In the order of the test list.
    let first = dataset
        .samples
        .iter()
        .find(|sample| sample.split == Split::Test && splits(sample.class as usize) > 1)
        .map_or_else(|| both.clone().next(), |sample| Some(sample.class as usize));
    if let Some(class) = first {
        findings.fault(Error::ClassesOverlap {
            train: train.to_owned(),
            test: test.to_owned(),
            class: dataset.classes[class].clone(),
            count: both.count(),
        });
    }
}

struct Builder<'a> {
    config: &'a DataConfig,
    dataset: Dataset,
    classes: HashMap<String, u32>,
    codes: Vec<HashMap<String, u32>>,
    /// For each path its sample, list and line.
    seen: HashMap<String, (usize, PathBuf, usize)>,
    again: usize,
}

impl<'a> Builder<'a> {
    fn new(config: &'a DataConfig) -> Self {
        let mut dataset = Dataset::new(Kind::List);
        let groups = &config.columns.groups;
        let column =
            |name: &String| GroupColumn { name: name.clone(), values: vec![], codes: vec![] };
        dataset.columns = groups.iter().map(column).collect();
        let (classes, seen) = (HashMap::new(), HashMap::new());
        Self { config, dataset, classes, codes: vec![HashMap::new(); groups.len()], seen, again: 0 }
    }

    fn add(&mut self, list: &Path, split: Split, findings: &mut Findings) -> Result<(), Error> {
        let (rows, faults) = list_file::read_all(list, true, &self.config.columns)?;
        findings.faults.extend(faults);
        findings.listed += rows.len();
        let sources = match self.config.images {
            true => resolve(list, &rows, findings, &mut self.dataset.warnings)?,
            false => {
                let folder = list.parent().unwrap_or(Path::new(""));
                rows.iter().map(|row| ImageSource::File(folder.join(&row.path))).collect()
            }
        };
        for (row, source) in rows.into_iter().zip(sources) {
            let label = row.label.unwrap_or_default();
            let (split, role) = match row.split.as_deref() {
                None => (split, Role::Both),
                Some(word) => match part(word) {
                    Some(part) => part,
                    None => {
                        findings.fault(Error::ListLine {
                            list: list.to_owned(),
                            line: row.line,
                            text: row.path,
                            fault: format!(
                                "the split `{word}`, none of train, validation, test, query and gallery,"
                            ),
                        });
                        continue;
                    }
                },
            };
            let class = self.intern(&label);
            if let Some((earlier, first_list, first_line)) = self.seen.get(&row.path) {
                let earlier = &self.dataset.samples[*earlier];
                let first_class = earlier.class;
                // The same image with the same label in both lists is an overlap of classes.
                if (first_class, earlier.split, earlier.role) == (class, split, role) {
                    self.again += 1;
                    continue;
                }
                if first_class != class {
                    let was = self.dataset.classes[first_class as usize].clone();
                    let places = [
                        (first_list.clone(), *first_line, was),
                        (list.to_owned(), row.line, label),
                    ];
                    let conflict = Conflict { path: row.path, places };
                    findings.fault(Error::ListConflict(Box::new(conflict)));
                    continue;
                }
            }
            for ((column, codes), value) in
                self.dataset.columns.iter_mut().zip(&mut self.codes).zip(row.groups)
            {
                let next = column.values.len() as u32;
                let code = *codes.entry(value.clone()).or_insert(next);
                if code == next {
                    column.values.push(value);
                }
                column.codes.push(code);
            }
            self.seen
                .insert(row.path.clone(), (self.dataset.samples.len(), list.to_owned(), row.line));
            let sample = Sample::new(row.path, class, split, source);
            self.dataset.samples.push(Sample { role, ..sample });
        }
        Ok(())
    }

    fn intern(&mut self, label: &str) -> u32 {
        if let Some(&class) = self.classes.get(label) {
            return class;
        }
        let class = self.dataset.classes.len() as u32;
        self.dataset.classes.push(label.to_owned());
        self.classes.insert(label.to_owned(), class);
        class
    }

    fn finish(mut self) -> Dataset {
        if self.again > 0 {
            self.dataset.warnings.push(format!(
                "{} line(s) repeat an image and its label; each image counts once",
                self.again
            ));
        }
        self.dataset
    }
}

/// What a split column's word means.
fn part(word: &str) -> Option<(Split, Role)> {
    Some(match word.to_ascii_lowercase().as_str() {
        "train" | "training" => (Split::Train, Role::Both),
        "validation" | "val" => (Split::Validation, Role::Both),
        "test" => (Split::Test, Role::Both),
        "query" => (Split::Test, Role::Query),
        "gallery" => (Split::Test, Role::Gallery),
        _ => return None,
    })
}

/// Where each row's image is: a file, or an entry of an archive beside the list. Images that are nowhere
/// are findings.
pub(crate) fn resolve(
    list: &Path,
    rows: &[Row],
    findings: &mut Findings,
    warnings: &mut Vec<String>,
) -> Result<Vec<ImageSource>, Error> {
    let folder = list.parent().unwrap_or(Path::new(""));
    let mut found: Vec<Option<ImageSource>> = rows
        .iter()
        .map(|row| {
            Some(folder.join(&row.path)).filter(|path| path.is_file()).map(ImageSource::File)
        })
        .collect();
    if found.iter().any(Option::is_none) {
        let (archives, broken) = archives_in(folder)?;
        for (row, slot) in rows.iter().zip(&mut found).filter(|(_, slot)| slot.is_none()) {
            *slot = archives.iter().find_map(|archive| {
                let entry = archive.find(&row.path)?;
                Some(ImageSource::Archived { archive: Arc::clone(archive), entry })
            });
        }
        let missing = rows.iter().zip(&found).filter(|(_, slot)| slot.is_none());
        let missing: Vec<Missing> = missing
            .map(|(row, _)| Missing {
                list: list.to_owned(),
                line: row.line,
                path: row.path.clone(),
            })
            .collect();
        if missing.is_empty() {
            warnings.extend(broken.into_iter().map(|error| format!("left out: {error}")));
        } else {
            // An archive that cannot be opened is the likely reason.
            findings.faults.extend(broken);
            findings.missing.extend(missing);
        }
    }
    let place = |(row, slot): (&Row, Option<ImageSource>)| {
        slot.unwrap_or_else(|| ImageSource::File(folder.join(&row.path)))
    };
    Ok(rows.iter().zip(found).map(place).collect())
}

type Opened = (Vec<Arc<Archive>>, Vec<Error>);

fn archives_in(folder: &Path) -> Result<Opened, Error> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (mut archives, mut broken) = (Vec::new(), Vec::new());
    for file in children(folder)?.1.iter().filter(|file| is_archive(file)) {
        match Archive::open(file) {
            Ok(archive) => archives.push(Arc::new(archive)),
            Err(error) => broken.push(error),
        }
    }
    Ok((archives, broken))
}
