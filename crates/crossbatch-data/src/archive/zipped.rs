//! Zip archives.

use std::collections::HashSet;
use std::io::{self, BufReader, Read};
use std::path::Path;

use zip::ZipArchive;
use zip::result::ZipError;

use super::handle::Handle;
use super::{LARGEST_ENTRY, fault_of};
use crate::error::Error;

pub(super) struct Zipped {
    zip: ZipArchive<Handle>,
    /// The number in the zip of each file: folders are left out.
    entries: Vec<usize>,
}

impl Zipped {
    /// The archive and the names of its files.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<String>), Error> {
        let handle = Handle::open(path)?;
        let fail = |source| Error::Archive { path: path.to_owned(), entry: None, source };
        let zip = ZipArchive::new(handle.clone()).map_err(fail)?;
        let again = repeated(&handle.at(zip.central_directory_start())).map_err(ZipError::Io);
        if let Some(name) = again.map_err(fail)? {
            let name = String::from_utf8_lossy(&name);
            return Err(fault_of(path, Some(&name), "the archive holds two entries of this name"));
        }
        let (mut entries, mut names) = (Vec::new(), Vec::new());
        for index in 0..zip.len() {
            let Some(Ok(name)) = zip.name_for_index(index) else {
                let name = format!("number {}", index + 1);
                return Err(fault_of(path, Some(&name), "the name is not text"));
            };
            if !name.ends_with('/') {
                entries.push(index);
                names.push(name.into_owned());
            }
        }
        Ok((Self { zip, entries }, names))
    }

    pub(super) fn read(&self, path: &Path, index: usize, name: &str) -> Result<Vec<u8>, Error> {
        // Cheap: the directory is shared, only the reading position is this thread's own.
        let mut zip = self.zip.clone();
        let read = |zip: &mut ZipArchive<Handle>| {
            let entry = zip.by_index(self.entries[index])?;
            let mut bytes = Vec::with_capacity(entry.size().min(1 << 20) as usize);
            let read = entry.take(LARGEST_ENTRY + 1).read_to_end(&mut bytes)?;
            if read as u64 > LARGEST_ENTRY {
                return Err(ZipError::UnsupportedArchive("the entry is longer than 256 MiB"));
            }
            Ok(bytes)
        };
        read(&mut zip).map_err(|source| Error::Archive {
            path: path.to_owned(),
            entry: Some(name.to_owned()),
            source,
        })
    }
}

/// The first name that the central directory holds twice: of two entries the reader would silently
/// keep the last.
fn repeated(directory: &Handle) -> io::Result<Option<Vec<u8>>> {
    const RECORD: usize = 46;
    let mut directory = BufReader::new(directory.clone());
    let mut seen = HashSet::new();
    let mut record = [0; RECORD];
    loop {
        // What follows the directory may be shorter than a record.
        match directory.read_exact(&mut record) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        if record[..4] != *b"PK\x01\x02" {
            return Ok(None);
        }
        let length =
            |place: usize| usize::from(u16::from_le_bytes([record[place], record[place + 1]]));
        let mut name = vec![0; length(28)];
        directory.read_exact(&mut name)?;
        io::copy(&mut directory.by_ref().take((length(30) + length(32)) as u64), &mut io::sink())?;
        if !seen.insert(name.clone()) {
            return Ok(Some(name));
        }
    }
}
