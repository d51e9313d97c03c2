//! The unfinished file, and beside it what tells whether it is still the same file that the server has.

use std::{
    fs::TryLockError,
    io::{ErrorKind, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use same_file::Handle;

use crate::{Error, sha256};

/// `TARGET.part`, locked against a second program for as long as this lives.
#[derive(Debug)]
pub(crate) struct Part {
    path: PathBuf,
    file: fs::File,
    /// Bytes that are there.
    pub(crate) length: u64,
    version_path: PathBuf,
    /// The server's entity tag or date of these bytes, as `If-Range` takes it.
    pub(crate) version: Option<String>,
}

impl Part {
    /// The target's part, as an earlier call left it or empty.
    pub(crate) fn open(target: &Path) -> Result<Self, Error> {
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        let path = with_end(target, ".part");
        let version_path = with_end(target, ".part.version");
        // Not truncated: nothing is touched before the lock is held.
        let file = fs::OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)?;
        match file.file().try_lock() {
            Ok(()) => (),
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path }),
            // Some network file systems have no locks.
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let length = file.metadata()?.len();
        let version = fs::read_to_string(&version_path).ok().filter(|text| !text.is_empty());
        Ok(Self { path, file, length, version_path, version })
    }

    /// Refuses a file that whoever held the lock has renamed or removed since it was opened: another one may have its name.
    pub(crate) fn check_place(&self) -> Result<(), Error> {
        let own = Handle::from_file(self.file.file().try_clone()?)?;
        match Handle::from_path(&self.path) {
            Ok(named) if named == own => Ok(()),
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Err(Error::InUse { path: self.path.clone() }),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes everything away.
    pub(crate) fn clear(&mut self) -> Result<(), Error> {
        self.file.set_len(0)?;
        self.length = 0;
        self.set_version(None)
    }

    /// Remembers what the bytes from the first on belong to.
    pub(crate) fn set_version(&mut self, version: Option<String>) -> Result<(), Error> {
        match &version {
            Some(version) => fs::write(&self.version_path, version)?,
            None => remove(&self.version_path)?,
        }
        self.version = version;
        Ok(())
    }

    /// Puts bytes at the end.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(bytes)?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    pub(crate) fn sha256(&mut self) -> Result<String, Error> {
        self.file.seek(SeekFrom::Start(0))?;
        sha256(&mut self.file)
    }

    /// Gives the file its name.
    pub(crate) fn finish(self, target: &Path) -> Result<(), Error> {
        self.file.sync_all()?;
        fs::rename(&self.path, target)?;
        remove(&self.version_path)
    }

    pub(crate) fn remove(&mut self) -> Result<(), Error> {
        remove(&self.path)?;
        remove(&self.version_path)
    }

    /// Leaves no file behind where nothing came.
    pub(crate) fn remove_if_empty(&mut self) -> Result<(), Error> {
        if self.length == 0 { self.remove() } else { Ok(()) }
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_lost_its_name_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("net.pth");
        let part = Part::open(&target).unwrap();
        part.check_place().unwrap();
        fs::remove_file(part.path()).unwrap();
        assert!(matches!(part.check_place(), Err(Error::InUse { .. })));
        fs::write(part.path(), b"of another program").unwrap();
        assert!(matches!(part.check_place(), Err(Error::InUse { .. })));
    }
}
