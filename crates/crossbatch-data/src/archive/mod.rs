//! Zip and tar archives read in place, by many threads at once.
//!
//! An archive's directory is read once and checked: every name must be text, stay below the archive's
//! root and be there once. Its entries are read whenever they are asked for, each reader with a position
//! of its own.

mod gzip;
mod handle;
mod tarred;
mod zipped;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use tarred::Tarred;
use zipped::Zipped;

/// No image file is larger; a longer entry is a mistake or an attack.
const LARGEST_ENTRY: u64 = 256 << 20;

/// Endings of archives that can be read.
const ENDINGS: [&str; 4] = [".zip", ".tar", ".tar.gz", ".tgz"];

/// Whether a file is called an archive.
pub(crate) fn is_archive(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    ENDINGS.iter().any(|ending| name.ends_with(ending))
}

/// An opened archive.
pub(crate) struct Archive {
    path: PathBuf,
    form: Form,
    /// Names of the files inside, in the archive's order.
    names: Vec<String>,
    places: HashMap<String, usize>,
}

enum Form {
    Zip(Zipped),
    Tar(Tarred),
}

impl Archive {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let zip = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("zip"));
        let (form, names) = if zip {
            let (zip, names) = Zipped::open(path)?;
            (Form::Zip(zip), names)
        } else {
            let (tar, names) = Tarred::open(path)?;
            (Form::Tar(tar), names)
        };
        let mut places = HashMap::with_capacity(names.len());
        for (place, name) in names.iter().enumerate() {
            let fault = |fault: &str| fault_of(path, Some(name), fault);
            if let Some(what) = strays(name) {
                return Err(fault(what));
            }
            if places.insert(name.clone(), place).is_some() {
                return Err(fault("the archive holds two entries of this name"));
            }
        }
        Ok(Self { path: path.to_owned(), form, names, places })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers and names of the files inside, sorted by name.
    pub(crate) fn files(&self) -> Vec<(usize, String)> {
        let mut files: Vec<_> = self.names.iter().cloned().enumerate().collect();
        files.sort_by(|a, b| a.1.cmp(&b.1));
        files
    }

    /// The number of the entry with this name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The bytes of an entry, checked against their checksum where the archive has one.
    pub(crate) fn read(&self, index: usize) -> Result<Vec<u8>, Error> {
        match &self.form {
            Form::Zip(zip) => zip.read(&self.path, index, &self.names[index]),
            Form::Tar(tar) => tar.read(&self.path, index, &self.names[index]),
        }
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Why a name does not stay below the folder that it is relative to.
pub(crate) fn strays(name: &str) -> Option<&'static str> {
    let drive = name.as_bytes().get(1) == Some(&b':') && name.as_bytes()[0].is_ascii_alphabetic();
    if name.is_empty() {
        Some("the name is empty")
    } else if name.contains('\0') {
        Some("the name holds a zero byte")
    } else if name.starts_with(['/', '\\']) || drive {
        Some("the path is absolute; it must start at the data set's root")
    } else if name.split(['/', '\\']).any(|part| part == "..") {
        Some("the path leads out of the data set with `..`")
    } else {
        None
    }
}

fn fault_of(path: &Path, entry: Option<&str>, fault: &str) -> Error {
    let entry = entry.map(str::to_owned);
    Error::ArchiveFault { path: path.to_owned(), entry, fault: fault.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_must_stay_below_the_root() {
        for name in ["a/b.jpg", "a..b/c.jpg", "..a", "a b/ü.png", "ab:c"] {
            assert_eq!(strays(name), None, "{name}");
        }
        for name in ["../a", "a/../../b", "a\\..\\b", "/etc/a", "\\a", "C:/a", "", "a\0b"] {
            assert!(strays(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn archives_by_their_endings() {
        for name in ["a.zip", "A.ZIP", "a.tar", "a.tar.gz", "CUB.tgz"] {
            assert!(is_archive(Path::new(name)), "{name}");
        }
        assert!(!is_archive(Path::new("a.gz")) && !is_archive(Path::new("zip")));
    }
}
