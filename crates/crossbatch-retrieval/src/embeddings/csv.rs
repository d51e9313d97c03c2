//! Embeddings as text: a line a row, a column a number.
//!
//! With a header, vectors are the longest run of columns that are numbered one after the other (`e0`, `e1`, …, or `0`,
//! `1`, …); `name` (or `id`, `path`) and `label` (or `class`) are what they say, and each other column is a further column of
//! the embeddings. Without a header a line holds numbers only, or a name, a label, and numbers.

use std::{
    io::{self, Write},
    path::Path,
};

use ::csv::{Reader, ReaderBuilder, StringRecord};

use super::{Embeddings, FileError, Labels, error::Place};
use crate::Values;

const EXPECTED: &str = "expected a header `name,label,e0,e1,…` (name and label may be missing, further columns may be \
                        there), or lines of numbers only";

/// What the columns are.
#[derive(Debug, Default, PartialEq)]
struct Layout {
    name: Option<usize>,
    label: Option<usize>,
    /// Further columns and their names.
    others: Vec<(usize, String)>,
    /// First column of the vectors, and how many there are.
    first: usize,
    dim: usize,
    /// Columns in all.
    width: usize,
    header: bool,
}

fn is_number(field: &str) -> bool {
    field.trim().parse::<f32>().is_ok()
}

/// `e12` as `("e", 12)`.
fn numbered(field: &str) -> Option<(&str, u32)> {
    let prefix = field.trim().trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &field.trim()[prefix.len()..];
    Some((prefix, digits.parse().ok()?))
}

/// Start and length of the longest run of columns with one prefix and ascending numbers.
pub(super) fn longest_run(fields: &[&str]) -> (usize, usize) {
    let (mut best, mut start) = ((0, 0), 0);
    for end in 1..=fields.len() {
        let follows = end < fields.len()
            && matches!(
                (numbered(fields[end - 1]), numbered(fields[end])),
                (Some((a, m)), Some((b, n))) if a == b && m.checked_add(1) == Some(n)
            );
        if !follows {
            if numbered(fields[start]).is_some() && end - start > best.1 {
                best = (start, end - start);
            }
            start = end;
        }
    }
    best
}

impl Layout {
    fn of(first: &StringRecord) -> Option<Self> {
        let fields: Vec<&str> = first.iter().collect();
        let width = fields.len();
        let words = fields.iter().rposition(|field| !is_number(field)).map_or(0, |last| last + 1);
        let run = longest_run(&fields);
        // Columns may be called 0, 1, 2, …; no vector looks like that.
        let counts = fields[words..].iter().zip([0, 1]).all(|(field, start)| {
            numbered(field).is_some_and(|(prefix, _)| prefix.is_empty()) && start < 2
        }) && run == (words, width - words)
            && width - words >= 2
            && ["0", "1"].contains(&fields[words].trim());
        if words < width && !counts {
            return Self::without_header(&fields, words);
        }
        let mut layout = Self { first: run.0, dim: run.1, width, header: true, ..Self::default() };
        if layout.dim == 0 {
            return None;
        }
        for (column, field) in fields.iter().enumerate() {
            let field = field.trim().trim_start_matches('\u{feff}');
            match field.to_ascii_lowercase().as_str() {
                _ if (run.0..run.0 + run.1).contains(&column) => {}
                "name" | "id" | "path" if layout.name.is_none() => layout.name = Some(column),
                "label" | "class" if layout.label.is_none() => layout.label = Some(column),
                // What pandas calls its row numbers.
                "" => {}
                _ => layout.others.push((column, field.to_owned())),
            }
        }
        Some(layout)
    }

    /// Numbers only, or a name, a label and numbers.
    fn without_header(fields: &[&str], words: usize) -> Option<Self> {
        let width = fields.len();
        if words == 0 {
            return Some(Self { dim: width, width, ..Self::default() });
        }
        let label = fields.get(1)?;
        let fraction = is_number(label) && label.trim().parse::<i128>().is_err();
        (words <= 2 && width > 2 && !fraction).then(|| Self {
            name: Some(0),
            label: Some(1),
            first: 2,
            dim: width - 2,
            width,
            ..Self::default()
        })
    }
}

fn reader(path: &Path) -> Result<Reader<fs_err::File>, FileError> {
    let delimiter = match path.extension() {
        Some(ending) if ending.eq_ignore_ascii_case("tsv") => b'\t',
        _ => b',',
    };
    let mut builder = ReaderBuilder::new();
    builder.has_headers(false).flexible(true).delimiter(delimiter);
    Ok(builder.from_reader(fs_err::File::open(path)?))
}

/// The next line; its number is in the record's position.
fn next(
    reader: &mut Reader<fs_err::File>,
    record: &mut StringRecord,
    place: Place<'_>,
) -> Result<bool, FileError> {
    reader.read_record(record).map_err(|error| {
        let line = error.position().map_or(0, ::csv::Position::line);
        match error.into_kind() {
            ::csv::ErrorKind::Io(error) => error.into(),
            _ => place
                .at(&format!("line {line}"))
                .error("text that is not UTF-8", "save it as UTF-8"),
        }
    })
}

fn line_of(record: &StringRecord) -> String {
    format!("line {}", record.position().map_or(0, ::csv::Position::line))
}

/// Vectors with their names, labels and further columns.
pub(super) fn read(path: &Path) -> Result<Embeddings, FileError> {
    let place = Place::file(path);
    let mut reader = reader(path)?;
    let mut record = StringRecord::new();
    if !next(&mut reader, &mut record, place)? {
        return Err(place.error("it is empty", EXPECTED));
    }
    let layout = Layout::of(&record).ok_or_else(|| {
        place.at("line 1").error("no columns of numbers were recognised", EXPECTED)
    })?;
    let mut values: Vec<f32> = Vec::new();
    let (mut names, mut labels) = (Vec::new(), Vec::new());
    let mut others = vec![Vec::new(); layout.others.len()];
    let mut more = !layout.header || next(&mut reader, &mut record, place)?;
    while more {
        if record.len() != layout.width {
            let found = format!("{} fields", record.len());
            let expected = format!("expected {} as in line 1", layout.width);
            return Err(place.at(&line_of(&record)).error(found, expected));
        }
        for column in layout.first..layout.first + layout.dim {
            let field = record[column].trim();
            match field.parse::<f32>() {
                Ok(value) if value.is_finite() => values.push(value),
                _ => {
                    return Err(place.at(&line_of(&record)).error(
                        format!("`{field}` in column {}", column + 1),
                        "expected a finite number: leave the row out, or write it again",
                    ));
                }
            }
        }
        names.extend(layout.name.map(|column| record[column].to_owned()));
        labels.extend(layout.label.map(|column| record[column].to_owned()));
        for (values, (column, _)) in others.iter_mut().zip(&layout.others) {
            values.push(record[*column].to_owned());
        }
        more = next(&mut reader, &mut record, place)?;
    }
    if values.is_empty() {
        return Err(place.error("a header and no row", EXPECTED));
    }
    let names = layout.name.map(|_| names);
    let mut embeddings = Embeddings::checked(values.into(), layout.dim, names, place)?;
    embeddings.labels = layout.label.map(|_| Labels::from_text(&labels));
    let others = layout.others.into_iter().zip(others);
    embeddings.columns =
        others.map(|((_, name), values)| (name, Labels::from_text(&values))).collect();
    Ok(embeddings)
}

/// The column `label` (or `class`) where there is a header, else the only one.
pub(super) fn read_labels(path: &Path) -> Result<Labels, FileError> {
    const EXPECTED: &str = "expected a header with a column `label`, or one label a line";
    let place = Place::file(path);
    let mut reader = reader(path)?;
    let mut record = StringRecord::new();
    if !next(&mut reader, &mut record, place)? {
        return Err(place.error("it is empty", EXPECTED));
    }
    let names = ["label", "class"];
    let is_label = |field: &str| {
        names
            .iter()
            .any(|name| field.trim().trim_start_matches('\u{feff}').eq_ignore_ascii_case(name))
    };
    let header = record.iter().position(is_label);
    let column = match header {
        Some(column) => column,
        None if record.len() == 1 => 0,
        None => {
            let found = format!("{} columns, none called `label`", record.len());
            return Err(place.at("line 1").error(found, EXPECTED));
        }
    };
    let mut labels = Vec::new();
    let mut more = header.is_none() || next(&mut reader, &mut record, place)?;
    while more {
        let label = record.get(column).unwrap_or("");
        if label.is_empty() {
            return Err(place
                .at(&line_of(&record))
                .error("no label", "expected one in every line"));
        }
        labels.push(label.to_owned());
        more = next(&mut reader, &mut record, place)?;
    }
    Ok(Labels::from_text(&labels))
}

/// `name,label,` further columns, `e0,e1…`. Numbers are the shortest that read back as the same f32.
pub(super) fn write(embeddings: &Embeddings, file: &mut dyn Write) -> io::Result<()> {
    let mut writer = ::csv::Writer::from_writer(file);
    let columns: Vec<(&str, &Labels)> = embeddings
        .labels
        .iter()
        .map(|labels| ("label", labels))
        .chain(embeddings.columns.iter().map(|(name, labels)| (name.as_str(), labels)))
        .collect();
    let name = embeddings.names.as_ref().map(|_| "name");
    let numbers = (0..embeddings.dim()).map(|column| format!("e{column}"));
    let words = name.into_iter().chain(columns.iter().map(|(name, _)| *name)).map(str::to_owned);
    writer.write_record(words.chain(numbers))?;
    for row in 0..embeddings.len() {
        if let Some(names) = &embeddings.names {
            writer.write_field(&names[row])?;
        }
        for (_, labels) in &columns {
            writer.write_field(labels.value(row))?;
        }
        let places = row * embeddings.dim()..(row + 1) * embeddings.dim();
        match embeddings.values() {
            Values::F32(values) => write_numbers(&mut writer, &values[places])?,
            Values::F16(values) => write_numbers(&mut writer, &values[places])?,
            Values::Bf16(values) => write_numbers(&mut writer, &values[places])?,
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.flush()
}

fn write_numbers<W: Write, T: Copy + Into<f32>>(
    writer: &mut ::csv::Writer<W>,
    numbers: &[T],
) -> io::Result<()> {
    for &number in numbers {
        writer.write_field(number.into().to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(line: &str) -> Option<Layout> {
        Layout::of(&line.split(',').collect::<Vec<_>>().into())
    }

    #[test]
    fn headers_are_told_from_numbers() {
        let found = layout("name,label,camera,e0,e1,e2").unwrap();
        assert_eq!((found.name, found.label, found.first, found.dim), (Some(0), Some(1), 3, 3));
        assert_eq!(found.others, [(2, "camera".to_owned())]);
        let found = layout("f1,f2,f3,Class,cam1").unwrap();
        assert_eq!((found.label, found.first, found.dim), (Some(3), 0, 3));
        assert_eq!(found.others, [(4, "cam1".to_owned())]);
        let pandas = layout(",label,0,1,2").unwrap();
        assert!(pandas.header && pandas.others.is_empty());
        assert_eq!((pandas.label, pandas.first, pandas.dim), (Some(1), 2, 3));
        assert!(layout("0,1,2").unwrap().header);
        assert_eq!(layout("name,label,x,y"), None);
    }

    #[test]
    fn lines_without_a_header() {
        let found = layout("0.5,-1,2e-3").unwrap();
        assert_eq!((found.header, found.first, found.dim), (false, 0, 3));
        assert!(!layout("1,2,4").unwrap().header);
        assert!(!layout("3,4,5").unwrap().header);
        for line in ["a.png,pear,0.1,0.2", "a.png,12,0.1,0.2"] {
            let found = layout(line).unwrap();
            assert_eq!((found.header, found.label, found.first, found.dim), (false, Some(1), 2, 2));
        }
        // A fraction is no label, and three words are one too many.
        assert_eq!(layout("a.png,0.3,0.1,0.2"), None);
        assert_eq!(layout("a.png,pear,x,0.1,0.2"), None);
    }
}
