//! One open file, read by many threads.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use fs_err::File;

/// A shared file with a reading position of its own.
#[derive(Debug, Clone)]
pub(super) struct Handle {
    file: Arc<File>,
    position: u64,
    length: u64,
}

impl Handle {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        Ok(Self { file: Arc::new(file), position: 0, length })
    }

    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// The same file, read from `position` on.
    pub(super) fn at(&self, position: u64) -> Self {
        Self { position, ..self.clone() }
    }
}

impl Read for Handle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        #[cfg(unix)]
        let count = fs_err::os::unix::fs::FileExt::read_at(&*self.file, buffer, self.position)?;
        #[cfg(windows)]
        let count =
            fs_err::os::windows::fs::FileExt::seek_read(&*self.file, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for Handle {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the archive points before its own start")
        })?;
        Ok(self.position)
    }
}
