//! Files of several named arrays: which of them are the vectors, the labels, the names.

use std::{collections::BTreeMap, io::Read};

use super::{Embeddings, FileError, Labels, array::Array, error::Place};

/// A file of named arrays.
pub(super) trait Container {
    /// The arrays, in the file's order.
    fn arrays(&self) -> &[(String, Array)];

    /// The bytes of an array.
    fn open(&mut self, index: usize) -> Result<Box<dyn Read + '_>, FileError>;

    /// What else the file says of itself.
    fn metadata(&self) -> &BTreeMap<String, String>;
}

/// The array of this name.
pub(super) fn named(container: &dyn Container, name: &str) -> Option<usize> {
    container.arrays().iter().position(|(own, _)| own == name)
}

/// The vectors: `embeddings`, or the only two-dimensional array of floats.
pub(super) fn find_vectors(
    container: &dyn Container,
    place: Place<'_>,
) -> Result<usize, FileError> {
    if let Some(index) = named(container, "embeddings") {
        return Ok(index);
    }
    let arrays = container.arrays();
    let matrix = |(_, (_, array)): &(usize, &(String, Array))| {
        array.element.is_float() && array.shape.len() == 2
    };
    let mut matrices = arrays.iter().enumerate().filter(matrix);
    match (matrices.next(), matrices.next()) {
        (Some((index, _)), None) => Ok(index),
        _ => Err(place.error(
            format!("no `embeddings` among its arrays ({})", list(arrays)),
            "expected `embeddings` [N, D] of f16, bf16, f32 or f64, or a single such matrix: rename it",
        )),
    }
}

/// Arrays with their types and shapes, for errors; of many only the first.
fn list(arrays: &[(String, Array)]) -> String {
    const MOST: usize = 8;
    let one =
        |(name, array): &(String, Array)| format!("{name}: {} {:?}", array.element, array.shape);
    let mut text = arrays.iter().take(MOST).map(one).collect::<Vec<_>>().join(", ");
    match arrays.len() {
        0 => text.push_str("none"),
        count if count > MOST => text += &format!(", and {} more", count - MOST),
        _ => {}
    }
    text
}

/// All that a container says about its vectors, and themselves where `values` are wanted.
pub(super) fn read(
    container: &mut dyn Container,
    values: bool,
    place: Place<'_>,
) -> Result<Embeddings, FileError> {
    let vectors = find_vectors(container, place)?;
    let (name, array) = container.arrays()[vectors].clone();
    let at = format!("`{name}`");
    let (rows, dim) = array.vector_shape(place.at(&at))?;
    let mut embeddings = if values {
        let values = array.read_vectors(&mut container.open(vectors)?, place.at(&at))?;
        let names = read_names(container, rows, place)?;
        Embeddings::checked(values, dim, names, place.at(&at))?
    } else {
        let names = read_names(container, rows, place)?;
        Embeddings { names, ..Embeddings::without_vectors(rows, dim, place.at(&at))? }
    };

    let texts = column_texts(container, place)?;
    for index in 0..container.arrays().len() {
        let (name, array) = &container.arrays()[index];
        let column =
            !array.element.is_float() && matches!(array.shape[..], [n] | [n, 1] if n == rows);
        if index == vectors || (name != "labels" && (!column || is_names(name))) {
            continue;
        }
        let (name, array) = (name.clone(), array.clone());
        let at = format!("`{name}`");
        let place = place.at(&at);
        let mut labels = array.read_labels(&mut container.open(index)?, place)?;
        if let Some(texts) = texts.get(&name) {
            labels = named_labels(&labels, texts, place)?;
        }
        if labels.len() != rows {
            return Err(place.error(
                format!("{} values for {rows} vectors", labels.len()),
                "expected one a vector",
            ));
        }
        if name == "labels" {
            embeddings.labels = Some(labels);
        } else {
            embeddings.columns.insert(name, labels);
        }
    }
    embeddings.metadata = container.metadata().clone();
    for key in ["names", "label_names", "column_names"] {
        embeddings.metadata.remove(key);
    }
    Ok(embeddings)
}

fn is_names(name: &str) -> bool {
    ["names", "ids"].contains(&name)
}

/// Names from the metadata, or from an array called `names` or `ids`.
fn read_names(
    container: &mut dyn Container,
    rows: usize,
    place: Place<'_>,
) -> Result<Option<Vec<String>>, FileError> {
    let names: Vec<String> = if let Some(text) = container.metadata().get("names") {
        json(text, "names", place)?
    } else if let Some(index) = named(container, "names").or_else(|| named(container, "ids")) {
        let (name, array) = container.arrays()[index].clone();
        let labels =
            array.read_labels(&mut container.open(index)?, place.at(&format!("`{name}`")))?;
        labels.values().map(str::to_owned).collect()
    } else {
        return Ok(None);
    };
    if names.len() != rows {
        let found = format!("{} names for {rows} vectors", names.len());
        return Err(place.error(found, "expected one a vector"));
    }
    Ok(Some(names))
}

/// What the numbers of `labels` and of further columns stand for, where they stand for text.
fn column_texts(
    container: &dyn Container,
    place: Place<'_>,
) -> Result<BTreeMap<String, Vec<String>>, FileError> {
    let metadata = container.metadata();
    let mut texts: BTreeMap<String, Vec<String>> = match metadata.get("column_names") {
        Some(text) => json(text, "column_names", place)?,
        None => BTreeMap::new(),
    };
    if let Some(text) = metadata.get("label_names") {
        texts.insert("labels".to_owned(), json(text, "label_names", place)?);
    }
    Ok(texts)
}

fn json<T: serde::de::DeserializeOwned>(
    text: &str,
    key: &str,
    place: Place<'_>,
) -> Result<T, FileError> {
    serde_json::from_str(text).map_err(|error| {
        let found = format!("the metadata's `{key}` cannot be read ({error})");
        place.error(found, "expected JSON as `crossbatch embed` writes it")
    })
}

/// Numbers replaced by the texts they stand for.
fn named_labels(numbers: &Labels, texts: &[String], place: Place<'_>) -> Result<Labels, FileError> {
    let text = |number: &String| number.parse::<usize>().ok().and_then(|at| texts.get(at));
    if let Some(number) = numbers.distinct().iter().find(|number| text(number).is_none()) {
        return Err(place.error(
            format!("the value {number}, and the metadata has {} names", texts.len()),
            "expected numbers below that",
        ));
    }
    Ok(Labels::from_text(numbers.values().filter_map(|number| text(&number.to_owned()))))
}

/// Labels on their own: the array `labels`, or the only one.
pub(super) fn read_labels(
    container: &mut dyn Container,
    place: Place<'_>,
) -> Result<Labels, FileError> {
    let only = (container.arrays().len() == 1).then_some(0);
    let Some(index) = named(container, "labels").or(only) else {
        let found = format!("no `labels` among its arrays ({})", list(container.arrays()));
        return Err(place.error(found, "expected `labels` [N] of integers or text: rename them"));
    };
    let (name, array) = container.arrays()[index].clone();
    let at = format!("`{name}`");
    let labels = array.read_labels(&mut container.open(index)?, place.at(&at))?;
    match column_texts(container, place)?.get(&name) {
        Some(texts) => named_labels(&labels, texts, place.at(&at)),
        None => Ok(labels),
    }
}
