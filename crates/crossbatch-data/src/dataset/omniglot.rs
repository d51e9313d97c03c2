//! Omniglot: `HALF/ALPHABET/characterNN/CCCC_DD.png`, as two zips or two folders.
//!
//! The background half trains, the evaluation half tests: no character and no alphabet is shared.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::Archive;
use crate::dataset::walk::{Found, is_image, name_below};
use crate::dataset::{Dataset, ImageSource, Kind, Sample, Split};
use crate::error::Error;

const HALVES: [(&str, Split); 2] =
    [("images_background", Split::Train), ("images_evaluation", Split::Test)];
/// The authors' two small sets of five alphabets each, two of them in both.
const SMALL: [(&str, Split); 2] =
    [("images_background_small1", Split::Train), ("images_background_small2", Split::Test)];

/// How many halves the folder holds.
pub(crate) fn halves_in(path: &Path) -> usize {
    parts_of(path).iter().filter(|(half, _)| find_half(path, half).is_some()).count()
}

/// The official halves; or the two small sets, where both are there and no official half is.
fn parts_of(path: &Path) -> [(&'static str, Split); 2] {
    let there = |(part, _): &(&str, Split)| find_half(path, part).is_some();
    if SMALL.iter().all(there) && !HALVES.iter().any(there) { SMALL } else { HALVES }
}

/// Whether a single zip is one half of Omniglot; names the other half.
pub(crate) fn other_half(zip: &Path) -> Option<&'static str> {
    let stem = zip.file_stem()?.to_str()?;
    let place = HALVES.iter().position(|(half, _)| stem.starts_with(half))?;
    Some(HALVES[1 - place].0)
}

pub(crate) fn open(path: &Path, rotations: bool) -> Result<Dataset, Error> {
    if path.is_file() {
        return Err(match other_half(path) {
            Some(missing) => Error::OmniglotHalf { path: path.to_owned(), missing },
            None => Error::NotADataset { path: path.to_owned(), expected: EXPECTED },
        });
    }
    let parts = parts_of(path);
    let small = parts == SMALL;
    let halves = parts.map(|(half, split)| (half, split, find_half(path, half)));
    match &halves {
        [(_, _, None), (_, _, None)] => {
            return Err(Error::NotADataset { path: path.to_owned(), expected: EXPECTED });
        }
        [(missing, _, None), _] | [_, (missing, _, None)] => {
            return Err(Error::OmniglotHalf { path: path.to_owned(), missing });
        }
        _ => {}
    }
    let mut dataset = Dataset::new(Kind::Omniglot);
    let mut zips = 0;
    for (half, split, place) in halves {
        let Some(place) = place else { continue };
        zips += usize::from(place.is_file());
        let files = if place.is_file() { in_zip(&place)? } else { in_folder(path, &place)? };
        let before = dataset.samples.len();
        // The official halves share no alphabet.
        let files = if small { apart(&mut dataset, files) } else { files };
        let strangers = add(&mut dataset, half, split, files);
        if dataset.samples.len() == before {
            return Err(Error::NotADataset { path: place, expected: LAYOUT });
        }
        if strangers > 0 {
            dataset.warnings.push(format!(
                "{strangers} image(s) in {} do not lie at {half}/ALPHABET/CHARACTER/ and were left out",
                place.display()
            ));
        }
    }
    let form = match zips {
        0 => "folders",
        2 => "zips",
        _ => "zip and folder",
    };
    if rotations {
        turn(&mut dataset);
    }
    dataset.description = format!("omniglot {form} in {}: {}", path.display(), dataset.counts());
    Ok(dataset)
}

/// Adds every training character turned by 90, 180 and 270 degrees, each turn a class of its own, as in
/// Santoro et al., "Meta-Learning with Memory-Augmented Neural Networks", ICML 2016.
fn turn(dataset: &mut Dataset) {
    let trained: Vec<Sample> =
        dataset.samples.iter().filter(|sample| sample.split == Split::Train).cloned().collect();
    // Training classes come first.
    let classes = dataset.class_count(Split::Train);
    for quarters in 1..=3u8 {
        let (first, angle) = (dataset.classes.len() as u32, 90 * u32::from(quarters));
        let name = |name: &String| format!("{name}@{angle}");
        let names: Vec<String> = dataset.classes[..classes].iter().map(name).collect();
        dataset.classes.extend(names);
        dataset.samples.extend(trained.iter().map(|sample| {
            let of = Arc::new(sample.source.clone());
            let source = ImageSource::Turned { quarters, of };
            Sample::new(name(&sample.name), first + sample.class, Split::Train, source)
        }));
    }
}

pub(crate) const EXPECTED: &str = "expected a folder with images_background.zip and images_evaluation.zip, or those two folders unpacked";
const LAYOUT: &str = "expected ALPHABET/CHARACTER/IMAGE.png in it, below the name of the half";

fn find_half(path: &Path, half: &str) -> Option<PathBuf> {
    let zip = path.join(format!("{half}.zip"));
    let folder = path.join(half);
    if zip.is_file() { Some(zip) } else { folder.is_dir().then_some(folder) }
}

/// Names and sources of the images, sorted by name.
fn in_zip(zip: &Path) -> Result<Vec<(String, ImageSource)>, Error> {
    let archive = Arc::new(Archive::open(zip)?);
    let mut files = archive.files();
    files.retain(|(_, name)| is_image(Path::new(name)) && !name.starts_with("__MACOSX/"));
    let source = |entry| ImageSource::Archived { archive: Arc::clone(&archive), entry };
    Ok(files.into_iter().map(|(entry, name)| (name, source(entry))).collect())
}

fn in_folder(root: &Path, folder: &Path) -> Result<Vec<(String, ImageSource)>, Error> {
    let mut found = Found::default();
    found.walk(folder)?;
    let mut files: Vec<_> = found
        .images
        .into_iter()
        .map(|file| (name_below(root, &file), ImageSource::File(file)))
        .collect();
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

/// Leaves out alphabets that train already, which only the small sets share.
fn apart(dataset: &mut Dataset, files: Vec<(String, ImageSource)>) -> Vec<(String, ImageSource)> {
    let alphabet = |name: &str| name.split('/').nth(1).unwrap_or_default().to_owned();
    let trained: BTreeSet<String> =
        dataset.samples.iter().map(|sample| alphabet(&sample.name)).collect();
    let (shared, files): (Vec<_>, Vec<_>) =
        files.into_iter().partition(|(name, _)| trained.contains(&alphabet(name)));
    if !shared.is_empty() {
        let alphabets: BTreeSet<String> = shared.iter().map(|(name, _)| alphabet(name)).collect();
        let alphabets: Vec<String> = alphabets.into_iter().collect();
        dataset.warnings.push(format!(
            "{} test image(s) of alphabets that train ({}) were left out",
            shared.len(),
            alphabets.join(", ")
        ));
    }
    files
}

/// Adds the images of one half; returns how many lie elsewhere.
fn add(
    dataset: &mut Dataset,
    half: &str,
    split: Split,
    files: Vec<(String, ImageSource)>,
) -> usize {
    let mut strangers = 0;
    let mut last: Option<String> = None;
    for (name, source) in files {
        let parts: Vec<&str> = name.split('/').collect();
        let &[first, alphabet, character, _] = parts.as_slice() else {
            strangers += 1;
            continue;
        };
        if first != half {
            strangers += 1;
            continue;
        }
        // Sorted by name, so the images of a class follow one another.
        let class_name = format!("{alphabet}/{character}");
        if last.as_deref() != Some(&class_name) {
            dataset.classes.push(class_name.clone());
            last = Some(class_name);
        }
        let class = (dataset.classes.len() - 1) as u32;
        dataset.samples.push(Sample::new(name, class, split, source));
    }
    strangers
}
