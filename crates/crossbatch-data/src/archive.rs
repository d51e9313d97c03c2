//! Zip archives read in place, by many threads at once.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs_err::File;
use zip::ZipArchive;

use crate::error::Error;

/// No image file is larger; a longer entry is a mistake or an attack.
const LARGEST_ENTRY: u64 = 256 << 20;

/// An opened archive: its directory is read once, its entries whenever they are asked for.
pub(crate) struct Archive {
    path: PathBuf,
    zip: ZipArchive<Handle>,
}

impl Archive {
    pub(crate) fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let handle = Handle { file: Arc::new(file), position: 0, length };
        let zip = ZipArchive::new(handle).map_err(|source| Error::Archive {
            path: path.to_owned(),
            entry: None,
            source,
        })?;
        Ok(Self { path: path.to_owned(), zip })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Numbers and names of the files inside, sorted by name. Names that are not text are left out.
    pub(crate) fn files(&self) -> Vec<(usize, String)> {
        let named = |index| Some((index, self.zip.name_for_index(index)?.ok()?.into_owned()));
        let mut files: Vec<_> = (0..self.zip.len())
            .filter_map(named)
            .filter(|(_, name)| !name.ends_with('/'))
            .collect();
        files.sort_by(|a, b| a.1.cmp(&b.1));
        files
    }

    /// The number of the entry with this name.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.zip.index_for_name(name)
    }

    /// The bytes of an entry, checked against their checksum.
    pub(crate) fn read(&self, index: usize) -> Result<Vec<u8>, Error> {
        // Cheap: the directory is shared, only the reading position is this thread's own.
        let mut zip = self.zip.clone();
        let read = |zip: &mut ZipArchive<Handle>| {
            let entry = zip.by_index(index)?;
            let mut bytes = Vec::with_capacity(entry.size().min(1 << 20) as usize);
            let read = entry.take(LARGEST_ENTRY + 1).read_to_end(&mut bytes)?;
            if read as u64 > LARGEST_ENTRY {
                return Err(zip::result::ZipError::UnsupportedArchive(
                    "the entry is longer than 256 MiB",
                ));
            }
            Ok(bytes)
        };
        read(&mut zip).map_err(|source| Error::Archive {
            path: self.path.clone(),
            entry: self
                .zip
                .name_for_index(index)
                .and_then(Result::ok)
                .map(|name| name.into_owned()),
            source,
        })
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A shared file with a reading position of its own.
#[derive(Clone)]
struct Handle {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl Read for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let count = fs_err::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        #[cfg(windows)]
        let count =
            fs_err::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Handle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the archive points before its own start")
        })?;
        Ok(self.position)
    }
}
