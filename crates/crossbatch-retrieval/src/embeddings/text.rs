//! Labels as plain text, one a line.

use std::path::Path;

use super::{FileError, Labels, error::Place};

/// A label a line; empty lines at the end are none.
pub(super) fn read_labels(path: &Path) -> Result<Labels, FileError> {
    let text = fs_err::read_to_string(path)?;
    let lines: Vec<&str> = text.trim_end().lines().map(str::trim).collect();
    match lines.iter().position(|line| line.is_empty()) {
        Some(empty) => {
            let at = format!("line {}", empty + 1);
            Err(Place::file(path).at(&at).error("no label", "expected one in every line"))
        }
        None => Ok(Labels::from_text(lines)),
    }
}
