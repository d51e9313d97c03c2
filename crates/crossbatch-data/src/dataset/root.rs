//! Where the files of a data set lie: in a folder, in archives beside them, or in an archive alone.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{Archive, is_archive};
use crate::dataset::ImageSource;
use crate::dataset::walk::children;
use crate::error::Error;

/// Folders in which the publishers put archives and lists.
const INNER: [&str; 6] = ["Img", "Anno", "Eval", "devkit", "train_test_split", "attribute"];

/// A folder with the archives in it, or one archive.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    archives: OnceCell<(Vec<Arc<Archive>>, Vec<Error>)>,
}

/// A file of text, found.
pub(crate) struct Text {
    /// The file; in an archive, the archive's path with the entry's below it.
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

impl Root {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), archives: OnceCell::new() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The archives, opened when they are first needed, and why others cannot be.
    fn opened(&self) -> &(Vec<Arc<Archive>>, Vec<Error>) {
        self.archives.get_or_init(|| {
            let mut files = Vec::new();
            if self.path.is_dir() {
                let inner = INNER.iter().map(|name| self.path.join(name));
                for folder in [self.path.clone()].into_iter().chain(inner) {
                    if folder.is_dir() {
                        files.extend(children(&folder).map_or(Vec::new(), |(_, files)| files));
                    }
                }
            } else {
                files.push(self.path.clone());
            }
            let (mut archives, mut broken) = (Vec::new(), Vec::new());
            for file in files.iter().filter(|file| is_archive(file)) {
                match Archive::open(file) {
                    Ok(archive) => archives.push(Arc::new(archive)),
                    Err(error) => broken.push(error),
                }
            }
            (archives, broken)
        })
    }

    /// Archives that cannot be opened, once they were needed.
    pub(crate) fn into_broken(self) -> Vec<Error> {
        self.archives.into_inner().map_or(Vec::new(), |(_, broken)| broken)
    }

    /// The image at the first of these paths where there is a file.
    pub(crate) fn image(&self, prefixes: &[&str], path: &str) -> Option<ImageSource> {
        if self.path.is_dir() {
            let files = prefixes.iter().map(|prefix| self.path.join(prefix).join(path));
            if let Some(file) = files.into_iter().find(|file| file.is_file()) {
                return Some(ImageSource::File(file));
            }
        }
        self.opened().0.iter().find_map(|archive| {
            let entry =
                prefixes.iter().find_map(|prefix| archive.find(&format!("{prefix}{path}")))?;
            Some(ImageSource::Archived { archive: Arc::clone(archive), entry })
        })
    }

    /// Where the image would be, had it been there.
    pub(crate) fn absent(&self, prefixes: &[&str], path: &str) -> ImageSource {
        ImageSource::File(self.path.join(prefixes.first().unwrap_or(&"")).join(path))
    }

    /// The first of these files, in folders only.
    pub(crate) fn file(&self, names: &[&str]) -> Option<PathBuf> {
        names.iter().map(|name| self.path.join(name)).find(|file| file.is_file())
    }

    /// The first of these files, in folders or else in archives.
    pub(crate) fn text(&self, names: &[&str]) -> Result<Option<Text>, Error> {
        if let Some(path) = self.file(names) {
            let bytes = fs_err::read(&path)?;
            return Ok(Some(Text { path, bytes }));
        }
        for archive in &self.opened().0 {
            for name in names {
                if let Some(entry) = archive.find(name) {
                    let path = archive.path().join(name);
                    return Ok(Some(Text { path, bytes: archive.read(entry)? }));
                }
            }
        }
        Ok(None)
    }

    /// Files of the folder itself whose names start and end so, sorted.
    pub(crate) fn files_like(&self, start: &str, end: &str) -> Vec<PathBuf> {
        let files = children(&self.path).map_or(Vec::new(), |(_, files)| files);
        let fits = |file: &PathBuf| {
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(start) && name.ends_with(end)
        };
        files.into_iter().filter(fits).collect()
    }
}
