//! Vectors with what is known of them, and the files that hold them.

mod array;
mod container;
mod csv;
mod error;
mod file_rows;
mod labels;
mod npy;
mod npz;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(not(feature = "parquet"))]
#[path = "parquet_left_out.rs"]
mod parquet;
mod safetensors;
mod text;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    ops::Range,
    path::{Path, PathBuf},
};

pub use error::FileError;
pub use file_rows::FileRows;
pub use labels::Labels;

use crate::{Error, Precision, RowSource, Similarity, Values, Vectors, files::replace_file};
use error::Place;

/// Vectors `[N, D]` with their labels, names and further columns, as they are kept in files.
///
/// # Example
///
/// ```
/// use crossbatch_retrieval::{Embeddings, Labels};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("fruit.safetensors");
/// let embeddings = Embeddings::new(vec![1.0f32, 0.0, 0.8, 0.6], 2)?
///     .with_labels(Labels::from_text(["pear", "apple"]))?
///     .with_column("camera", Labels::from_integers([3, 4]))?;
/// embeddings.save(&path)?;
///
/// let read = Embeddings::read(&path)?;
/// assert_eq!((read.len(), read.dim()), (2, 2));
/// assert_eq!(read.labels(), embeddings.labels());
/// assert_eq!(read.column("camera").unwrap().value(1), "4");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Files
///
/// | ending | vectors | labels, names, further columns |
/// |---|---|---|
/// | `.safetensors` | `embeddings`, or the only matrix of floats | `labels`, `names` in the metadata, other integers `[N]` |
/// | `.npz` | the same | `labels`, `names` or `ids`, other integers or text `[N]` |
/// | `.npy` | `[N, D]` | none: give labels from another file |
/// | `.csv`, `.tsv` | the columns that are numbered | `label`, `name`, all other columns |
/// | `.parquet` | the column `embeddings` or `embedding`, the only one of lists of floats, or those that are numbered | `label`, `name`, all other columns of integers, booleans or text |
///
/// Values may be f16, bf16, f32 or f64; the last is rounded to f32. All but `.npz`, `.tsv` and `.parquet` can be
/// written. Reading Parquet needs the feature `parquet`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    values: Values,
    rows: usize,
    dim: usize,
    labels: Option<Labels>,
    names: Option<Vec<String>>,
    columns: BTreeMap<String, Labels>,
    metadata: BTreeMap<String, String>,
    origin: Option<(PathBuf, FileFormat)>,
}

/// A format of files of embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileFormat {
    /// `.safetensors`
    Safetensors,
    /// `.npy`
    Npy,
    /// `.npz`
    Npz,
    /// `.csv`, `.tsv`
    Csv,
    /// `.parquet`
    Parquet,
}

impl FileFormat {
    /// The format that a file's name tells.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        Some(match ending.as_str() {
            "safetensors" => Self::Safetensors,
            "npy" => Self::Npy,
            "npz" => Self::Npz,
            "csv" | "tsv" => Self::Csv,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }
}

const ENDINGS: &str = "expected .safetensors, .npy, .npz, .csv, .tsv or .parquet";

impl Embeddings {
    /// Takes `values` (a `Vec` of f32, f16 or bf16) as rows of `dim` values.
    ///
    /// # Errors
    ///
    /// As [`Vectors::new`].
    pub fn new(values: impl Into<Values>, dim: usize) -> Result<Self, Error> {
        let values = values.into();
        values.check(dim)?;
        let rows = values.len() / dim;
        Ok(Self {
            values,
            rows,
            dim,
            labels: None,
            names: None,
            columns: BTreeMap::new(),
            metadata: BTreeMap::new(),
            origin: None,
        })
    }

    /// Of vectors that stay in their file.
    fn without_vectors(rows: usize, dim: usize, place: Place<'_>) -> Result<Self, FileError> {
        check_rows(rows, place)?;
        Ok(Self {
            values: Values::F32(Vec::new()),
            rows,
            dim,
            labels: None,
            names: None,
            columns: BTreeMap::new(),
            metadata: BTreeMap::new(),
            origin: None,
        })
    }

    /// Values from a file, whose errors name it and the row.
    fn checked(
        values: Values,
        dim: usize,
        names: Option<Vec<String>>,
        place: Place<'_>,
    ) -> Result<Self, FileError> {
        match Self::new(values, dim) {
            Ok(made) => {
                check_rows(made.rows, place)?;
                Ok(Self { names, ..made })
            }
            Err(Error::NotFinite { row, column, value }) => {
                let name = names.as_ref().and_then(|names| names.get(row));
                let name = name.map_or_else(String::new, |name| format!(" ({name})"));
                Err(place.error(
                    format!("row {row}{name}, column {column} is {value}"),
                    "expected finite f32 numbers: leave the row out, or make it again",
                ))
            }
            Err(error) => Err(place.error(error.to_string(), array::EXPECTED_VECTORS)),
        }
    }

    /// Reads a file; the end of its name says how.
    ///
    /// # Errors
    ///
    /// [`FileError`] names the file, the line or array, what was expected and what to do.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let format = known_format(path)?;
        let mut read = match format {
            FileFormat::Safetensors => safetensors::read(path, true),
            FileFormat::Npy => npy::read(path),
            FileFormat::Npz => npz::read(path),
            FileFormat::Csv => csv::read(path),
            FileFormat::Parquet => parquet::read(path),
        }?;
        read.origin = Some((path.to_owned(), format));
        Ok(read)
    }

    /// Reads all but the vectors of a `.safetensors` or `.npy` file, which [`FileRows`] reads where they lie: as after
    /// [`Embeddings::take_vectors`].
    ///
    /// # Errors
    ///
    /// As [`Embeddings::read`]; other formats are read whole or not at all.
    pub fn read_rest(path: &Path) -> Result<Self, FileError> {
        let format = known_format(path)?;
        let mut read = match format {
            FileFormat::Safetensors => safetensors::read(path, false),
            FileFormat::Npy => npy::read_rest(path),
            _ => Err(Place::file(path).error(file_rows::PACKED, file_rows::IN_PLACE)),
        }?;
        read.origin = Some((path.to_owned(), format));
        Ok(read)
    }

    /// Writes a `.safetensors`, `.npy` (the vectors alone) or `.csv` file: all of it, or nothing.
    ///
    /// # Errors
    ///
    /// If the name has another ending or the file cannot be written; what was there before is untouched then.
    pub fn save(&self, path: &Path) -> Result<(), FileError> {
        let write: fn(&Self, &Path, &mut dyn Write) -> io::Result<()> = match known_format(path)? {
            FileFormat::Safetensors => safetensors::write,
            FileFormat::Npy => |embeddings, _, file| npy::write(embeddings, file),
            FileFormat::Csv
                if path.extension().is_some_and(|end| end.eq_ignore_ascii_case("csv")) =>
            {
                |embeddings, _, file| csv::write(embeddings, file)
            }
            _ => {
                let advice = "can be written: .safetensors, .npy or .csv";
                return Err(Place::file(path).error("this format is only read", advice));
            }
        };
        Ok(replace_file(path, |file| write(self, path, file))?)
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The number of values in a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The values, row after row; empty once [taken](Self::take_vectors).
    pub fn values(&self) -> &Values {
        &self.values
    }

    /// The values made ready to compare. They are moved, not copied: afterwards only labels, names and columns are left.
    ///
    /// # Errors
    ///
    /// As [`Vectors::new`].
    pub fn take_vectors(&mut self, similarity: Similarity) -> Result<Vectors, Error> {
        let values = std::mem::replace(&mut self.values, Values::F32(Vec::new()));
        Vectors::new(values, self.dim, similarity)
    }

    /// The label of each row.
    pub fn labels(&self) -> Option<&Labels> {
        self.labels.as_ref()
    }

    /// The same with these labels.
    ///
    /// # Errors
    ///
    /// [`Error::ColumnLength`] if there are more or fewer than rows.
    pub fn with_labels(mut self, labels: Labels) -> Result<Self, Error> {
        self.check("labels", labels.len())?;
        self.labels = Some(labels);
        Ok(self)
    }

    /// The name of each row: the image's path, an id.
    pub fn names(&self) -> Option<&[String]> {
        self.names.as_deref()
    }

    /// The name of a row; where rows have none, its number.
    pub fn name(&self, row: usize) -> String {
        match &self.names {
            Some(names) => names[row].clone(),
            None => format!("row {row}"),
        }
    }

    /// The same with these names.
    ///
    /// # Errors
    ///
    /// [`Error::ColumnLength`] if there are more or fewer than rows.
    pub fn with_names(mut self, names: Vec<String>) -> Result<Self, Error> {
        self.check("names", names.len())?;
        self.names = Some(names);
        Ok(self)
    }

    /// A further column: camera, group, split.
    pub fn column(&self, name: &str) -> Option<&Labels> {
        self.columns.get(name)
    }

    /// The names of the further columns, sorted.
    pub fn columns(&self) -> impl Iterator<Item = &str> {
        self.columns.keys().map(String::as_str)
    }

    /// The same with one more column.
    ///
    /// # Errors
    ///
    /// [`Error::ColumnLength`] if it has more or fewer values than there are rows.
    pub fn with_column(mut self, name: &str, values: Labels) -> Result<Self, Error> {
        self.check("column values", values.len())?;
        self.columns.insert(name.to_owned(), values);
        Ok(self)
    }

    /// The rows with these indices, in this order, with what is known of them.
    ///
    /// # Panics
    ///
    /// If there is no row with one of the indices, or the values are [taken](Self::take_vectors).
    pub fn select(&self, rows: &[u32]) -> Self {
        let name = |names: &Vec<String>| {
            rows.iter().map(|&row| names[row as usize].clone()).collect::<Vec<String>>()
        };
        let columns = self.columns.iter();
        Self {
            values: self.values.select(rows, self.dim),
            rows: rows.len(),
            dim: self.dim,
            labels: self.labels.as_ref().map(|labels| labels.select(rows)),
            names: self.names.as_ref().map(name),
            columns: columns.map(|(name, values)| (name.clone(), values.select(rows))).collect(),
            metadata: self.metadata.clone(),
            origin: self.origin.clone(),
        }
    }

    fn check(&self, what: &'static str, values: usize) -> Result<(), Error> {
        let rows = self.rows;
        let fits = rows == values;
        if fits { Ok(()) } else { Err(Error::ColumnLength { side: "file", what, rows, values }) }
    }

    /// What the file says of where the vectors come from: `similarity`, `model`, and whatever its writer added.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The same with one more note on where the vectors come from; safetensors files keep it.
    pub fn with_metadata(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.to_owned(), value.to_owned());
        self
    }

    /// The comparison that the vectors are made for, where their file says so.
    pub fn similarity(&self) -> Option<Similarity> {
        self.metadata.get("similarity").and_then(|name| match name.as_str() {
            "cosine" => Some(Similarity::Cosine),
            "dot" => Some(Similarity::Dot),
            "euclidean" => Some(Similarity::Euclidean),
            _ => None,
        })
    }

    /// The file they were read from, and its format.
    pub fn origin(&self) -> Option<(&Path, FileFormat)> {
        self.origin.as_ref().map(|(path, format)| (path.as_path(), *format))
    }
}

/// Vectors in memory, as a side of a search whose other side is not. Reading panics once they are
/// [taken](Embeddings::take_vectors).
impl RowSource for Embeddings {
    fn len(&self) -> usize {
        self.rows
    }

    fn dim(&self) -> usize {
        self.dim
    }

    fn precision(&self) -> Precision {
        self.values.precision()
    }

    fn read(&self, rows: Range<usize>, out: &mut [f32]) -> io::Result<()> {
        out.copy_from_slice(&self.values.range(rows.start * self.dim..rows.end * self.dim));
        Ok(())
    }
}

impl Labels {
    /// Reads the labels of rows whose vectors are in another file.
    ///
    /// From `.npy` an array `[N]`; from `.npz` and `.safetensors` the array `labels`, or the only one; from `.csv`,
    /// `.tsv` and `.parquet` the column `label`, or the only one; from `.txt` a label a line.
    ///
    /// # Errors
    ///
    /// As [`Embeddings::read`].
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let text = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("txt"));
        match FileFormat::of(path) {
            Some(FileFormat::Safetensors) => safetensors::read_labels(path),
            Some(FileFormat::Npy) => npy::read_labels(path),
            Some(FileFormat::Npz) => npz::read_labels(path),
            Some(FileFormat::Csv) => csv::read_labels(path),
            Some(FileFormat::Parquet) => parquet::read_labels(path),
            None if text => text::read_labels(path),
            None => Err(Place::file(path).error(
                "its name does not say what it is",
                "expected .npy, .npz, .safetensors, .csv, .tsv, .parquet or .txt",
            )),
        }
    }
}

/// Checks that indices can name the rows of a file.
fn check_rows(rows: usize, place: Place<'_>) -> Result<(), FileError> {
    if rows > u32::MAX as usize {
        return Err(place.error(format!("{rows} rows"), "expected fewer than 2^32: split it"));
    }
    Ok(())
}

/// The format of a file that is to be read or written.
fn known_format(path: &Path) -> Result<FileFormat, FileError> {
    let unknown = || Place::file(path).error("its name does not say what it is", ENDINGS);
    FileFormat::of(path).ok_or_else(unknown)
}

/// Writes values as they are, least significant byte first.
fn little_endian(values: &Values, file: &mut dyn Write) -> io::Result<()> {
    match values {
        _ if cfg!(target_endian = "big") => match values {
            Values::F32(values) => values.iter().try_for_each(|v| file.write_all(&v.to_le_bytes())),
            Values::F16(values) => values.iter().try_for_each(|v| file.write_all(&v.to_le_bytes())),
            Values::Bf16(values) => {
                values.iter().try_for_each(|v| file.write_all(&v.to_le_bytes()))
            }
        },
        Values::F32(values) => file.write_all(bytemuck::cast_slice(values)),
        Values::F16(values) => file.write_all(bytemuck::cast_slice(bits_f16(values))),
        Values::Bf16(values) => file.write_all(bytemuck::cast_slice(bits_bf16(values))),
    }
}

fn bits_f16(values: &[half::f16]) -> &[u16] {
    half::slice::HalfFloatSliceExt::reinterpret_cast(values)
}

fn bits_bf16(values: &[half::bf16]) -> &[u16] {
    half::slice::HalfFloatSliceExt::reinterpret_cast(values)
}
