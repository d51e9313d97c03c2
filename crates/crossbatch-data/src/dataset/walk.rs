//! Walking folders in a fixed order.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// Endings of files that can be decoded.
pub(crate) const IMAGE_ENDINGS: [&str; 6] = ["png", "jpg", "jpeg", "webp", "bmp", "gif"];

/// Endings of what often lies beside images and surprises nobody.
const SIDECARS: [&str; 12] =
    ["txt", "md", "csv", "tsv", "json", "xml", "html", "pdf", "mat", "db", "ini", "yaml"];

/// Deeper folders are a mistake, or a loop.
const DEEPEST: usize = 32;

pub(crate) fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| endings.iter().any(|known| ending.eq_ignore_ascii_case(known)))
}

pub(crate) fn is_image(path: &Path) -> bool {
    has_ending(path, &IMAGE_ENDINGS)
}

/// Sub-folders and files of a folder, hidden ones left out, each sorted by name.
pub(crate) fn children(folder: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
    let (mut folders, mut files) = (Vec::new(), Vec::new());
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Follows links; a dangling one counts as a file and is reported when it is read. Reading a
        // pipe, a socket or a device could wait for ever, so those are passed over.
        match fs_err::metadata(entry.path()) {
            Ok(data) if data.is_dir() => folders.push(entry.path()),
            Ok(data) if !data.is_file() => {}
            _ => files.push(entry.path()),
        }
    }
    folders.sort();
    files.sort();
    Ok((folders, files))
}

/// What a walk found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) images: Vec<PathBuf>,
    /// Files that are neither images nor the usual things beside them.
    pub(crate) odd: Vec<PathBuf>,
}

impl Found {
    /// Adds all files below a folder: its own first, then those of its sub-folders.
    pub(crate) fn walk(&mut self, folder: &Path) -> Result<(), Error> {
        self.descend(folder, &mut Vec::new())
    }

    fn descend(&mut self, folder: &Path, above: &mut Vec<PathBuf>) -> Result<(), Error> {
        let real = fs_err::canonicalize(folder)?;
        if above.contains(&real) || above.len() >= DEEPEST {
            return Ok(());
        }
        above.push(real);
        let (folders, files) = children(folder)?;
        for file in files {
            self.add(file);
        }
        for folder in folders {
            self.descend(&folder, above)?;
        }
        above.pop();
        Ok(())
    }

    fn add(&mut self, file: PathBuf) {
        if is_image(&file) {
            self.images.push(file);
        } else if !has_ending(&file, &SIDECARS) {
            self.odd.push(file);
        }
    }

    pub(crate) fn odd_warning(&self) -> Option<String> {
        let first = self.odd.first()?;
        Some(format!(
            "{} file(s) are not images that can be read ({}) and were left out, first {}",
            self.odd.len(),
            IMAGE_ENDINGS.join(", "),
            first.display()
        ))
    }
}

/// The path below a root, with `/` between the parts.
pub(crate) fn name_below(root: &Path, path: &Path) -> String {
    let below = path.strip_prefix(root).unwrap_or(path);
    below.iter().map(|part| part.to_string_lossy()).collect::<Vec<_>>().join("/")
}
