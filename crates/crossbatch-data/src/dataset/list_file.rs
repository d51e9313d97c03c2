//! The text of a list: `path,label` lines, read tolerantly.
//!
//! - A byte order mark, CRLF and blank lines are skipped. A first line of column names (`path`,
//!   `image` or `file`, then `label` or `class`) is skipped too.
//! - A field in double quotes may hold commas, and doubled quotes for one quote. Quotes anywhere else
//!   are text.
//! - Without quotes the label is what follows the *last* comma, so a path may hold commas.
//! - `.tsv` files have tabs in place of commas; so have lines of a `.txt` without any comma.
//!
//! Where [`Columns`] name columns, a line is a record of fields instead: commas belong to a field only
//! within quotes, and every line has as many fields as the first.

use std::path::{Path, PathBuf};

use crate::dataset::Columns;
use crate::dataset::walk::has_ending;
use crate::error::Error;

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) path: String,
    /// None where the line is a bare path and that is allowed.
    pub(crate) label: Option<String>,
    /// What the split column says, where one is named.
    pub(crate) split: Option<String>,
    /// Values of the named groups.
    pub(crate) groups: Vec<String>,
}

/// Endings of lists.
pub(crate) const LIST_ENDINGS: [&str; 3] = ["txt", "csv", "tsv"];

const PATH_COLUMNS: [&str; 9] =
    ["path", "image", "file", "filename", "file_name", "filepath", "image_path", "img", "name"];
const LABEL_COLUMNS: [&str; 8] =
    ["label", "class", "class_id", "class_name", "label_id", "product", "id", "target"];

/// Reads a list; `labelled` says that every line must have a label. The first fault ends it.
pub(crate) fn read(list: &Path, labelled: bool) -> Result<Vec<Row>, Error> {
    let (rows, faults) = read_all(list, labelled, &Columns::default())?;
    faults.into_iter().next().map_or(Ok(rows), Err)
}

/// Reads a list. Lines that cannot be used are left out, each with its error.
pub(crate) fn read_all(
    list: &Path,
    labelled: bool,
    columns: &Columns,
) -> Result<(Vec<Row>, Vec<Error>), Error> {
    let bytes = fs_err::read(list)?;
    parse(list, &bytes, labelled, columns)
}

/// The rows of a list's bytes.
pub(crate) fn parse(
    list: &Path,
    bytes: &[u8],
    labelled: bool,
    columns: &Columns,
) -> Result<(Vec<Row>, Vec<Error>), Error> {
    let tabs = has_ending(list, &["tsv"]);
    let fail = |line: usize, text: &[u8], fault: String| {
        let text = String::from_utf8_lossy(text);
        let shown: String = text.chars().take(80).collect();
        let text = if shown.len() < text.len() { format!("{shown}…") } else { shown };
        Error::ListLine { list: PathBuf::from(list), line, text, fault }
    };
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    let mut first = true;
    let mut places = None;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    for (number, raw) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = number + 1;
        let mut fault = |what: &str| faults.push(fail(line, raw, what.to_owned()));
        let Ok(text) = str::from_utf8(raw) else {
            fault("text that is not UTF-8");
            continue;
        };
        // Of a record the last field may be empty: its tab is not to be trimmed.
        let text = text.trim_matches([' ', '\r']);
        if text.trim().is_empty() {
            continue;
        }
        if text.contains('\0') {
            fault("a zero byte");
            continue;
        }
        let comma = if tabs || (!text.contains(',') && text.contains('\t')) { '\t' } else { ',' };
        let row = if columns.is_empty() {
            let (path, label) = match fields(text.trim(), comma) {
                Ok(found) => found,
                Err(what) => {
                    fault(what);
                    continue;
                }
            };
            if std::mem::take(&mut first) && is_header(&path, label.as_deref()) {
                continue;
            }
            Row { line, path, label, split: None, groups: Vec::new() }
        } else {
            let record = record(text, comma);
            let places = match &places {
                Some(places) => places,
                None => {
                    let (found, is_header) =
                        Places::of(columns, &record).map_err(|what| fail(line, raw, what))?;
                    let found = &*places.insert(found);
                    if is_header {
                        continue;
                    }
                    found
                }
            };
            if record.len() != places.fields {
                let (found, wanted) = (record.len(), places.fields);
                fault(&format!("{found} fields, where the first line has {wanted},"));
                continue;
            }
            let field = |place: usize| record[place].clone();
            Row {
                line,
                path: field(places.path),
                label: Some(field(places.label)),
                split: places.split.map(field),
                groups: places.groups.iter().map(|&place| field(place)).collect(),
            }
        };
        if row.path.is_empty() {
            fault("no path");
        } else if row.label.as_ref().is_some_and(String::is_empty)
            || (labelled && row.label.is_none())
        {
            fault("no label");
        } else {
            rows.push(Row { path: without_dots(&row.path), ..row });
        }
    }
    if rows.is_empty() && faults.is_empty() {
        return Err(Error::ListEmpty { list: PathBuf::from(list) });
    }
    Ok((rows, faults))
}

/// Where the named columns are.
struct Places {
    fields: usize,
    path: usize,
    label: usize,
    split: Option<usize>,
    groups: Vec<usize>,
}

impl Places {
    /// From the first line; whether it holds column names.
    fn of(columns: &Columns, first: &[String]) -> Result<(Self, bool), String> {
        let mut named = false;
        let mut find = |column: &String| match column.parse::<usize>() {
            Ok(number) if (1..=first.len()).contains(&number) => Ok(number - 1),
            Ok(number) => Err(format!("no column {number}, but {} fields,", first.len())),
            Err(_) => {
                named = true;
                let same = |own: &String| own.eq_ignore_ascii_case(column);
                first.iter().position(same).ok_or_else(|| format!("no column called `{column}`"))
            }
        };
        // The configuration names both or neither.
        let path = columns.path.as_ref().map_or(Ok(0), &mut find)?;
        let label = columns.label.as_ref().map_or(Ok(1), &mut find)?;
        let split = columns.split.as_ref().map(&mut find).transpose()?;
        let groups = columns.groups.iter().map(&mut find).collect::<Result<_, _>>()?;
        let header = named || is_header(&first[path], Some(&first[label]));
        Ok((Self { fields: first.len(), path, label, split, groups }, header))
    }
}

/// All fields of a line: quoted ones may hold commas and doubled quotes.
fn record(text: &str, comma: char) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let start = rest.trim_start_matches(' ');
        if let Some((field, next)) = quoted(start, comma) {
            fields.push(field);
            match next {
                Some(next) => rest = next,
                None => return fields,
            }
            continue;
        }
        match rest.split_once(comma) {
            Some((field, next)) => {
                fields.push(field.trim().to_owned());
                rest = next;
            }
            None => {
                fields.push(rest.trim().to_owned());
                return fields;
            }
        }
    }
}

/// `./a/./b` is `a/b`: one image has one name, so that listing it twice is noticed.
fn without_dots(path: &str) -> String {
    path.split('/').filter(|part| *part != ".").collect::<Vec<_>>().join("/")
}

fn is_header(path: &str, label: Option<&str>) -> bool {
    let known =
        |text: &str, words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    known(path, &PATH_COLUMNS) && label.is_none_or(|label| known(label, &LABEL_COLUMNS))
}

/// Path and label of a line without its ends.
fn fields(text: &str, comma: char) -> Result<(String, Option<String>), &'static str> {
    if let Some((path, rest)) = quoted(text, comma) {
        let Some(rest) = rest else {
            return Ok((path, None));
        };
        return match quoted(rest.trim(), comma) {
            Some((label, None)) => Ok((path, Some(label))),
            Some((_, Some(_))) => Err("more than two fields"),
            None if rest.contains(comma) => Err("more than two fields"),
            None => Ok((path, Some(rest.trim().to_owned()))),
        };
    }
    // The label is a quoted field that ends the line, or what follows the last comma.
    for (place, _) in text.match_indices(comma) {
        if let Some((label, None)) = quoted(text[place + 1..].trim(), comma) {
            return Ok((text[..place].trim().to_owned(), Some(label)));
        }
    }
    match text.rsplit_once(comma) {
        Some((path, label)) => Ok((path.trim().to_owned(), Some(label.trim().to_owned()))),
        None => Ok((text.to_owned(), None)),
    }
}

/// A field in quotes at the start, and what follows the comma after it. None if the text does not
/// start with a well-formed one: then its quotes are text.
fn quoted(text: &str, comma: char) -> Option<(String, Option<&str>)> {
    let mut rest = text.strip_prefix('"')?;
    let mut field = String::new();
    loop {
        let (before, after) = rest.split_once('"')?;
        field.push_str(before);
        rest = match after.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                more
            }
            None => {
                let after = after.trim_start_matches(' ');
                return match after.strip_prefix(comma) {
                    Some(next) => Some((field, Some(next))),
                    None => after.is_empty().then_some((field, None)),
                };
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> (String, Option<String>) {
        fields(text, ',').unwrap()
    }

    fn pair(path: &str, label: &str) -> (String, Option<String>) {
        (path.to_owned(), Some(label.to_owned()))
    }

    #[test]
    fn quoting() {
        assert_eq!(of("a/b.png,7"), pair("a/b.png", "7"));
        assert_eq!(of("a,b.png,7"), pair("a,b.png", "7"));
        assert_eq!(of("\"a,b.png\",7"), pair("a,b.png", "7"));
        assert_eq!(of("\"a\"\"b.png\" , \"red, big\""), pair("a\"b.png", "red, big"));
        assert_eq!(of("a,b.png,\"red, big\""), pair("a,b.png", "red, big"));
        assert_eq!(of("a.png, 12\" pan"), pair("a.png", "12\" pan"));
        assert_eq!(of("\"a\"b.png,7"), pair("\"a\"b.png", "7"));
        assert_eq!(of("\"a.png,7"), pair("\"a.png", "7"));
        assert_eq!(of("a.png"), ("a.png".to_owned(), None));
        assert_eq!(of("\"a,b.png\""), ("a,b.png".to_owned(), None));
        assert_eq!(of("a.png,"), pair("a.png", ""));
        assert!(fields("\"a.png\",1,2", ',').is_err());
        assert_eq!(fields("a b.png\t1,2", '\t').unwrap(), pair("a b.png", "1,2"));
    }

    #[test]
    fn records_of_named_columns() {
        let fields = |text| record(text, ',');
        assert_eq!(fields("a, b ,\"c, d\",\"e \"\"f\"\"\""), ["a", "b", "c, d", "e \"f\""]);
        assert_eq!(fields("a,,"), ["a", "", ""]);
        let columns = Columns {
            path: Some("file".into()),
            label: Some("3".into()),
            split: Some("part".into()),
            groups: vec!["camera".into()],
        };
        let parse = |text: &str| parse(Path::new("l.csv"), text.as_bytes(), true, &columns);
        let (rows, faults) =
            parse("part,File,class,camera\r\ntest,\"a,b.png\",007,2\ntest,a.png\n").unwrap();
        let groups = vec!["2".to_owned()];
        let (label, split) = (Some("007".to_owned()), Some("test".to_owned()));
        assert_eq!(rows, [Row { line: 2, path: "a,b.png".into(), label, split, groups }]);
        let fault = faults[0].to_string();
        assert!(fault.contains("l.csv:3: 2 fields, where the first line has 4"), "{fault}");
        let error = parse("part,image,class,camera\n").unwrap_err().to_string();
        assert!(error.contains("l.csv:1: no column called `file`"), "{error}");
    }

    #[test]
    fn header_words() {
        assert!(is_header("Path", Some("Label")) && is_header("image", None));
        assert!(!is_header("path", Some("7")) && !is_header("a.png", Some("label")));
    }

    #[test]
    fn dots_are_no_part_of_a_path() {
        assert_eq!(without_dots("./a/./b.png"), "a/b.png");
        assert_eq!(without_dots("/a/../b.c/.d"), "/a/../b.c/.d");
    }
}
