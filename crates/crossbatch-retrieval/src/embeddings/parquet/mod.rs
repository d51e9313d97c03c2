//! Parquet, as pyarrow, pandas, Polars and Hugging Face's `datasets` write it: which columns are the vectors, the labels, the
//! names.
//!
//! Vectors are a column of lists of floats (of fixed or other length), or a column a number as in CSV. Whatever packs the
//! pages is unpacked without C code.

mod columns;
mod pages;

use std::path::Path;

use self::columns::{Column, INDEX, Table};
use super::{Embeddings, FileError, Labels, csv::longest_run, error::Place};
use crate::Values;

const VECTORS: [&str; 2] = ["embeddings", "embedding"];
const LABELS: [&str; 3] = ["labels", "label", "class"];
const NAMES: [&str; 5] = ["names", "name", "ids", "id", "path"];

/// What pandas and Arrow note about their own types.
const NOTES: [&str; 2] = ["ARROW:schema", "pandas"];

/// Vectors with their names, labels and further columns.
pub(super) fn read(path: &Path) -> Result<Embeddings, FileError> {
    let place = Place::file(path);
    let table = Table::open(path)?;
    if table.rows == 0 {
        return Err(place.error("no rows", "expected a vector a row"));
    }
    let scalars = || table.columns.iter().filter(|column| !column.list);
    let name = scalars().find(|column| is_one_of(column, &NAMES));
    let name = name.or_else(|| scalars().find(|column| column.name == INDEX));
    let label = scalars().find(|column| is_one_of(column, &LABELS));

    let numbered = numbered(&table);
    let (values, dim, at) = match find_lists(&table, place)? {
        Some(column) => {
            let (values, dim) = table.vectors(column)?;
            (values, dim, format!("`{}`", column.name))
        }
        None if !numbered.is_empty() => {
            let dim = numbered.len();
            (interleaved(&table, numbered)?, dim, format!("`{}` and so on", numbered[0].name))
        }
        None => {
            return Err(place.error(
                format!("no vectors among its columns ({})", list(&table.columns)),
                "expected a column `embeddings` of lists of floats, a single column of such lists, or columns `e0`, `e1`, …",
            ));
        }
    };
    let names = name.map(|column| table.texts(column)).transpose()?;
    let mut embeddings = Embeddings::checked(values, dim, names, place.at(&at))?;
    for column in scalars().filter(|column| Some(*column) != name) {
        if Some(column) == label {
            embeddings.labels = Some(Labels::from_text(table.texts(column)?));
        } else if !column.kind.is_float() {
            let values = Labels::from_text(table.texts(column)?);
            embeddings.columns.insert(column.name.clone(), values);
        }
    }
    let notes = table.notes().filter(|(key, _)| !NOTES.contains(key));
    embeddings.metadata = notes.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(embeddings)
}

/// The column `label`, or the only one that could be.
pub(super) fn read_labels(path: &Path) -> Result<Labels, FileError> {
    let place = Place::file(path);
    let table = Table::open(path)?;
    let mut scalars = table.columns.iter().filter(|column| !column.list && column.name != INDEX);
    let label = match scalars.clone().find(|column| is_one_of(column, &LABELS)) {
        Some(column) => Some(column),
        None => scalars.next().filter(|_| scalars.next().is_none()),
    };
    let Some(label) = label else {
        let found = format!("no `label` among its columns ({})", list(&table.columns));
        return Err(place.error(found, "expected `label` of integers or text: rename it"));
    };
    let texts = table.texts(label)?;
    match texts.iter().position(String::is_empty) {
        Some(row) => {
            let at = format!("`{}`, row {row}", label.name);
            Err(place.at(&at).error("no label", "expected one in every row"))
        }
        None => Ok(Labels::from_text(texts)),
    }
}

fn is_one_of(column: &Column, names: &[&str]) -> bool {
    names.iter().any(|name| column.name.eq_ignore_ascii_case(name))
}

/// The column of lists that holds the vectors, if there are lists.
fn find_lists<'t>(table: &'t Table<'_>, place: Place<'_>) -> Result<Option<&'t Column>, FileError> {
    let lists = || table.columns.iter().filter(|column| column.list);
    if let Some(column) = lists().find(|column| is_one_of(column, &VECTORS)) {
        return Ok(Some(column));
    }
    match lists().count() {
        0 | 1 => Ok(lists().next()),
        _ => Err(place.error(
            format!("several columns of lists of floats ({})", list(&table.columns)),
            "expected one of them to be called `embeddings`: rename it",
        )),
    }
}

/// The longest run of neighbouring columns of floats that are numbered one after the other, as in CSV.
fn numbered<'t>(table: &'t Table<'_>) -> &'t [Column] {
    let fits = |column: &Column| !column.list && column.kind.is_float();
    let names = table.columns.iter().map(|column| if fits(column) { &*column.name } else { "" });
    let (first, count) = longest_run(&names.collect::<Vec<&str>>());
    &table.columns[first..first + count]
}

/// Rows one after the other, of numbers that the file keeps column by column.
fn interleaved(table: &Table<'_>, columns: &[Column]) -> Result<Values, FileError> {
    let mut values = Vec::new();
    for (at, column) in columns.iter().enumerate() {
        let numbers = table.numbers(column)?;
        values.resize(numbers.len() * columns.len(), 0.0);
        let places = values.iter_mut().skip(at).step_by(columns.len());
        places.zip(numbers).for_each(|(place, value)| *place = value);
    }
    Ok(values.into())
}

/// Columns with their types, for errors; of many only the first.
fn list(columns: &[Column]) -> String {
    const MOST: usize = 8;
    let one = |column: &Column| match column.list {
        true => format!("{}: lists of {}", column.name, column.kind),
        false => format!("{}: {}", column.name, column.kind),
    };
    let mut text = columns.iter().take(MOST).map(one).collect::<Vec<_>>().join(", ");
    match columns.len() {
        0 => text.push_str("none that can be read"),
        count if count > MOST => text += &format!(", and {} more", count - MOST),
        _ => {}
    }
    text
}
