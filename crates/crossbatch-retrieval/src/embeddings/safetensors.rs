//! safetensors: a header in JSON, then the bytes of all tensors.
//!
//! What is written, format version 1: `embeddings` `[N, D]` in the precision it has, `labels` i64 `[N]` where there are
//! any, each further column as i64 `[N]` under its name. In the metadata: `crossbatch_format_version`; `names`, a JSON
//! array; `label_names` and `column_names`, what the numbers stand for where labels are text; and whatever
//! [`Embeddings::metadata`] holds. The same embeddings make the same bytes.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use safetensors::tensor::{Dtype, Metadata};
use serde_json::{Map, Value, json};

use super::{
    Embeddings, FileError, Labels,
    array::{Array, Element},
    container::{self, Container},
    error::Place,
    little_endian,
};
use crate::Values;

/// Version of the layout above.
const FORMAT_VERSION: &str = "1";
const VERSION_KEY: &str = "crossbatch_format_version";

/// What readers of the format accept.
const LONGEST_HEADER: usize = 100_000_000;

/// An open file of tensors.
pub(super) struct Tensors<'a> {
    place: Place<'a>,
    file: fs_err::File,
    arrays: Vec<(String, Array)>,
    /// Where each array begins in the file.
    offsets: Vec<u64>,
    metadata: BTreeMap<String, String>,
}

impl<'a> Tensors<'a> {
    pub(super) fn open(path: &'a Path) -> Result<Self, FileError> {
        let place = Place::file(path);
        let fail = |error| place.io(error);
        let mut file = fs_err::File::open(path)?;
        let file_length = file.metadata()?.len();
        let mut length = [0; 8];
        file.read_exact(&mut length).map_err(fail)?;
        let length = u64::from_le_bytes(length);
        if length > LONGEST_HEADER as u64 {
            return Err(place.error(
                format!("a header of {length} bytes"),
                format!("expected at most {LONGEST_HEADER}: it is damaged, or no safetensors file"),
            ));
        }
        let start = length + 8;
        if start > file_length {
            return Err(fail(io::ErrorKind::UnexpectedEof.into()));
        }
        let mut header = vec![0; length as usize];
        file.read_exact(&mut header).map_err(fail)?;
        let header: Metadata = serde_json::from_slice(&header).map_err(|error| {
            let found = format!("the header cannot be read ({error})");
            place.error(found, "it is damaged, or no safetensors file: write it again")
        })?;
        let expected = start.saturating_add(header.data_len() as u64);
        if file_length != expected {
            return Err(place.error(
                format!("{file_length} bytes where its header tells of {expected}"),
                "the file is truncated or damaged: copy or write it again",
            ));
        }
        let metadata: BTreeMap<_, _> =
            header.metadata().clone().unwrap_or_default().into_iter().collect();
        if let Some(version) =
            metadata.get(VERSION_KEY).filter(|version| *version != FORMAT_VERSION)
        {
            return Err(place.error(
                format!("format version {version}"),
                format!(
                    "this program reads version {FORMAT_VERSION}: use the one that wrote the file"
                ),
            ));
        }
        let infos = header.offset_keys().into_iter();
        let infos: Vec<_> =
            infos.filter_map(|name| header.info(&name).cloned().map(|info| (name, info))).collect();
        // Types that are neither numbers nor labels here are passed over.
        let known = infos.into_iter().filter_map(|(name, info)| {
            let array = Array::plain(element(info.dtype)?, info.shape);
            Some(((name, array), start + info.data_offsets.0 as u64))
        });
        let (arrays, offsets) = known.unzip();
        Ok(Self { place, file, arrays, offsets, metadata })
    }

    /// The vectors' description, and where in the file they begin.
    pub(super) fn into_vectors(self) -> Result<(fs_err::File, Array, u64), FileError> {
        let index = container::find_vectors(&self, self.place)?;
        let (name, array) = self.arrays[index].clone();
        array.vector_shape(self.place.at(&format!("`{name}`")))?;
        Ok((self.file, array, self.offsets[index]))
    }
}

impl Container for Tensors<'_> {
    fn arrays(&self) -> &[(String, Array)] {
        &self.arrays
    }

    fn open(&mut self, index: usize) -> Result<Box<dyn Read + '_>, FileError> {
        self.file.seek(SeekFrom::Start(self.offsets[index]))?;
        Ok(Box::new(&mut self.file))
    }

    fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }
}

fn element(dtype: Dtype) -> Option<Element> {
    Some(match dtype {
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F32 => Element::F32,
        Dtype::F64 => Element::F64,
        Dtype::I8 => Element::Integer(1, true),
        Dtype::I16 => Element::Integer(2, true),
        Dtype::I32 => Element::Integer(4, true),
        Dtype::I64 => Element::Integer(8, true),
        Dtype::U8 | Dtype::BOOL => Element::Integer(1, false),
        Dtype::U16 => Element::Integer(2, false),
        Dtype::U32 => Element::Integer(4, false),
        Dtype::U64 => Element::Integer(8, false),
        _ => return None,
    })
}

/// Labels, names and further columns, and the vectors where `values` are wanted.
pub(super) fn read(path: &Path, values: bool) -> Result<Embeddings, FileError> {
    let mut file = Tensors::open(path)?;
    let mut embeddings = container::read(&mut file, values, Place::file(path))?;
    embeddings.metadata.remove(VERSION_KEY);
    Ok(embeddings)
}

/// The tensor `labels`, or the only one.
pub(super) fn read_labels(path: &Path) -> Result<Labels, FileError> {
    container::read_labels(&mut Tensors::open(path)?, Place::file(path))
}

/// A tensor to write: its name, and a number a row.
type Numbers = (String, Vec<i64>);

/// The header's bytes with its length before it, and the columns to write before the vectors.
fn layout(embeddings: &Embeddings) -> (Vec<u8>, Vec<Numbers>) {
    let mut metadata: BTreeMap<String, String> = embeddings.metadata.clone();
    metadata.insert(VERSION_KEY.to_owned(), FORMAT_VERSION.to_owned());
    if let Some(names) = &embeddings.names {
        metadata.insert("names".to_owned(), json!(names).to_string());
    }
    let mut columns = Vec::new();
    let mut texts = BTreeMap::new();
    let labels = embeddings.labels.iter().map(|labels| ("labels", labels));
    let others = embeddings.columns.iter().map(|(name, labels)| (name.as_str(), labels));
    for (name, labels) in labels.chain(others) {
        let numbers = labels.integers().unwrap_or_else(|| {
            texts.insert(name, labels.distinct());
            labels.codes().iter().map(|&code| i64::from(code)).collect()
        });
        columns.push((name.to_owned(), numbers));
    }
    if let Some(texts) = texts.remove("labels") {
        metadata.insert("label_names".to_owned(), json!(texts).to_string());
    }
    if !texts.is_empty() {
        metadata.insert("column_names".to_owned(), json!(texts).to_string());
    }

    // Eight-byte values first, so that everything is aligned.
    let rows = embeddings.len();
    let (dtype, width) = match embeddings.values() {
        Values::F32(_) => ("F32", 4),
        Values::F16(_) => ("F16", 2),
        Values::Bf16(_) => ("BF16", 2),
    };
    let mut header = Map::new();
    header.insert("__metadata__".to_owned(), json!(metadata));
    let mut end = 0;
    let mut tensor = |name: &str, dtype: &str, shape: Value, bytes: usize| {
        let offsets = json!([end, end + bytes]);
        end += bytes;
        header.insert(
            name.to_owned(),
            json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}),
        );
    };
    for (name, _) in &columns {
        tensor(name, "I64", json!([rows]), rows * 8);
    }
    let dim = embeddings.dim();
    tensor("embeddings", dtype, json!([rows, dim]), rows * dim * width);

    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    (bytes, columns)
}

/// Writes everything.
pub(super) fn write(embeddings: &Embeddings, path: &Path, file: &mut dyn Write) -> io::Result<()> {
    let (header, columns) = layout(embeddings);
    if header.len() - 8 > LONGEST_HEADER {
        return Err(io::Error::other(format!(
            "{}: the names need a header of {} bytes, and readers accept {LONGEST_HEADER}; write .npy or .csv instead",
            path.display(),
            header.len() - 8
        )));
    }
    file.write_all(&header)?;
    for (_, numbers) in &columns {
        numbers.iter().try_for_each(|number| file.write_all(&number.to_le_bytes()))?;
    }
    little_endian(embeddings.values(), file)
}
