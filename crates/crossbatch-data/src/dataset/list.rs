//! One or two lists of `path,label`; the images lie beside the list or in a zip beside it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::Archive;
use crate::dataset::list_file::{self, Row};
use crate::dataset::split::split_classes;
use crate::dataset::walk::{children, has_ending};
use crate::dataset::{DataConfig, Dataset, ImageSource, Kind, Sample, Split};
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

/// One list: its classes are split.
pub(crate) fn open_one(list: &Path, config: &DataConfig) -> Result<Dataset, Error> {
    let mut builder = Builder::new();
    builder.add(list, Split::Train)?;
    let mut dataset = builder.finish();
    split_classes(&mut dataset, config.test_fraction, config.split_seed);
    dataset.description = format!("list {}: {}", list.display(), dataset.counts());
    Ok(dataset)
}

/// Two lists, whose classes must differ.
pub(crate) fn open_two(train: &Path, test: &Path) -> Result<Dataset, Error> {
    let mut builder = Builder::new();
    builder.add(train, Split::Train)?;
    let training = builder.dataset.classes.len();
    builder.add(test, Split::Test)?;
    let mut both: Vec<u32> = builder
        .dataset
        .samples
        .iter()
        .filter(|sample| sample.split == Split::Test && (sample.class as usize) < training)
        .map(|sample| sample.class)
        .collect();
    if let Some(&class) = both.first() {
        both.sort_unstable();
        both.dedup();
        return Err(Error::ClassesOverlap {
            train: train.to_owned(),
            test: test.to_owned(),
            class: builder.dataset.classes[class as usize].clone(),
            count: both.len(),
        });
    }
    let mut dataset = builder.finish();
    dataset.description =
        format!("lists {} and {}: {}", train.display(), test.display(), dataset.counts());
    Ok(dataset)
}

struct Builder {
    dataset: Dataset,
    classes: HashMap<String, u32>,
    /// For each path its sample, list and line.
    seen: HashMap<String, (usize, PathBuf, usize)>,
    again: usize,
}

impl Builder {
    fn new() -> Self {
        let dataset = Dataset {
            kind: Kind::List,
            description: String::new(),
            classes: Vec::new(),
            samples: Vec::new(),
            warnings: Vec::new(),
        };
        Self { dataset, classes: HashMap::new(), seen: HashMap::new(), again: 0 }
    }

    fn add(&mut self, list: &Path, split: Split) -> Result<(), Error> {
        let rows = list_file::read(list, true)?;
        let sources = resolve(list, &rows, &mut self.dataset.warnings)?;
        for (row, source) in rows.into_iter().zip(sources) {
            let label = row.label.unwrap_or_default();
            let class = self.intern(&label);
            if let Some((earlier, first_list, first_line)) = self.seen.get(&row.path) {
                let first_class = self.dataset.samples[*earlier].class;
                // The same image with the same label in both lists is an overlap of classes.
                if first_class == class && self.dataset.samples[*earlier].split == split {
                    self.again += 1;
                    continue;
                }
                if first_class != class {
                    let was = self.dataset.classes[first_class as usize].clone();
                    let places = [
                        (first_list.clone(), *first_line, was),
                        (list.to_owned(), row.line, label),
                    ];
                    return Err(Error::ListConflict(Box::new(Conflict { path: row.path, places })));
                }
            }
            self.seen
                .insert(row.path.clone(), (self.dataset.samples.len(), list.to_owned(), row.line));
            self.dataset.samples.push(Sample { name: row.path, class, split, source });
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

/// Where each row's image is: a file, or an entry of a zip beside the list.
pub(crate) fn resolve(
    list: &Path,
    rows: &[Row],
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
                Some(ImageSource::Zip { archive: Arc::clone(archive), entry })
            });
        }
        let missing: Vec<&Row> = rows
            .iter()
            .zip(&found)
            .filter(|(_, slot)| slot.is_none())
            .map(|(row, _)| row)
            .collect();
        if !missing.is_empty() {
            // An archive that cannot be opened is the likely reason.
            if let Some(error) = broken.into_iter().next() {
                return Err(error);
            }
            return Err(Error::ListMissing {
                list: list.to_owned(),
                missing: missing.len(),
                total: rows.len(),
                first: missing
                    .iter()
                    .take(3)
                    .map(|row| format!("`{}` (line {})", row.path, row.line))
                    .collect(),
            });
        }
        warnings.extend(broken.into_iter().map(|error| format!("left out: {error}")));
    }
    Ok(found.into_iter().flatten().collect())
}

type Opened = (Vec<Arc<Archive>>, Vec<Error>);

fn archives_in(folder: &Path) -> Result<Opened, Error> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (mut archives, mut broken) = (Vec::new(), Vec::new());
    for file in children(folder)?.1.iter().filter(|file| has_ending(file, &["zip"])) {
        match Archive::open(file) {
            Ok(archive) => archives.push(Arc::new(archive)),
            Err(error) => broken.push(error),
        }
    }
    Ok((archives, broken))
}
