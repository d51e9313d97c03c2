//! The text of a list: `path,label` lines, read tolerantly.
//!
//! - A byte order mark, CRLF and blank lines are skipped. A first line of column names (`path`,
//!   `image` or `file`, then `label` or `class`) is skipped too.
//! - A field in double quotes may hold commas, and doubled quotes for one quote. Quotes anywhere else
//!   are text.
//! - Without quotes the label is what follows the *last* comma, so a path may hold commas.
//! - `.tsv` files have tabs in place of commas; so have lines of a `.txt` without any comma.

use std::path::{Path, PathBuf};

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
}

/// Endings of lists.
pub(crate) const LIST_ENDINGS: [&str; 3] = ["txt", "csv", "tsv"];

const PATH_COLUMNS: [&str; 9] =
    ["path", "image", "file", "filename", "file_name", "filepath", "image_path", "img", "name"];
const LABEL_COLUMNS: [&str; 8] =
    ["label", "class", "class_id", "class_name", "label_id", "product", "id", "target"];

/// Reads a list; `labelled` says that every line must have a label.
pub(crate) fn read(list: &Path, labelled: bool) -> Result<Vec<Row>, Error> {
    let bytes = fs_err::read(list)?;
    let tabs = has_ending(list, &["tsv"]);
    let fail = |line: usize, text: &[u8], fault| {
        let text = String::from_utf8_lossy(text);
        let shown: String = text.chars().take(80).collect();
        let text = if shown.len() < text.len() { format!("{shown}…") } else { shown };
        Error::ListLine { list: PathBuf::from(list), line, text, fault }
    };
    let mut rows = Vec::new();
    let mut first = true;
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes);
    for (number, raw) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let line = number + 1;
        let text =
            str::from_utf8(raw).map_err(|_| fail(line, raw, "text that is not UTF-8"))?.trim();
        if text.is_empty() {
            continue;
        }
        if text.contains('\0') {
            return Err(fail(line, raw, "a zero byte"));
        }
        let comma = if tabs || (!text.contains(',') && text.contains('\t')) { '\t' } else { ',' };
        let (path, label) = fields(text, comma).map_err(|fault| fail(line, raw, fault))?;
        let header = std::mem::take(&mut first) && is_header(&path, label.as_deref());
        if header {
            continue;
        }
        if path.is_empty() {
            return Err(fail(line, raw, "no path"));
        }
        if label.as_ref().is_some_and(String::is_empty) || (labelled && label.is_none()) {
            return Err(fail(line, raw, "no label"));
        }
        rows.push(Row { line, path: without_dots(&path), label });
    }
    if rows.is_empty() {
        return Err(Error::ListEmpty { list: PathBuf::from(list) });
    }
    Ok(rows)
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
