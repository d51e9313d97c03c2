//! Several NumPy arrays in a zip, as `numpy.savez` and `numpy.savez_compressed` write them.

use std::{
    collections::BTreeMap,
    io::{BufReader, Read},
    path::Path,
};

use zip::ZipArchive;

use super::{
    Embeddings, FileError, Labels,
    array::Array,
    container::{self, Container},
    error::Place,
    npy,
};

/// Embeddings do not shrink to a part of this size; what claims to, and is large, is a trap.
const SHRINKS_TO: u64 = 200;
const LARGE: u64 = 256 << 20;

struct Npz<'a> {
    place: Place<'a>,
    archive: ZipArchive<BufReader<fs_err::File>>,
    arrays: Vec<(String, Array)>,
    /// The entry of each array, and where its bytes begin in it.
    entries: Vec<(usize, usize)>,
    metadata: BTreeMap<String, String>,
}

impl<'a> Npz<'a> {
    fn open(path: &'a Path) -> Result<Self, FileError> {
        let place = Place::file(path);
        let file = BufReader::new(fs_err::File::open(path)?);
        let damaged = |error| {
            let found = format!("it is no readable zip ({error})");
            place.error(found, "save it with numpy.savez")
        };
        let mut archive = ZipArchive::new(file).map_err(damaged)?;
        let (mut arrays, mut entries) = (Vec::new(), Vec::new());
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).map_err(damaged)?;
            let name = entry.name().map_err(damaged)?;
            let Some(name) = name.strip_suffix(".npy").map(str::to_owned) else { continue };
            let at = format!("`{name}`");
            let place = place.at(&at);
            let (size, packed) = (entry.size(), entry.compressed_size());
            if size > LARGE && size / SHRINKS_TO > packed {
                return Err(place.error(
                    format!("{packed} bytes that claim to unpack to {size}"),
                    "no embeddings shrink like that: if they do, save them with numpy.savez, unpacked",
                ));
            }
            let (array, start) = npy::read_header(&mut entry, place)?;
            let expected = array.bytes().unwrap_or(usize::MAX).saturating_add(start) as u64;
            if size != expected {
                return Err(place.error(
                    format!("{size} bytes for the shape {:?} of {}", array.shape, array.element),
                    format!("expected {expected}: the file is damaged, write it again"),
                ));
            }
            arrays.push((name, array));
            entries.push((index, start));
        }
        Ok(Self { place, archive, arrays, entries, metadata: BTreeMap::new() })
    }
}

impl Container for Npz<'_> {
    fn arrays(&self) -> &[(String, Array)] {
        &self.arrays
    }

    fn open(&mut self, index: usize) -> Result<Box<dyn Read + '_>, FileError> {
        let (entry, start) = self.entries[index];
        let place = self.place;
        let mut entry = self.archive.by_index(entry).map_err(|error| {
            place.error(format!("it is no readable zip ({error})"), "save it with numpy.savez")
        })?;
        let mut header = vec![0; start];
        entry.read_exact(&mut header).map_err(|error| place.io(error))?;
        Ok(Box::new(Checked { entry, left: self.arrays[index].1.bytes().unwrap_or(0) }))
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

/// An entry whose checksum is looked at once its last byte is read: zips check theirs at the end only.
struct Checked<R> {
    entry: R,
    left: usize,
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.entry.read(buffer)?;
        if self.left > 0 {
            self.left = self.left.saturating_sub(read);
            if self.left == 0 {
                self.entry.read(&mut [0])?;
            }
        }
        Ok(read)
    }
}

/// Vectors with their labels, names and further columns.
pub(super) fn read(path: &Path) -> Result<Embeddings, FileError> {
    container::read(&mut Npz::open(path)?, true, Place::file(path))
}

/// The array `labels`, or the only one.
pub(super) fn read_labels(path: &Path) -> Result<Labels, FileError> {
    container::read_labels(&mut Npz::open(path)?, Place::file(path))
}
