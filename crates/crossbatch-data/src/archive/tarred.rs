//! Tar archives, plain or compressed with gzip.

use std::cell::RefCell;
use std::io::{self, Read};
use std::path::Path;

use super::gzip::Gzip;
use super::handle::Handle;
use super::{LARGEST_ENTRY, fault_of};
use crate::error::Error;

pub(super) struct Tarred {
    bytes: Bytes,
    /// Offset and length of each file.
    entries: Vec<(u64, u64)>,
}

enum Bytes {
    Plain(Handle),
    Gzip(Gzip),
}

/// Names, offsets and lengths of the files.
type Index = (Vec<String>, Vec<(u64, u64)>);

impl Tarred {
    /// The archive and the names of its files.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<String>), Error> {
        let handle = Handle::open(path)?;
        // The entry in hand when something goes wrong.
        let last = RefCell::new(None);
        let fail = |error: io::Error| {
            let what = match error.kind() {
                io::ErrorKind::UnexpectedEof => "the archive ends within it".to_owned(),
                _ => error.to_string(),
            };
            fault_of(path, last.borrow().as_deref(), &what)
        };
        let mut magic = [0; 2];
        let compressed =
            handle.clone().read(&mut magic).map_err(fail)? == 2 && magic == [0x1F, 0x8B];
        let (bytes, (names, entries)) = if compressed {
            let visit = |stream: &mut super::gzip::Stream| {
                let mut archive = tar::Archive::new(stream);
                index(archive.entries()?, u64::MAX, &last)
            };
            let (gzip, index) = Gzip::index(handle, visit).map_err(fail)?;
            (Bytes::Gzip(gzip), index)
        } else {
            let length = handle.length();
            let mut archive = tar::Archive::new(handle.clone());
            let entries = archive.entries_with_seek().map_err(fail)?;
            let index = index(entries, length, &last).map_err(fail)?;
            (Bytes::Plain(handle), index)
        };
        if names.is_empty() {
            return Err(fault_of(path, None, "it is no tar archive, or holds no file"));
        }
        Ok((Self { bytes, entries }, names))
    }

    pub(super) fn read(&self, path: &Path, index: usize, name: &str) -> Result<Vec<u8>, Error> {
        let (offset, length) = self.entries[index];
        let fail = |error: io::Error| fault_of(path, Some(name), &error.to_string());
        if length > LARGEST_ENTRY {
            return Err(fault_of(path, Some(name), "the entry is longer than 256 MiB"));
        }
        let mut bytes = Vec::new();
        match &self.bytes {
            Bytes::Plain(handle) => handle.at(offset).take(length).read_to_end(&mut bytes),
            Bytes::Gzip(gzip) => {
                gzip.at(offset).and_then(|s| s.take(length).read_to_end(&mut bytes))
            }
        }
        .map_err(fail)?;
        if bytes.len() as u64 != length {
            return Err(fault_of(path, Some(name), "the archive ends within it"));
        }
        Ok(bytes)
    }
}

fn index<R: Read>(
    entries: tar::Entries<'_, R>,
    length: u64,
    last: &RefCell<Option<String>>,
) -> io::Result<Index> {
    let (mut names, mut places) = (Vec::new(), Vec::new());
    for entry in entries {
        let entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned());
        let shown = match &name {
            Ok(name) => name.clone(),
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        };
        *last.borrow_mut() = Some(shown);
        let bad = |what| io::Error::new(io::ErrorKind::InvalidData, what);
        let kind = entry.header().entry_type();
        if kind.is_dir() || kind.is_pax_global_extensions() {
            continue;
        }
        if !kind.is_file() && !kind.is_contiguous() {
            return Err(bad("it is neither a file nor a folder (links are not followed)"));
        }
        let name = name.map_err(|_| bad("the name is not UTF-8"))?;
        let (offset, size) = (entry.raw_file_position(), entry.size());
        if offset.checked_add(size).is_none_or(|end| end > length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        names.push(name.strip_prefix("./").unwrap_or(&name).to_owned());
        places.push((offset, size));
    }
    Ok((names, places))
}
