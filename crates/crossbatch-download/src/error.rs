//! What can go wrong, and what to do about it.

use std::path::{Path, PathBuf};

/// Errors of [`fetch`](crate::fetch).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The crate was built without its feature `http`.
    #[error("cannot fetch {url}: built without the feature `http`")]
    Unavailable {
        /// What was to be fetched.
        url: String,
    },
    /// The expected checksum is none.
    #[error("cannot use the SHA-256 `{given}`: expected 8 to 64 hexadecimal digits")]
    Checksum {
        /// As given.
        given: String,
    },
    /// There is a file of the target's name, and it is another one.
    #[error("{} is there already and is another file: its SHA-256 is {found}, expected {expected}; move it away", path.display())]
    OtherFile {
        /// The target.
        path: PathBuf,
        /// SHA-256 of what is there.
        found: String,
        /// What was expected, or how that begins.
        expected: String,
    },
    /// Somebody else is writing the same part.
    #[error("another program is writing {}; wait for it", path.display())]
    InUse {
        /// The unfinished file.
        path: PathBuf,
    },
    /// The server could not be reached, or stopped.
    #[error("cannot fetch {url}: {reason}; {}", what_is_kept(*kept, part))]
    Broken {
        /// What was fetched.
        url: String,
        /// What happened.
        reason: String,
        /// The unfinished file; there is none where nothing is kept.
        part: PathBuf,
        /// Its size.
        kept: u64,
    },
    /// The server has no such file, or none for us.
    #[error("{url} answers with status {status}")]
    Status {
        /// What was fetched.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The file is not as long as its publisher says.
    #[error("what {url} sends is {found} bytes long, expected {least} to {most}; nothing is kept")]
    Size {
        /// What was fetched.
        url: String,
        /// Bytes announced or received.
        found: u64,
        /// The least that was expected.
        least: u64,
        /// The most that was expected.
        most: u64,
    },
    /// The file is not the one that was expected.
    #[error("what came from {url} was thrown away: its SHA-256 is {found}, expected {expected}")]
    Mismatch {
        /// What was fetched.
        url: String,
        /// SHA-256 of what came.
        found: String,
        /// What was expected, or how that begins.
        expected: String,
    },
    /// The checksum was not known, and the caller did not confirm the one that was found.
    #[error("what came from {url} was thrown away: its SHA-256 {found} was not confirmed")]
    NotConfirmed {
        /// What was fetched.
        url: String,
        /// SHA-256 of what came.
        found: String,
    },
    /// The disk; the message has the path.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

fn what_is_kept(bytes: u64, part: &Path) -> String {
    match bytes {
        0 => "nothing came, try again".to_owned(),
        _ => {
            format!("{bytes} bytes are kept in {}, run the command again to go on", part.display())
        }
    }
}
