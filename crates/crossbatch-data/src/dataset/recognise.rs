//! From what a user typed to a data set.

use std::path::{Path, PathBuf};

use crate::dataset::list_file::LIST_ENDINGS;
use crate::dataset::split::hold_out;
use crate::dataset::walk::has_ending;
use crate::dataset::{DataConfig, Dataset, Kind, Split, folder, list, omniglot};
use crate::error::Error;
use crate::glyphs;

/// Opens the data set that the configuration names.
///
/// Without a path and lists it is the built-in glyphs. Otherwise the first of these that fits:
///
/// 1. **omniglot**: a folder with `images_background` and `images_evaluation`, each a folder or a zip,
///    which is read in place;
/// 2. **list**: `train_list` and `test_list`; or a `.txt`, `.csv` or `.tsv` file; or a folder with
///    `train.txt` and `test.txt` (or `.csv`, `.tsv`). One list has its classes split, two must
///    have different classes;
/// 3. **folder**: one sub-folder of images a class, the classes being split.
///
/// [`DataConfig::kind`] skips the looking. Nothing is decoded here: [`load`](crate::load) finds
/// images that cannot be read.
pub fn open(config: &DataConfig) -> Result<Dataset, Error> {
    config.check()?;
    let (mut dataset, groups) = recognise(config)?;
    let origin = config.path.as_deref().or(config.train_list.as_deref());
    check(&dataset, origin)?;
    hold_out(&mut dataset, groups.as_deref(), config.validation, config.split_seed)?;
    check_pairs(&dataset, origin)?;
    if config.validation > 0.0 {
        let held = dataset.class_count(Split::Validation);
        let images = dataset.indices(Split::Validation).len();
        dataset.description.push_str(&format!(
            "; {held} of the training classes ({images} images) held out for validation"
        ));
    }
    Ok(dataset)
}

fn recognise(config: &DataConfig) -> Result<(Dataset, Option<Vec<u32>>), Error> {
    let lists = lists(config)?;
    let kind = match (config.kind, &lists, &config.path) {
        (Some(kind), _, _) => kind,
        (None, Some(_), _) => Kind::List,
        (None, None, None) => Kind::Glyphs,
        (None, None, Some(path)) => look(path)?,
    };
    if kind == Kind::Glyphs {
        let (mut dataset, families) = glyphs::open(&config.glyphs)?;
        if config.path.is_some() || lists.is_some() {
            dataset.warnings.push(
                "glyphs are drawn, not read: `data.path` and the lists are not used".to_owned(),
            );
        }
        return Ok((dataset, Some(families)));
    }
    let dataset = match (kind, lists, &config.path) {
        (Kind::List, Some([train, test]), _) => list::open_two(&train, &test)?,
        (_, _, None) => {
            return Err(Error::NoPath { kind, expected: expected(kind) });
        }
        (_, _, Some(path)) if !path.exists() => return Err(Error::NotFound { path: path.clone() }),
        (Kind::Omniglot, _, Some(path)) => omniglot::open(path)?,
        (Kind::List, None, Some(path)) if path.is_dir() => match list::pair_in(path) {
            Some([train, test]) => list::open_two(&train, &test)?,
            None => {
                return Err(Error::NotADataset { path: path.clone(), expected: expected(kind) });
            }
        },
        (Kind::List, None, Some(path)) => list::open_one(path, config)?,
        (_, _, Some(path)) if path.is_dir() => folder::open(path, config)?,
        (_, _, Some(path)) => {
            return Err(Error::NotADataset { path: path.clone(), expected: expected(kind) });
        }
    };
    Ok((dataset, None))
}

/// What lies at the path.
fn look(path: &Path) -> Result<Kind, Error> {
    let wrong = |expected| Err(Error::NotADataset { path: path.to_owned(), expected });
    if !path.exists() {
        Err(Error::NotFound { path: path.to_owned() })
    } else if path.is_dir() {
        Ok(match (omniglot::halves_in(path), list::pair_in(path)) {
            (2, _) => Kind::Omniglot,
            (_, Some(_)) => Kind::List,
            (1, None) => Kind::Omniglot,
            _ => Kind::Folder,
        })
    } else if has_ending(path, &LIST_ENDINGS) {
        Ok(Kind::List)
    } else if has_ending(path, &["zip"]) {
        match omniglot::other_half(path) {
            Some(missing) => Err(Error::OmniglotHalf { path: path.to_owned(), missing }),
            None => wrong(
                "a zip alone does not say which class its images have; put train.txt and test.txt (lines `path inside the zip,label`) beside it and give the folder, or unpack it",
            ),
        }
    } else {
        wrong(
            "expected a folder of class folders, a list of images (txt, csv, tsv), or an Omniglot folder",
        )
    }
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Glyphs => "nothing, glyphs are drawn",
        Kind::Omniglot => omniglot::EXPECTED,
        Kind::List => {
            "expected a list (txt, csv, tsv) of lines `path,label`, or a folder with train.txt and test.txt"
        }
        Kind::Folder => "expected a folder with one sub-folder of images per class",
    }
}

/// Both lists or none. A list that is not there is looked for below the path.
fn lists(config: &DataConfig) -> Result<Option<[PathBuf; 2]>, Error> {
    let (train, test) = match (&config.train_list, &config.test_list) {
        (None, None) => return Ok(None),
        (Some(train), Some(test)) => (train, test),
        (Some(_), None) => {
            return Err(Error::OneList { given: "data.train-list", missing: "data.test-list" });
        }
        (None, Some(_)) => {
            return Err(Error::OneList { given: "data.test-list", missing: "data.train-list" });
        }
    };
    let place = |list: &PathBuf| {
        let below = config.path.as_ref().map(|path| path.join(list));
        match below {
            Some(below) if !list.is_file() && below.is_file() => Ok(below),
            _ if list.is_file() => Ok(list.clone()),
            _ => Err(Error::NotFound { path: list.clone() }),
        }
    };
    Ok(Some([place(train)?, place(test)?]))
}

fn check(dataset: &Dataset, origin: Option<&Path>) -> Result<(), Error> {
    let classes = Split::ALL.iter().map(|&split| dataset.class_count(split)).sum();
    if classes < 2 {
        let path = origin.unwrap_or(Path::new("glyphs")).to_owned();
        return Err(Error::TooFewClasses { path, classes });
    }
    Ok(())
}

/// Every split that has classes must have a pair to learn from or to find.
fn check_pairs(dataset: &Dataset, origin: Option<&Path>) -> Result<(), Error> {
    for split in Split::ALL {
        let sizes = dataset.class_sizes(split);
        let classes = dataset.class_count(split);
        if classes > 0 && sizes.iter().all(|&size| size < 2) {
            let origin = origin.map_or("glyphs".to_owned(), |path| path.display().to_string());
            return Err(Error::NoPairs { origin, split: split.adjective(), classes });
        }
    }
    Ok(())
}
