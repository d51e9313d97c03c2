//! What can be wrong with a file of embeddings.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

/// Why a file of embeddings or labels could not be read or written.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FileError {
    /// The file system's own error; it names the file.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file holds something else than was expected.
    #[error("{}{}{at}: {found}; {expected}", path.display(), if at.is_empty() { "" } else { ", " })]
    Content {
        /// The file.
        path: PathBuf,
        /// The line, array or tensor; empty where it is the file as a whole.
        at: String,
        /// What was found there.
        found: String,
        /// What was expected, and what to do.
        expected: String,
    },
}

/// A place in a file, for the errors about it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    pub(super) at: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn file(path: &'a Path) -> Self {
        Self { path, at: "" }
    }

    pub(super) fn at<'b>(self, at: &'b str) -> Place<'b>
    where
        'a: 'b,
    {
        Place { path: self.path, at }
    }

    pub(super) fn error(self, found: impl Into<String>, expected: impl Into<String>) -> FileError {
        FileError::Content {
            path: self.path.to_owned(),
            at: self.at.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    /// An error while reading here; the end of the file has its own words.
    pub(super) fn io(self, error: io::Error) -> FileError {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.error(
                "the data end too early",
                "the file is truncated or damaged: copy or write it again",
            ),
            _ => FileError::Io(io::Error::new(
                error.kind(),
                format!("cannot read {}: {error}", self.path.display()),
            )),
        }
    }
}
