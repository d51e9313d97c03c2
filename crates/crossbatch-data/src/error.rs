//! What can go wrong, and what to do about it.

use std::path::PathBuf;

use crate::dataset::Kind;

/// Errors of this crate. Each names the path, line or key, what was expected, and a way out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The given path is not there.
    #[error("there is nothing at {}; give a folder of class folders, a list of images, or an Omniglot folder", path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// A data set of this kind needs a path.
    #[error("a data set of kind `{kind}` needs `data.path`: {expected}")]
    NoPath {
        /// The kind asked for.
        kind: Kind,
        /// What the path should lead to.
        expected: &'static str,
    },
    /// The folder holds nothing at all.
    #[error("the folder {} is empty; expected one sub-folder of images per class, train.txt and test.txt, or the two Omniglot archives", path.display())]
    EmptyFolder {
        /// The folder.
        path: PathBuf,
    },
    /// There are files, but no class folder with an image in it.
    #[error("no images of known classes in {}; expected CLASS/IMAGE.png (or jpg, jpeg, webp, bmp, gif), train.txt and test.txt, or the two Omniglot archives", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// The path is not what the forced kind, or any kind, looks like.
    #[error("cannot read {} as a data set: {expected}", path.display())]
    NotADataset {
        /// The path as given.
        path: PathBuf,
        /// What was expected, and what to do.
        expected: &'static str,
    },
    /// One half of Omniglot is missing.
    #[error("{} holds only one half of Omniglot: `{missing}` (as a folder or .zip) is missing; put both halves into one folder and give that folder", path.display())]
    OmniglotHalf {
        /// The folder or archive.
        path: PathBuf,
        /// The half that is not there.
        missing: &'static str,
    },
    /// A zip archive cannot be opened or one of its entries cannot be read.
    #[error("cannot read {}{}: {source}; the archive may be incomplete, fetch it again", path.display(), entry.as_ref().map(|entry| format!(", entry {entry}")).unwrap_or_default())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// The entry, or none if the archive as a whole is bad.
        entry: Option<String>,
        /// What the reader said.
        source: zip::result::ZipError,
    },
    /// An archive whose entries cannot be trusted, or that ends too early.
    #[error("cannot use {}{}: {fault}; fetch the archive again or repack it", path.display(), entry.as_ref().map(|entry| format!(", entry {entry}")).unwrap_or_default())]
    ArchiveFault {
        /// The archive.
        path: PathBuf,
        /// The entry, or none if the archive as a whole is bad.
        entry: Option<String>,
        /// What is wrong.
        fault: String,
    },
    /// A MAT-file cannot be read or does not hold what it should.
    #[error("cannot read {} as MATLAB annotations: {fault}", path.display())]
    Mat {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: String,
    },
    /// A data set's list is not there.
    #[error("there is no {list} in {}; it says which images there are: put it there, or set `data.kind` if this is another data set", path.display())]
    NoList {
        /// The data set.
        path: PathBuf,
        /// The list.
        list: &'static str,
    },
    /// A record of a data set's list cannot be understood.
    #[error("{}:{line}: {fault} in `{text}`; expected {expected}", list.display())]
    Record {
        /// The list.
        list: PathBuf,
        /// Line number from 1; in MATLAB annotations the record's.
        line: usize,
        /// The record, shortened.
        text: String,
        /// What is wrong with it.
        fault: String,
        /// What a record looks like.
        expected: &'static str,
    },
    /// The data set does not hold what the recipe expects.
    #[error(
        "{description} holds {found} {what}, but `data.expected.{what} = {expected}`; the data set is incomplete or another one"
    )]
    Expected {
        /// What the data set was recognised as.
        description: String,
        /// `classes` or `images`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there should be.
        expected: usize,
    },
    /// A line of a list cannot be understood.
    #[error("{}:{line}: {fault} in `{text}`; expected `path,label`", list.display())]
    ListLine {
        /// The list.
        list: PathBuf,
        /// Line number from 1.
        line: usize,
        /// The line, shortened.
        text: String,
        /// What is wrong with it.
        fault: String,
    },
    /// A list holds no line with an image.
    #[error("{} lists no images; expected lines `path,label`", list.display())]
    ListEmpty {
        /// The list.
        list: PathBuf,
    },
    /// Files that a list names are neither beside it nor in a zip beside it.
    #[error("{missing} of {total} images of {} are neither beside it nor in a .zip beside it: {}; check the paths, which start at the list's folder", list.display(), first.join(", "))]
    ListMissing {
        /// The list.
        list: PathBuf,
        /// How many are missing.
        missing: usize,
        /// How many the list names.
        total: usize,
        /// The first few, as `path (line N)`.
        first: Vec<String>,
    },
    /// One image, two labels.
    #[error("{0}; an image can have one label only")]
    ListConflict(Box<Conflict>),
    /// Classes on both sides of the split.
    #[error("class `{class}` is in both {} and {} ({count} classes are); retrieval is tested on classes never trained on: remove them from one list", train.display(), test.display())]
    ClassesOverlap {
        /// The training list.
        train: PathBuf,
        /// The test list.
        test: PathBuf,
        /// The first class in both.
        class: String,
        /// How many classes are in both.
        count: usize,
    },
    /// Only one of the two lists was given.
    #[error(
        "`{given}` is set, but `{missing}` is not; set both, or give one list as `data.path` to have its classes split"
    )]
    OneList {
        /// The key that is set.
        given: &'static str,
        /// The key that is not.
        missing: &'static str,
    },
    /// Not enough classes to train on some and test on others.
    #[error("{} has {classes} class(es) with images; at least 2 are needed, some to train on and others to test on", path.display())]
    TooFewClasses {
        /// The data set.
        path: PathBuf,
        /// How many there are.
        classes: usize,
    },
    /// No class has two images.
    #[error(
        "none of the {classes} {split} classes of {origin} has two images, so nothing is similar to anything; give at least two images of some classes"
    )]
    NoPairs {
        /// The data set.
        origin: String,
        /// The split.
        split: &'static str,
        /// Its classes.
        classes: usize,
    },
    /// Too few training classes to hold some out.
    #[error(
        "`data.validation = {fraction}` cannot be held out of {classes} training classes: at least 2 must be held out and 2 must remain; set it to 0 or give more classes"
    )]
    Validation {
        /// The fraction asked for.
        fraction: f64,
        /// Training classes there are.
        classes: usize,
    },
    /// A setting is out of range.
    #[error("cannot use `{key} = {value}`; expected {expected}")]
    Setting {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// The allowed values.
        expected: String,
    },
    /// An image cannot be decoded.
    #[error("cannot read the image {name}: {reason}")]
    Image {
        /// Its path or entry.
        name: String,
        /// What the decoder said.
        reason: String,
    },
    /// A batch asks for more classes than there are.
    #[error(
        "`batch.classes = {wanted}`, but there are only {available} classes to draw from; set it to {available} or less, or give more classes"
    )]
    PlanClasses {
        /// Classes a batch.
        wanted: usize,
        /// Classes there are.
        available: usize,
    },
    /// A batch without pairs.
    #[error("`batch.classes = {classes}` and `batch.images = {images}` make a batch of {}; both must be at least 1 and their product at least 2", classes.saturating_mul(*images))]
    PlanEmpty {
        /// Classes a batch.
        classes: usize,
        /// Images a class.
        images: usize,
    },
    /// The file system failed; the message names the file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Two lines of lists that give an image different labels.
#[derive(Debug)]
#[non_exhaustive]
pub struct Conflict {
    /// The image.
    pub path: String,
    /// Where it is listed: list, line from 1, label; the earlier line first.
    pub places: [(PathBuf, usize, String); 2],
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [(earlier, first, was), (list, line, label)] = &self.places;
        let (list, earlier, path) = (list.display(), earlier.display(), &self.path);
        write!(
            f,
            "{list}:{line}: `{path}` has the label `{label}`, but `{was}` in {earlier}:{first}"
        )
    }
}
