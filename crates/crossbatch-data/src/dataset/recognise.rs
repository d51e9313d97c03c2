//! From what a user typed to a data set.

use std::path::{Path, PathBuf};

use crate::archive::is_archive;
use crate::dataset::findings::Findings;
use crate::dataset::list_file::LIST_ENDINGS;
use crate::dataset::root::Root;
use crate::dataset::split::{hold_fold, hold_out};
use crate::dataset::walk::{children, has_ending};
use crate::dataset::{
    DataConfig, Dataset, Expected, Kind, Protocol, Split, cars, cub, folder, inaturalist, inshop,
    list, omniglot, sop, vehicle_id,
};
use crate::error::Error;
use crate::glyphs;

/// Opens the data set that the configuration names.
///
/// Without a path and lists it is the built-in glyphs. Otherwise the first kind of [`Kind::ALL`] whose files
/// lie at the path; [`Kind::layout`] says what they are, `docs/data.md` says all of it. Official splits are
/// kept; one list and class folders have their classes split. No class is ever in two splits.
/// [`DataConfig::kind`] skips the looking.
///
/// # Errors
///
/// The first thing that is wrong, with file and line; [`verify`](crate::verify) tells all. Nothing is decoded
/// here: [`load`](crate::load) finds images that cannot be read.
pub fn open(config: &DataConfig) -> Result<Dataset, Error> {
    config.check()?;
    let mut findings = Findings::default();
    let (mut dataset, groups) = recognise(config, &mut findings)?;
    if let Some(error) = findings.into_error() {
        return Err(error);
    }
    let origin = config.path.as_deref().or(config.train_list.as_deref());
    check(&dataset, origin)?;
    check_expected(&dataset, &config.expected)?;
    let groups = groups.as_deref();
    hold_out(&mut dataset, groups, config.validation, config.split_seed)?;
    hold_fold(&mut dataset, groups, config.folds, config.fold)?;
    check_pairs(&dataset, origin)?;
    if config.validation > 0.0 || config.folds > 0 {
        let held = dataset.class_count(Split::Validation);
        let images = dataset.indices(Split::Validation).len();
        let fold = match config.folds {
            0 => String::new(),
            folds => format!(", fold {} of {folds}", config.fold),
        };
        dataset.description.push_str(&format!(
            "; {held} of the training classes ({images} images) held out for validation{fold}"
        ));
    }
    Ok(dataset)
}

/// Classes that belong together, a group for each; or none.
type Groups = Option<Vec<u32>>;

pub(crate) fn recognise(
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<(Dataset, Groups), Error> {
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
        dataset.protocol = with_protocol(config, &dataset)?;
        return Ok((dataset, Some(families)));
    }
    if config.rotations && kind != Kind::Omniglot {
        return Err(Error::Setting {
            key: "data.rotations",
            value: "true".to_owned(),
            expected: format!("false: only omniglot has them, and this is {kind}"),
        });
    }
    let mut dataset = match (kind, lists, &config.path) {
        (Kind::List, Some([train, test]), _) => list::open_two(&train, &test, config, findings)?,
        (_, _, None) => {
            return Err(Error::NoPath { kind, expected: kind.layout() });
        }
        (_, _, Some(path)) if !path.exists() => return Err(Error::NotFound { path: path.clone() }),
        (Kind::Omniglot, _, Some(path)) => omniglot::open(path, config.rotations)?,
        (Kind::List, None, Some(path)) if path.is_dir() => match list::pair_in(path) {
            Some([train, test]) => list::open_two(&train, &test, config, findings)?,
            None => {
                return Err(Error::NotADataset { path: path.clone(), expected: expected(kind) });
            }
        },
        (Kind::List, None, Some(path)) => list::open_one(path, config, findings)?,
        (Kind::Folder, _, Some(path)) if path.is_dir() => folder::open(path, config)?,
        (Kind::Glyphs | Kind::Folder, _, Some(path)) => {
            return Err(Error::NotADataset { path: path.clone(), expected: expected(kind) });
        }
        (official, _, Some(path)) => open_official(official, path, config, findings)?,
    };
    dataset.protocol = with_protocol(config, &dataset)?;
    let groups = (config.rotations).then(|| {
        // The turns of a character follow all training characters, in the same order.
        let trained = dataset.class_count(Split::Train) as u32 / 4;
        let tested = dataset.class_count(Split::Test) as u32;
        let group = |class: u32| match class.checked_sub(trained + tested) {
            None => class,
            Some(turned) => turned % trained.max(1),
        };
        (0..dataset.classes.len() as u32).map(group).collect()
    });
    Ok((dataset, groups))
}

/// A data set with lists of its publisher.
fn open_official(
    kind: Kind,
    path: &Path,
    config: &DataConfig,
    findings: &mut Findings,
) -> Result<Dataset, Error> {
    let root = Root::new(path);
    let missing = findings.missing.len();
    let mut dataset = match kind {
        Kind::Sop => sop::open(&root, config, findings)?,
        Kind::InShop => inshop::open(&root, config, findings)?,
        Kind::VehicleId => vehicle_id::open(&root, config, findings)?,
        Kind::Cub => cub::open(&root, config, findings)?,
        Kind::Cars196 => cars::open(&root, config, findings)?,
        _ => inaturalist::open(&root, config, findings)?,
    };
    let broken = root.into_broken();
    if findings.missing.len() > missing {
        // An archive that cannot be opened is the likely reason.
        findings.faults.splice(0..0, broken);
    } else {
        dataset.warnings.extend(broken.into_iter().map(|error| format!("left out: {error}")));
    }
    if dataset.samples.is_empty() && findings.faults.is_empty() {
        findings.fault(Error::NotADataset { path: path.to_owned(), expected: expected(kind) });
    }
    Ok(dataset)
}

/// What is asked for, or what the data set's own list says.
fn with_protocol(config: &DataConfig, dataset: &Dataset) -> Result<Protocol, Error> {
    match config.protocol {
        None => Ok(dataset.protocol),
        Some(Protocol::QueryGallery) if dataset.protocol != Protocol::QueryGallery => {
            Err(Error::Setting {
                key: "data.protocol",
                value: "query-gallery".to_owned(),
                expected: format!(
                    "`all` or `one-gallery`: {} does not say which images are queries",
                    dataset.kind
                ),
            })
        }
        Some(protocol) => Ok(protocol),
    }
}

/// What lies at the path.
fn look(path: &Path) -> Result<Kind, Error> {
    let wrong = |expected| Err(Error::NotADataset { path: path.to_owned(), expected });
    if !path.exists() {
        Err(Error::NotFound { path: path.to_owned() })
    } else if path.is_dir() {
        let halves = omniglot::halves_in(path);
        if halves == 2 {
            return Ok(Kind::Omniglot);
        }
        if let Some(kind) = official(&Root::new(path)) {
            return Ok(kind);
        }
        Ok(match (list::pair_in(path), halves) {
            (Some(_), _) => Kind::List,
            (None, 1) => Kind::Omniglot,
            _ => archived(path)?.unwrap_or(Kind::Folder),
        })
    } else if has_ending(path, &LIST_ENDINGS) {
        Ok(Kind::List)
    } else if is_archive(path) {
        if let Some(missing) = omniglot::other_half(path) {
            return Err(Error::OmniglotHalf { path: path.to_owned(), missing });
        }
        match official_name(path) {
            Some(kind) => Ok(kind),
            None => wrong(
                "an archive alone does not say which class its images have; put train.txt and test.txt (lines `path inside the archive,label`) beside it and give the folder, or unpack it",
            ),
        }
    } else {
        wrong(
            "expected a folder of class folders, a list of images (txt, csv, tsv), or the folder of a data set (`crossbatch data list` says which)",
        )
    }
}

/// The data set whose lists lie in a folder.
fn official(root: &Root) -> Option<Kind> {
    /// Whether a folder looks like a kind.
    type Looks = fn(&Root) -> bool;
    let kinds: [(Looks, Kind); 6] = [
        (sop::fits, Kind::Sop),
        (inshop::fits, Kind::InShop),
        (vehicle_id::fits, Kind::VehicleId),
        (cub::fits, Kind::Cub),
        (cars::fits, Kind::Cars196),
        (inaturalist::fits, Kind::INaturalist),
    ];
    kinds.into_iter().find(|(fits, _)| fits(root)).map(|(_, kind)| kind)
}

/// The data set whose archive is called so by its publisher.
fn official_name(archive: &Path) -> Option<Kind> {
    let name = archive.file_name()?.to_str()?;
    [("Stanford_Online_Products", Kind::Sop), ("CUB_200_2011", Kind::Cub)]
        .into_iter()
        .find(|(start, _)| name.starts_with(start))
        .map(|(_, kind)| kind)
}

/// The data set whose archive lies in a folder without lists.
fn archived(folder: &Path) -> Result<Option<Kind>, Error> {
    let (folders, files) = children(folder)?;
    let archives = files.iter().filter(|file| is_archive(file));
    Ok(if folders.is_empty() {
        archives.filter_map(|file| official_name(file)).next()
    } else {
        None
    })
}

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Omniglot => omniglot::EXPECTED,
        Kind::List => {
            "expected a list (txt, csv, tsv) of lines `path,label`, or a folder with train.txt and test.txt"
        }
        Kind::Folder => "expected a folder with one sub-folder of images per class",
        other => other.layout(),
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

/// What the recipe says must be there.
fn check_expected(dataset: &Dataset, expected: &Expected) -> Result<(), Error> {
    let classes = Split::ALL.iter().map(|&split| dataset.class_count(split)).sum();
    let both = [
        ("classes", classes, expected.classes),
        ("images", dataset.samples.len(), expected.images),
    ];
    for (what, found, expected) in both {
        if let Some(expected) = expected.filter(|&expected| expected != found) {
            let description = dataset.description.clone();
            return Err(Error::Expected { description, what, found, expected });
        }
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
