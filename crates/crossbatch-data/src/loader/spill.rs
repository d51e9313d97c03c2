//! A file of decoded pictures that nobody else sees and that is gone with its owner.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use fs_err as fs;

/// Grows up to its budget. Written and read at places of their own by many threads.
#[derive(Debug)]
pub(super) struct Spill {
    file: fs::File,
    path: PathBuf,
    next: AtomicU64,
    budget: u64,
}

impl Spill {
    /// A new file in `folder` for so many bytes.
    pub(super) fn new(folder: &Path, budget: u64) -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("crossbatch-{}-{count}.cache", std::process::id()));
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        // An open file needs no name, and one without leaves nothing behind however the program ends.
        #[cfg(unix)]
        fs::remove_file(&path)?;
        Ok(Self { file, path, next: AtomicU64::new(0), budget })
    }

    /// Writes the bytes somewhere and says where; none if they no longer fit.
    pub(super) fn put(&self, bytes: &[u8]) -> io::Result<Option<u64>> {
        let length = bytes.len() as u64;
        let grow = |next: u64| next.checked_add(length).filter(|&end| end <= self.budget);
        match self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grow) {
            Ok(start) => self.write(bytes, start).map(|()| Some(start)),
            Err(_) => Ok(None),
        }
    }

    /// Takes the bytes of the last [`put`](Self::put) back, unless another one followed.
    pub(super) fn give_back(&self, start: u64, length: usize) {
        let (end, order) = (start + length as u64, Ordering::Relaxed);
        let _ = self.next.compare_exchange(end, start, order, order);
    }

    /// Fills `bytes` from what was put at `start`.
    pub(super) fn get(&self, start: u64, mut bytes: &mut [u8]) -> io::Result<()> {
        let mut place = start;
        while !bytes.is_empty() {
            #[cfg(unix)]
            let count = fs_err::os::unix::fs::FileExt::read_at(&self.file, bytes, place)?;
            #[cfg(windows)]
            let count = fs_err::os::windows::fs::FileExt::seek_read(&self.file, bytes, place)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            bytes = &mut bytes[count..];
            place += count as u64;
        }
        Ok(())
    }

    fn write(&self, mut bytes: &[u8], start: u64) -> io::Result<()> {
        let mut place = start;
        while !bytes.is_empty() {
            #[cfg(unix)]
            let count = fs_err::os::unix::fs::FileExt::write_at(&self.file, bytes, place)?;
            #[cfg(windows)]
            let count = fs_err::os::windows::fs::FileExt::seek_write(&self.file, bytes, place)?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = &bytes[count..];
            place += count as u64;
        }
        Ok(())
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Where an open file had to keep its name.
        if cfg!(not(unix)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}
