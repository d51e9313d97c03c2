//! A file from the network that has its name only once it is whole and checked.
//!
//! [`fetch`] writes into `TARGET.part`, goes on where an earlier call was broken off, checks size and SHA-256, and renames. A
//! part is continued only if the server can tell that its file is still the same (`If-Range` with the entity tag or the date
//! that is kept in `TARGET.part.version`), or if a known checksum will tell. A target that appears meanwhile is not replaced: it
//! is checked. The network needs the feature `http`; without it a file that is there already is still checked.

#[cfg(feature = "http")]
mod download;
mod error;
#[cfg(feature = "http")]
mod part;
#[cfg(feature = "http")]
mod transfer;

use std::{io::Read, ops::RangeInclusive, path::Path};

use fs_err as fs;
use sha2::{Digest, Sha256};

#[cfg(feature = "http")]
use download::download;
pub use error::Error;

/// What is to be fetched.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// From where: `https://…` or `http://…`; redirections are followed.
    pub url: &'a str,
    /// The file to be. Its folder is made.
    pub target: &'a Path,
    /// Its SHA-256 in hexadecimal, or how that begins (8 digits at least). None if nobody states it.
    pub sha256: Option<&'a str>,
    /// Its size in bytes as far as it is known.
    pub bytes: Option<RangeInclusive<u64>>,
}

/// What is on disk now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// SHA-256 of the whole file, 64 hexadecimal digits.
    pub sha256: String,
    /// Whether the file was there before, and nothing was fetched.
    pub was_there: bool,
}

/// Is told what happens, and asked.
pub trait Watch {
    /// So many bytes are there, of so many if the server says.
    fn progress(&mut self, done: u64, total: Option<u64>);
    /// An earlier call's bytes are kept.
    fn resumed(&mut self, _kept: u64) {}
    /// Whether to keep a file of this SHA-256, where none was stated to compare it with.
    ///
    /// # Errors
    /// If nobody could be asked.
    fn confirm(&mut self, sha256: &str) -> std::io::Result<bool>;
}

/// Fetches a file, or checks the one that is there.
///
/// # Errors
/// If it cannot be fetched or written, or is not what was wanted. After [`Error::Broken`] the next call goes on.
pub fn fetch(wanted: &Wanted, watch: &mut dyn Watch) -> Result<Fetched, Error> {
    // Every checksum begins with no digits.
    let expected = wanted.sha256.map(checked_digits).transpose()?.unwrap_or_default();
    if wanted.target.exists() {
        return check(wanted.target, expected);
    }
    download(wanted, expected, watch)
}

/// Without HTTP only what is there can be had; no folder and no file is made.
#[cfg(not(feature = "http"))]
fn download(wanted: &Wanted, _: String, _: &mut dyn Watch) -> Result<Fetched, Error> {
    Err(Error::Unavailable { url: wanted.url.to_owned() })
}

/// The file that is there, if it is the expected one.
fn check(target: &Path, expected: String) -> Result<Fetched, Error> {
    let found = sha256(fs::File::open(target)?)?;
    if !found.starts_with(&expected) {
        return Err(Error::OtherFile { path: target.to_owned(), found, expected });
    }
    Ok(Fetched { sha256: found, was_there: true })
}

fn checked_digits(given: &str) -> Result<String, Error> {
    let hexadecimal = given.bytes().all(|digit| digit.is_ascii_hexdigit());
    if hexadecimal && (8..=64).contains(&given.len()) {
        Ok(given.to_lowercase())
    } else {
        Err(Error::Checksum { given: given.to_owned() })
    }
}

fn sha256(mut file: impl Read) -> Result<String, Error> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
