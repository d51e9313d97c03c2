//! The columns of a Parquet file, and their values.

use std::{
    fs::File,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use ::parquet::{
    basic::{ConvertedType, LogicalType, Type},
    column::reader::{ColumnReaderImpl, get_column_reader, get_typed_column_reader},
    data_type::{
        BoolType, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
        FloatType, Int32Type, Int64Type,
    },
    errors::ParquetError,
    file::metadata::{ParquetMetaData, ParquetMetaDataReader},
    schema::types::{ColumnDescriptor, Type as SchemaType},
};
use half::f16;

use super::pages::Pages;
use crate::{
    Values,
    embeddings::{FileError, error::Place},
};

/// Rows that are read at once.
const AT_ONCE: usize = 1024;

/// Vectors do not shrink to a part of this size, nor names and labels beside them to one of that; what claims to, and is
/// large, is a trap.
const SHRINKS_TO: u64 = 200;
const TEXT_SHRINKS_TO: u64 = 20;
const LARGE: u64 = 256 << 20;

/// What pandas calls rows that have no name for it: their numbers, which are left out, or their names.
pub(super) const INDEX: &str = "__index_level_0__";

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    F16,
    F32,
    F64,
    /// Of 32 or 64 bits, perhaps without a sign.
    Integer {
        signed: bool,
    },
    Bool,
    Text,
}

impl Kind {
    fn of(column: &ColumnDescriptor) -> Option<Self> {
        use ConvertedType as C;
        let logical = column.logical_type_ref();
        match column.physical_type() {
            Type::FLOAT => Some(Self::F32),
            Type::DOUBLE => Some(Self::F64),
            Type::BOOLEAN => Some(Self::Bool),
            Type::FIXED_LEN_BYTE_ARRAY => (logical == Some(&LogicalType::Float16)
                && column.type_length() == 2)
                .then_some(Self::F16),
            Type::INT32 | Type::INT64 => match column.converted_type() {
                C::NONE | C::INT_8 | C::INT_16 | C::INT_32 | C::INT_64
                    if matches!(logical, None | Some(LogicalType::Integer(_))) =>
                {
                    Some(Self::Integer { signed: true })
                }
                C::UINT_8 | C::UINT_16 | C::UINT_32 | C::UINT_64 => {
                    Some(Self::Integer { signed: false })
                }
                _ => None,
            },
            Type::BYTE_ARRAY => {
                matches!(column.converted_type(), C::UTF8 | C::ENUM | C::JSON).then_some(Self::Text)
            }
            Type::INT96 => None,
        }
    }

    pub(super) fn is_float(self) -> bool {
        matches!(self, Self::F16 | Self::F32 | Self::F64)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::F16 => "f16",
            Self::F32 => "f32",
            Self::F64 => "f64",
            Self::Integer { .. } => "integers",
            Self::Bool => "booleans",
            Self::Text => "text",
        })
    }
}

/// A column that can be read: one value a row, or a list of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) list: bool,
    /// Its number among the columns that the file stores.
    leaf: usize,
}

/// A Parquet file and what it says of itself.
pub(super) struct Table<'a> {
    place: Place<'a>,
    file: Arc<File>,
    about: ParquetMetaData,
    pub(super) columns: Vec<Column>,
    pub(super) rows: usize,
}

impl<'a> Table<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, FileError> {
        let place = Place::file(path);
        let file = fs_err::File::open(path)?.into_parts().0;
        let about = caught(|| ParquetMetaDataReader::new().parse_and_finish(&file));
        let about = about.map_err(|error| unreadable(place, &error))?;
        let rows = about.row_groups().iter().try_fold(0usize, |rows, group| {
            rows.checked_add(usize::try_from(group.num_rows()).ok()?)
        });
        let rows = rows.ok_or_else(|| place.error("a number of rows that cannot be", DAMAGED))?;
        let columns = columns(&about);
        Ok(Self { place, file: Arc::new(file), about, columns, rows })
    }

    /// What the writer noted: pairs of a key and a value.
    pub(super) fn notes(&self) -> impl Iterator<Item = (&str, &str)> {
        let notes = self.about.file_metadata().key_value_metadata().into_iter().flatten();
        notes.filter_map(|note| Some((note.key.as_str(), note.value.as_deref()?)))
    }

    /// The vectors in a column of lists, and how long they are.
    pub(super) fn vectors(&self, column: &Column) -> Result<(Values, usize), FileError> {
        match column.kind {
            Kind::F16 => self.lists::<FixedLenByteArrayType, f16>(column, half_of),
            Kind::F64 => self.lists::<DoubleType, f32>(column, |&value| value as f32),
            _ => self.lists::<FloatType, f32>(column, |&value| value),
        }
    }

    /// The numbers of a column, one a row.
    pub(super) fn numbers(&self, column: &Column) -> Result<Vec<f32>, FileError> {
        match column.kind {
            Kind::F16 => self.present::<FixedLenByteArrayType>(column, |v| half_of(v).to_f32()),
            Kind::F64 => self.present::<DoubleType>(column, |&value| value as f32),
            Kind::F32 => self.present::<FloatType>(column, |&value| value),
            kind => Err(self.at(column).error(format!("the values are {kind}"), "expected floats")),
        }
    }

    /// The values of a column as text, one a row; what is null is empty.
    pub(super) fn texts(&self, column: &Column) -> Result<Vec<String>, FileError> {
        let wide = self.about.file_metadata().schema_descr().column(column.leaf).physical_type()
            == Type::INT64;
        match (column.kind, wide) {
            (Kind::Integer { signed: true }, false) => {
                self.each_text::<Int32Type>(column, |value| Some(value.to_string()))
            }
            (Kind::Integer { signed: false }, false) => {
                self.each_text::<Int32Type>(column, |&value| Some((value as u32).to_string()))
            }
            (Kind::Integer { signed: true }, true) => {
                self.each_text::<Int64Type>(column, |value| Some(value.to_string()))
            }
            (Kind::Integer { signed: false }, true) => {
                self.each_text::<Int64Type>(column, |&value| Some((value as u64).to_string()))
            }
            (Kind::Bool, _) => self.each_text::<BoolType>(column, |value| Some(value.to_string())),
            (Kind::Text, _) => self.each_text::<ByteArrayType>(column, |value| {
                str::from_utf8(value.data()).ok().map(str::to_owned)
            }),
            (kind, _) => Err(self.at(column).error(
                format!("the values are {kind}"),
                "expected one integer or text a row: convert them, in pandas with `.astype(\"int64\")`",
            )),
        }
    }

    fn lists<T: DataType, O>(
        &self,
        column: &Column,
        convert: impl Fn(&T::T) -> O,
    ) -> Result<(Values, usize), FileError>
    where
        Values: From<Vec<O>>,
    {
        let filled = self.descriptor(column).repeated_ancestor_def_level();
        let mut lists = Lists::default();
        let wrong =
            |Wrong { row, found, expected }| self.at_row(column, row).error(found, expected);
        self.walk::<T>(column, |first, level, value| {
            lists.take(first, level >= filled, value.map(&convert)).map_err(wrong)
        })?;
        let dim = lists.end().map_err(wrong)?;
        Ok((lists.values.into(), dim))
    }

    /// Numbers, none of which may be null.
    fn present<T: DataType>(
        &self,
        column: &Column,
        convert: impl Fn(&T::T) -> f32,
    ) -> Result<Vec<f32>, FileError> {
        let mut values = Vec::new();
        self.walk::<T>(column, |_, _, value| match value {
            Some(value) => {
                values.push(convert(value));
                Ok(())
            }
            None => Err(self.at_row(column, values.len()).error("null", FILL)),
        })?;
        Ok(values)
    }

    fn each_text<T: DataType>(
        &self,
        column: &Column,
        text: impl Fn(&T::T) -> Option<String>,
    ) -> Result<Vec<String>, FileError> {
        let mut texts = Vec::new();
        // A long text is stored once, however many rows have it.
        let (mut bytes, most) = (0, LARGE.max(self.length().saturating_mul(TEXT_SHRINKS_TO)));
        self.walk::<T>(column, |_, _, value| {
            let text = match value {
                None => String::new(),
                Some(value) => text(value).ok_or_else(|| {
                    self.at_row(column, texts.len()).error("text that is not UTF-8", DAMAGED)
                })?,
            };
            bytes += text.len() as u64;
            if bytes > most {
                return Err(self.at_row(column, texts.len()).error(
                    format!("more than {most} bytes of text in a file of {}", self.length()),
                    "expected short texts: leave the column out, or shorten its values",
                ));
            }
            texts.push(text);
            Ok(())
        })?;
        Ok(texts)
    }

    /// Calls `take` with each value: whether a row begins with it, its definition level, and itself if it is there.
    fn walk<T: DataType>(
        &self,
        column: &Column,
        mut take: impl FnMut(bool, i16, Option<&T::T>) -> Result<(), FileError>,
    ) -> Result<(), FileError> {
        self.check_size(column)?;
        let descriptor = self.about.file_metadata().schema_descr().column(column.leaf);
        let full = descriptor.max_def_level();
        let at = self.at(column);
        let unreadable = |error: ParquetError| unreadable(at.place.at(&at.at), &error);
        let (mut values, mut levels, mut repeats) = (Vec::new(), Vec::new(), Vec::new());
        for group in self.about.row_groups() {
            let rows = group.num_rows() as usize;
            let reader = caught(|| {
                let pages = Pages::open(&self.file, group.column(column.leaf), rows)?;
                Ok(get_column_reader(Arc::clone(&descriptor), Box::new(pages)))
            });
            let mut reader: ColumnReaderImpl<T> =
                get_typed_column_reader(reader.map_err(unreadable)?);
            let mut left = rows;
            while left > 0 {
                values.clear();
                levels.clear();
                repeats.clear();
                let some = AT_ONCE.min(left);
                let read = caught(|| {
                    reader.read_records(some, Some(&mut levels), Some(&mut repeats), &mut values)
                });
                let (read, _, count) = read.map_err(unreadable)?;
                if read == 0 {
                    let found = format!("{left} rows fewer than the file says");
                    return Err(self.at(column).error(found, DAMAGED));
                }
                left -= read;
                let mut there = values.iter();
                for at in 0..count {
                    // Columns whose values are never missing, or never lists, have no levels.
                    let level = levels.get(at).copied().unwrap_or(full);
                    let first = repeats.get(at).is_none_or(|&repeat| repeat == 0);
                    take(first, level, if level == full { there.next() } else { None })?;
                }
            }
        }
        Ok(())
    }

    /// Refuses a small file that claims a huge column.
    fn check_size(&self, column: &Column) -> Result<(), FileError> {
        let chunks = self.about.row_groups().iter().map(|group| group.column(column.leaf));
        let claimed = chunks.fold(0u64, |sum, chunk| {
            let values = (chunk.num_values().max(0) as u64).saturating_mul(4);
            sum.saturating_add(values.max(chunk.uncompressed_size().max(0) as u64))
        });
        let length = self.length();
        if claimed > LARGE && claimed / SHRINKS_TO > length {
            return Err(self.at(column).error(
                format!("{claimed} bytes of values in a file of {length}"),
                "no embeddings shrink like that: if they do, save them without compression",
            ));
        }
        Ok(())
    }

    /// Bytes of the file.
    fn length(&self) -> u64 {
        self.file.metadata().map_or(0, |about| about.len())
    }

    fn descriptor(&self, column: &Column) -> &ColumnDescriptor {
        &self.about.file_metadata().schema_descr().columns()[column.leaf]
    }

    fn at(&self, column: &Column) -> At<'a> {
        At { place: self.place, at: format!("`{}`", column.name) }
    }

    fn at_row(&self, column: &Column, row: usize) -> At<'a> {
        At { place: self.place, at: format!("`{}`, row {row}", column.name) }
    }
}

/// Lists of one length, put together value by value.
struct Lists<O> {
    values: Vec<O>,
    /// Rows that have begun, and where the last of them begins.
    rows: usize,
    start: usize,
    dim: Option<usize>,
}

/// What is wrong with a row.
#[derive(Debug, PartialEq)]
struct Wrong {
    row: usize,
    found: String,
    expected: String,
}

impl<O> Default for Lists<O> {
    fn default() -> Self {
        Self { values: Vec::new(), rows: 0, start: 0, dim: None }
    }
}

impl<O> Lists<O> {
    /// The next value, or what is missing: a value, or all of a list that is not `filled`.
    fn take(&mut self, first: bool, filled: bool, value: Option<O>) -> Result<(), Wrong> {
        // The first value begins a row whatever a damaged file says.
        if first || self.rows == 0 {
            if self.rows > 0 {
                self.end()?;
            }
            (self.rows, self.start) = (self.rows + 1, self.values.len());
        }
        if let Some(value) = value {
            self.values.push(value);
            return Ok(());
        }
        let found = match filled {
            true => format!("a null, value {} of the list", self.values.len() - self.start),
            false => "null or an empty list".to_owned(),
        };
        Err(Wrong { row: self.rows - 1, found, expected: FILL.to_owned() })
    }

    /// Ends a list; returns the length of all.
    fn end(&mut self) -> Result<usize, Wrong> {
        let length = self.values.len() - self.start;
        let dim = *self.dim.get_or_insert(length);
        if dim == length {
            return Ok(dim);
        }
        Err(Wrong {
            row: self.rows.saturating_sub(1),
            found: format!("a list of {length} values"),
            expected: format!("expected {dim}, as in row 0: all vectors need the same length"),
        })
    }
}

/// A column, or a row of it, for errors.
struct At<'a> {
    place: Place<'a>,
    at: String,
}

impl At<'_> {
    fn error(&self, found: impl Into<String>, expected: impl Into<String>) -> FileError {
        self.place.at(&self.at).error(found, expected)
    }
}

const DAMAGED: &str = "the file is damaged: copy or write it again";
const FILL: &str = "expected a number: fill it, or leave the row out";

/// Calls the reader, which gives up over some damaged pages by a panic: a file is no reason to end the program.
fn caught<T>(read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, ParquetError> {
    let panicked = |_| Err(ParquetError::General("its reader panicked".to_owned()));
    // What the reader left half done is dropped with the error.
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(panicked)
}

fn unreadable(place: Place<'_>, error: &ParquetError) -> FileError {
    place.error(
        format!("it cannot be read as Parquet ({error})"),
        "the file is truncated, damaged or encrypted: copy or write it again",
    )
}

fn half_of(value: &FixedLenByteArray) -> f16 {
    // The column's type says that there are two bytes.
    value.data().first_chunk().map_or(f16::NAN, |&bytes| f16::from_le_bytes(bytes))
}

/// The columns that hold a value a row, or a list of floats; structures, the numbers of rows and whatever else there is
/// stay out.
fn columns(about: &ParquetMetaData) -> Vec<Column> {
    let schema = about.file_metadata().schema_descr();
    let leaves = schema.columns().iter().enumerate();
    leaves
        .filter_map(|(leaf, column)| {
            let kind = Kind::of(column)?;
            let root = schema.get_column_root(leaf);
            if root.name() == INDEX && kind != Kind::Text {
                return None;
            }
            let depth = column.path().parts().len();
            let list = match column.max_rep_level() {
                0 if depth == 1 => false,
                1 if kind.is_float() && (depth == 1 || is_list(root)) => true,
                _ => return None,
            };
            Some(Column { name: root.name().to_owned(), kind, list, leaf })
        })
        .collect()
}

/// Whether a column is a list of plain values: `list` of `element` within it, or an older spelling of that.
fn is_list(root: &SchemaType) -> bool {
    let about = root.get_basic_info();
    let mut inner = root;
    let mut depth = 0;
    while inner.is_group() && inner.get_fields().len() == 1 {
        inner = &inner.get_fields()[0];
        depth += 1;
    }
    let list = about.converted_type() == ConvertedType::LIST
        || about.logical_type_ref() == Some(&LogicalType::List);
    list && inner.is_primitive() && depth <= 2
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A damaged file may say that its first value belongs to a row before.
    #[test]
    fn the_first_value_begins_a_row() {
        let mut lists = Lists::default();
        let wrong = lists.take(false, true, None::<f32>).unwrap_err();
        assert_eq!((wrong.row, &*wrong.found), (0, "a null, value 0 of the list"));

        let mut lists = Lists::default();
        for (first, value) in [(false, 1.0), (false, 2.0), (false, 3.0), (true, 4.0), (false, 5.0)]
        {
            lists.take(first, true, Some(value)).unwrap();
        }
        let wrong = lists.take(true, true, Some(6.0)).unwrap_err();
        assert_eq!((wrong.row, &*wrong.found), (1, "a list of 2 values"));
        assert!(wrong.expected.starts_with("expected 3, as in row 0"), "{}", wrong.expected);
    }
}
