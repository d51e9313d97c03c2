//! What a loader has to say besides the data.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Faults, absent images and notes, in the order in which they were found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// What is wrong with lists, annotations and archives.
    pub(crate) faults: Vec<Error>,
    /// Listed images that are not there.
    pub(crate) missing: Vec<Missing>,
    /// What is worth knowing and no fault.
    pub(crate) notes: Vec<String>,
    /// Images that lists name.
    pub(crate) listed: usize,
}

/// A listed image that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) list: PathBuf,
    /// From 1; the record's number in a list that has no lines.
    pub(crate) line: usize,
    pub(crate) path: String,
}

impl Findings {
    pub(crate) fn fault(&mut self, error: Error) {
        self.faults.push(error);
    }

    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// The first fault; or the missing images of the first list that misses some.
    pub(crate) fn into_error(self) -> Option<Error> {
        if let Some(fault) = self.faults.into_iter().next() {
            return Some(fault);
        }
        let list: &Path = &self.missing.first()?.list;
        let missing: Vec<&Missing> = self.missing.iter().filter(|one| one.list == list).collect();
        Some(Error::ListMissing {
            list: list.to_owned(),
            missing: missing.len(),
            total: self.listed,
            first: missing.iter().take(3).map(|one| one.to_string()).collect(),
        })
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` (line {})", self.path, self.line)
    }
}
