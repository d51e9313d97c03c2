//! A gallery that stays in its file.

use std::{
    fs::File,
    io,
    ops::Range,
    path::{Path, PathBuf},
};

use super::{
    FileError, FileFormat,
    array::{Array, Element},
    error::Place,
    npy,
    safetensors::Tensors,
};
use crate::vectors::first_not_finite;
use crate::{Precision, RowSource};

/// What is wrong with other formats, and what to do.
pub(super) const PACKED: &str = "its rows cannot be read where they lie";
pub(super) const IN_PLACE: &str = "expected .safetensors or .npy: convert it";

/// Values that are converted at once.
const PIECE: usize = 1 << 16;

/// Vectors `[N, D]` of a `.safetensors` or `.npy` file that are read where they lie, a few rows at a time: a gallery larger
/// than memory. Labels and names are read with [`Labels::read`](super::Labels::read).
///
/// Each read is positioned, so that threads do not wait for each other, and what the system keeps of the file in memory
/// serves the next one.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Embeddings, FileRows, RowSource};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("gallery.npy");
/// Embeddings::new(vec![1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], 2)?.save(&path)?;
///
/// let rows = FileRows::open(&path)?;
/// let mut some = [0.0; 4];
/// rows.read(1..3, &mut some)?;
/// assert_eq!(some, [3.0, 4.0, 5.0, 6.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct FileRows {
    path: PathBuf,
    file: File,
    array: Array,
    start: u64,
    rows: usize,
    dim: usize,
}

impl FileRows {
    /// Opens a file and finds its vectors.
    ///
    /// # Errors
    ///
    /// As [`Embeddings::read`](super::Embeddings::read); packed and textual files, and arrays that keep their columns
    /// together, cannot be read in place.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        let place = Place::file(path);
        let (file, array, start) = match FileFormat::of(path) {
            Some(FileFormat::Safetensors) => Tensors::open(path)?.into_vectors()?,
            Some(FileFormat::Npy) => {
                let mut file = fs_err::File::open(path)?;
                let (array, start) = npy::locate(&mut file, path)?;
                (file, array, start)
            }
            _ => {
                return Err(place.error(PACKED, IN_PLACE));
            }
        };
        let (rows, dim) = array.vector_shape(place)?;
        if array.fortran {
            return Err(place.error(
                "the array keeps its columns together (Fortran order)",
                "expected rows: save `numpy.ascontiguousarray(x)`",
            ));
        }
        Ok(Self { path: path.to_owned(), file: file.into_parts().0, array, start, rows, dim })
    }

    fn fill(&self, rows: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        let width = self.array.element.width();
        let start = self.start + (rows.start * self.dim * width) as u64;
        let plain = self.array.element == Element::F32 && !self.array.big_endian;
        if plain && cfg!(target_endian = "little") {
            read_exact_at(&self.file, bytemuck::cast_slice_mut(out), start)?;
        } else {
            let mut bytes = vec![0; out.len().min(PIECE) * width];
            for (i, out) in out.chunks_mut(PIECE).enumerate() {
                let bytes = &mut bytes[..out.len() * width];
                read_exact_at(&self.file, bytes, start + (i * PIECE * width) as u64)?;
                self.array.decode(bytes, out);
            }
        }
        match first_not_finite(out, f32::is_finite) {
            None => Ok(()),
            Some(at) => Err(io::Error::other(format!(
                "row {}, column {} is {}: every value must be finite",
                rows.start + at / self.dim,
                at % self.dim,
                out[at]
            ))),
        }
    }
}

impl RowSource for FileRows {
    fn len(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn precision(&self) -> Precision {
        match self.array.element {
            Element::F16 => Precision::F16,
            Element::Bf16 => Precision::Bf16,
            _ => Precision::F32,
        }
    }

    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
        };
        self.fill(rows, out).map_err(named)
    }
}

#[cfg(unix)]
fn read_exact_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                bytes = &mut bytes[read..];
                at += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
