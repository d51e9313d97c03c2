//! Lines of official lists: plain text, one record a line.

use std::path::Path;

use crate::dataset::findings::Findings;
use crate::error::Error;

/// A line that is not blank.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// From 1.
    pub(crate) number: usize,
    /// Without its ends.
    pub(crate) text: &'a str,
}

impl<'a> Line<'a> {
    /// Fields between runs of blanks.
    pub(crate) fn fields(&self) -> Vec<&'a str> {
        self.text.split_ascii_whitespace().collect()
    }

    /// The first field and the rest, which may hold blanks.
    pub(crate) fn first_and_rest(&self) -> Option<(&'a str, &'a str)> {
        let (first, rest) = self.text.split_once([' ', '\t'])?;
        Some((first, rest.trim()))
    }
}

/// The lines of a list. A byte order mark, CRLF and blank lines are fine; lines that are no text are
/// faults.
pub(crate) fn lines<'a>(
    list: &Path,
    bytes: &'a [u8],
    expected: &'static str,
    findings: &mut Findings,
) -> Vec<Line<'a>> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut lines = Vec::new();
    for (place, raw) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = place + 1;
        match str::from_utf8(raw) {
            Ok(text) if text.contains('\0') => {
                findings.fault(fault(list, number, text, "a zero byte", expected));
            }
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => lines.push(Line { number, text: text.trim() }),
            Err(_) => {
                let text = String::from_utf8_lossy(raw);
                findings.fault(fault(list, number, &text, "text that is not UTF-8", expected));
            }
        }
    }
    lines
}

/// A line that cannot be understood.
pub(crate) fn fault(
    list: &Path,
    line: usize,
    text: &str,
    fault: impl Into<String>,
    expected: &'static str,
) -> Error {
    let shown: String = text.trim().chars().take(80).collect();
    let text = if shown.len() < text.trim().len() { format!("{shown}…") } else { shown };
    Error::Record { list: list.to_owned(), line, text, fault: fault.into(), expected }
}
