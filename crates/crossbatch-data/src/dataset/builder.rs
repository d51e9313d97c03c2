//! From the records of an official list to a data set: classes, images, repeats and what is missing.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::archive::strays;
use crate::dataset::findings::{Findings, Missing};
use crate::dataset::root::Root;
use crate::dataset::text::fault;
use crate::dataset::{Dataset, GroupColumn, Kind, Region, Role, Sample, Split};
use crate::error::{Conflict, Error};

/// One image as a list has it.
pub(crate) struct Record<'a> {
    /// The list and the line or number of the record.
    pub(crate) place: (&'a Path, usize),
    /// Below the root, without the prefix that the list leaves out.
    pub(crate) path: &'a str,
    pub(crate) class: &'a str,
    pub(crate) split: Split,
    pub(crate) role: Role,
    pub(crate) region: Option<Region>,
    /// A value of each of the builder's columns.
    pub(crate) groups: &'a [&'a str],
}

/// Collects records.
pub(crate) struct Builder<'a> {
    pub(crate) dataset: Dataset,
    root: &'a Root,
    /// What lies between the root and the paths of the list; the first is official.
    prefixes: &'a [&'a str],
    images: bool,
    classes: HashMap<String, u32>,
    codes: Vec<HashMap<String, u32>>,
    /// For each path its sample and the list and line that first named it.
    seen: HashMap<String, (usize, PathBuf, usize)>,
    again: usize,
    /// What a record looks like, for faults.
    expected: &'static str,
}

impl<'a> Builder<'a> {
    pub(crate) fn new(
        kind: Kind,
        root: &'a Root,
        prefixes: &'a [&'a str],
        columns: &[&str],
        images: bool,
        expected: &'static str,
    ) -> Self {
        let mut dataset = Dataset::new(kind);
        let column =
            |name: &&str| GroupColumn { name: (*name).to_owned(), values: vec![], codes: vec![] };
        dataset.columns = columns.iter().map(column).collect();
        let codes = vec![HashMap::new(); columns.len()];
        let (classes, seen) = (HashMap::new(), HashMap::new());
        Self { dataset, root, prefixes, images, classes, codes, seen, again: 0, expected }
    }

    /// Adds an image. What is wrong with it goes to the findings.
    pub(crate) fn add(&mut self, record: &Record<'_>, findings: &mut Findings) {
        let &Record { place: (list, line), path, class, split, role, region, groups } = record;
        findings.listed += 1;
        if let Some(what) = strays(path) {
            findings.fault(fault(list, line, path, what, self.expected));
            return;
        }
        let path = path.strip_prefix("./").unwrap_or(path);
        if let Some((sample, first_list, first_line)) = self.seen.get(path) {
            let earlier = &self.dataset.samples[*sample];
            let was = &self.dataset.classes[earlier.class as usize];
            if was == class && earlier.split == split && earlier.role == role {
                self.again += 1;
                return;
            }
            let label = |class: &str, split: Split, role| match role {
                Role::Both => format!("{class} ({split})"),
                role => format!("{class} ({role})"),
            };
            let first = label(was, earlier.split, earlier.role);
            let places = [
                (first_list.clone(), *first_line, first),
                (list.to_owned(), line, label(class, split, role)),
            ];
            let conflict = Conflict { path: path.to_owned(), places };
            findings.fault(Error::ListConflict(Box::new(conflict)));
            return;
        }
        let source = match self.images.then(|| self.root.image(self.prefixes, path)) {
            Some(Some(source)) => source,
            Some(None) => {
                let (list, path) = (list.to_owned(), path.to_owned());
                findings.missing.push(Missing { list, line, path });
                self.root.absent(self.prefixes, record.path)
            }
            None => self.root.absent(self.prefixes, path),
        };
        let next = self.dataset.classes.len() as u32;
        let class = match self.classes.get(class) {
            Some(&class) => class,
            None => {
                self.classes.insert(class.to_owned(), next);
                self.dataset.classes.push(class.to_owned());
                next
            }
        };
        for ((column, codes), &value) in
            self.dataset.columns.iter_mut().zip(&mut self.codes).zip(groups)
        {
            let code = *codes.entry(value.to_owned()).or_insert_with(|| {
                column.values.push(value.to_owned());
                column.values.len() as u32 - 1
            });
            column.codes.push(code);
        }
        self.seen.insert(path.to_owned(), (self.dataset.samples.len(), list.to_owned(), line));
        let sample = Sample::new(path.to_owned(), class, split, source);
        self.dataset.samples.push(Sample { role, region, ..sample });
    }

    /// The data set, described as `what`. A class in training and test is a fault.
    pub(crate) fn finish(mut self, what: &str, findings: &mut Findings) -> Dataset {
        if self.again > 0 {
            let (again, s) = (self.again, if self.again == 1 { "" } else { "s" });
            let note =
                format!("{again} line{s} repeat an image and its label; each image counts once");
            self.dataset.warnings.push(note);
        }
        if let Some(error) = overlap(&self.dataset, self.root.path()) {
            findings.fault(error);
        }
        let (path, counts) = (self.root.path().display(), self.dataset.counts());
        self.dataset.description = format!("{what} in {path}: {counts}");
        self.dataset
    }
}

/// A class that trains and judges.
fn overlap(dataset: &Dataset, path: &Path) -> Option<Error> {
    let sizes = Split::ALL.map(|split| dataset.class_sizes(split));
    let both: Vec<usize> = (0..dataset.classes.len())
        .filter(|&class| sizes.iter().filter(|sizes| sizes[class] > 0).count() > 1)
        .collect();
    let &first = both.first()?;
    let place = path.to_owned();
    Some(Error::ClassesOverlap {
        train: place.clone(),
        test: place,
        class: dataset.classes[first].clone(),
        count: both.len(),
    })
}

/// Notes where a data set holds less or more than the full set. `full` gives classes and images of a split.
pub(crate) fn compare(dataset: &Dataset, full: &[(Split, usize, usize)], findings: &mut Findings) {
    for &(split, classes, images) in full {
        let found = (dataset.class_count(split), dataset.indices(split).len());
        if found != (classes, images) {
            findings.note(format!(
                "{} {} classes and {} images; the full set has {classes} and {images}",
                found.0,
                split.adjective(),
                found.1
            ));
        }
    }
}

/// Notes the files of the root folder that are no part of the layout.
pub(crate) fn strangers(root: &Root, known: impl Fn(&str) -> bool, findings: &mut Findings) {
    let usual = ["README", "LICENSE", "readme", "license"];
    let files = root.files_like("", "").into_iter().filter_map(|file| {
        let name = file.file_name()?.to_string_lossy().into_owned();
        let passed = known(&name) || usual.iter().any(|start| name.starts_with(start));
        (!passed && !crate::archive::is_archive(&file)).then_some(name)
    });
    let files: Vec<String> = files.collect();
    if !files.is_empty() {
        let shown = files.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if files.len() > 5 { ", …" } else { "" };
        findings.note(format!("{} file(s) are no part of the layout: {shown}{more}", files.len()));
    }
}
