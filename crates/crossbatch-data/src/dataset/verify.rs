//! A data set checked in full: lists, annotations, archives, and every image.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hasher};

use rayon::prelude::*;
use serde::Serialize;

use crate::dataset::findings::Findings;
use crate::dataset::recognise::recognise;
use crate::dataset::{DataConfig, Dataset, ImageSource, Kind, Role, Split, Subset};
use crate::decode::decode_rgb_bytes;
use crate::error::Error;

/// Images between two calls of the progress function.
const STRIDE: usize = 256;

/// What [`verify`] checks.
#[derive(Debug, Clone)]
pub struct VerifyConfig {
    /// The data set. With [`DataConfig::images`] off, only lists and annotations are checked.
    pub data: DataConfig,
}

/// What was found. Notes are no problems.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// What it was recognised as.
    pub kind: Option<Kind>,
    /// One line: what, where and how much.
    pub description: String,
    /// Each split, queries and gallery apart.
    pub parts: Vec<Part>,
    /// Names of what else is known of each image.
    pub columns: Vec<String>,
    /// Whether some images have a bounding box.
    pub boxes: bool,
    /// Images that were read.
    pub images_read: usize,
    /// Faults in lists, annotations and archives.
    pub faults: usize,
    /// Listed images that are not there.
    pub missing: usize,
    /// Images that are there and cannot be decoded.
    pub corrupt: usize,
    /// All of these.
    pub problems: Vec<Problem>,
    /// What is worth knowing and no problem.
    pub notes: Vec<String>,
}

/// Classes and images of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The split.
    pub split: Split,
    /// What its images do in a search.
    pub role: Role,
    /// Classes.
    pub classes: usize,
    /// Images.
    pub images: usize,
    /// Images of the smallest class.
    pub fewest: usize,
    /// Images of the class in the middle.
    pub median: usize,
    /// Images of the largest class.
    pub most: usize,
}

/// Something wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "problem", content = "message", rename_all = "kebab-case")]
pub enum Problem {
    /// A list, an annotation or an archive.
    Fault(String),
    /// A listed image that is not there.
    Missing(String),
    /// An image that cannot be decoded.
    Corrupt(String),
}

impl Problem {
    /// What is wrong, with file and line.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Fault(message) | Self::Missing(message) | Self::Corrupt(message) => message,
        }
    }
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks a data set. Every fault is told, not only the first.
///
/// `progress` is called with the number of images done and the total, from the calling thread.
///
/// # Errors
///
/// If there is nothing to check: no such path, no data set there, or a setting out of range.
pub fn verify(
    config: &VerifyConfig,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Verification, Error> {
    let config = &config.data;
    config.check()?;
    let mut findings = Findings::default();
    let dataset = match recognise(config, &mut findings) {
        Ok((dataset, _)) => Some(dataset),
        Err(
            error @ (Error::NotFound { .. }
            | Error::NotADataset { .. }
            | Error::EmptyFolder { .. }
            | Error::NoImages { .. }
            | Error::NoPath { .. }
            | Error::OneList { .. }
            | Error::Setting { .. }),
        ) => return Err(error),
        Err(error) => {
            findings.fault(error);
            None
        }
    };
    let mut found = Verification {
        kind: dataset.as_ref().map(|dataset| dataset.kind),
        description: dataset
            .as_ref()
            .map_or_else(|| "not opened".to_owned(), |dataset| dataset.description.clone()),
        parts: dataset.as_ref().map_or(Vec::new(), parts),
        columns: Vec::new(),
        boxes: false,
        images_read: 0,
        faults: 0,
        missing: 0,
        corrupt: 0,
        problems: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(dataset) = &dataset {
        found.columns = dataset.columns.iter().map(|column| column.name.clone()).collect();
        found.boxes = dataset.samples.iter().any(|sample| sample.region.is_some());
        found.notes.extend(dataset.warnings.iter().cloned());
        if dataset.kind == Kind::VehicleId {
            other_subsets(config, &mut findings);
        }
    }
    let absent: HashSet<String> = findings.missing.iter().map(|one| one.path.clone()).collect();
    found.notes.append(&mut findings.notes);
    let mut told = HashSet::new();
    let faults = findings.faults.iter().map(ToString::to_string);
    let faults = faults.filter(|fault| told.insert(fault.clone())).map(Problem::Fault);
    found.problems.extend(faults);
    found.faults = found.problems.len();
    let missing = findings
        .missing
        .iter()
        .map(|one| format!("{}:{}: `{}` is not there", one.list.display(), one.line, one.path));
    let mut told = HashSet::new();
    let missing = missing.filter(|one| told.insert(one.clone())).map(Problem::Missing);
    found.problems.extend(missing);
    found.missing = found.problems.len() - found.faults;
    if let (Some(dataset), true) = (&dataset, config.images) {
        read_all(dataset, &absent, &mut found, progress);
        found.corrupt = found.problems.len() - found.faults - found.missing;
    }
    Ok(found)
}

/// The other test lists of VehicleID, where they are there.
fn other_subsets(config: &DataConfig, findings: &mut Findings) {
    let subsets = [Subset::Small, Subset::Medium, Subset::Large];
    for subset in subsets.into_iter().filter(|&subset| subset != config.subset) {
        let mut other = Findings::default();
        let config = DataConfig { subset, kind: Some(Kind::VehicleId), ..config.clone() };
        if recognise(&config, &mut other).is_ok() {
            let absent = |error: &Error| matches!(error, Error::NoList { .. });
            if other.faults.iter().any(absent) {
                continue;
            }
            findings.faults.append(&mut other.faults);
            findings.missing.append(&mut other.missing);
        }
    }
}

fn parts(dataset: &Dataset) -> Vec<Part> {
    let mut parts = Vec::new();
    for split in Split::ALL {
        for role in [Role::Both, Role::Query, Role::Gallery] {
            let mut sizes = vec![0usize; dataset.classes.len()];
            let own = |one: &&crate::dataset::Sample| one.split == split && one.role == role;
            for sample in dataset.samples.iter().filter(own) {
                sizes[sample.class as usize] += 1;
            }
            sizes.retain(|&size| size > 0);
            sizes.sort_unstable();
            if let (Some(&fewest), Some(&most)) = (sizes.first(), sizes.last()) {
                let (classes, images) = (sizes.len(), sizes.iter().sum());
                let median = sizes[sizes.len() / 2];
                parts.push(Part { split, role, classes, images, fewest, median, most });
            }
        }
    }
    parts
}

/// Reads and decodes every image that is there; notes those that are there twice.
fn read_all(
    dataset: &Dataset,
    absent: &HashSet<String>,
    found: &mut Verification,
    progress: &(dyn Fn(usize, usize) + Sync),
) {
    let there = |index: &usize| {
        let sample = &dataset.samples[*index];
        // A turned picture is read once, as it lies; glyphs are not read at all.
        let read = matches!(sample.source, ImageSource::File(_) | ImageSource::Archived { .. });
        read && !absent.contains(&sample.name)
    };
    let indices: Vec<usize> = (0..dataset.samples.len()).filter(there).collect();
    let mut hashes: Vec<Option<(u64, usize)>> = Vec::with_capacity(indices.len());
    progress(0, indices.len());
    for part in indices.chunks(STRIDE) {
        let read: Vec<Result<(u64, usize), String>> =
            part.par_iter().map(|&index| read_one(dataset, index)).collect();
        for (&index, read) in part.iter().zip(read) {
            let name = &dataset.samples[index].name;
            match read {
                Ok(hash) => hashes.push(Some(hash)),
                Err(reason) => {
                    hashes.push(None);
                    found.problems.push(Problem::Corrupt(format!("{name}: {reason}")));
                }
            }
        }
        progress(hashes.len(), indices.len());
    }
    found.images_read = indices.len();
    found.notes.extend(duplicates(dataset, &indices, &hashes));
}

fn read_one(dataset: &Dataset, index: usize) -> Result<(u64, usize), String> {
    let sample = &dataset.samples[index];
    let bytes = sample.source.bytes().map_err(|error| error.to_string())?;
    decode_rgb_bytes(&sample.name, &bytes, 8).map_err(|error| match error {
        Error::Image { reason, .. } => reason,
        other => other.to_string(),
    })?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&bytes);
    Ok((hasher.finish(), bytes.len()))
}

/// Images whose files are equal, byte by byte: equal hashes only say where to look.
fn duplicates(
    dataset: &Dataset,
    indices: &[usize],
    hashes: &[Option<(u64, usize)>],
) -> Vec<String> {
    let mut first: HashMap<(u64, usize), usize> = HashMap::new();
    let (mut count, mut across, mut shown) = (0, 0, Vec::new());
    for (&index, hash) in indices.iter().zip(hashes) {
        let Some(hash) = *hash else { continue };
        let &mut earlier = first.entry(hash).or_insert(index);
        if earlier == index {
            continue;
        }
        let [one, two] = [earlier, index].map(|index| &dataset.samples[index]);
        let equal = matches!((one.source.bytes(), two.source.bytes()), (Ok(a), Ok(b)) if a == b);
        if equal {
            count += 1;
            across += usize::from(one.class != two.class);
            if shown.len() < 3 {
                shown.push(format!("{} = {}", two.name, one.name));
            }
        }
    }
    if count == 0 {
        return Vec::new();
    }
    let more = if count > shown.len() { ", …" } else { "" };
    let across = match across {
        0 => String::new(),
        across => format!(" ({across} under two classes)"),
    };
    vec![format!(
        "{count} image(s) are the same file as an earlier one{across}: {}{more}",
        shown.join(", ")
    )]
}
