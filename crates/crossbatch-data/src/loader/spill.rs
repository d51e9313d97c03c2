//! A file of decoded pictures that belongs to its owner and is gone with it.

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
        // On Unix an open file needs no name, and one without leaves nothing behind however the program ends.
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
    pub(super) fn get(&self, start: u64, bytes: &mut [u8]) -> io::Result<()> {
        #[cfg(unix)]
        return fs_err::os::unix::fs::FileExt::read_exact_at(&self.file, bytes, start);
        #[cfg(windows)]
        in_parts(bytes.len(), |done| {
            let (rest, place) = (&mut bytes[done..], start + done as u64);
            fs_err::os::windows::fs::FileExt::seek_read(&self.file, rest, place)
        })
    }

    fn write(&self, bytes: &[u8], start: u64) -> io::Result<()> {
        #[cfg(unix)]
        return fs_err::os::unix::fs::FileExt::write_all_at(&self.file, bytes, start);
        #[cfg(windows)]
        in_parts(bytes.len(), |done| {
            let (rest, place) = (&bytes[done..], start + done as u64);
            fs_err::os::windows::fs::FileExt::seek_write(&self.file, rest, place)
        })
    }
}

/// What Unix has as one call: moves on, after `done` bytes, until all are through.
#[cfg(any(windows, test))]
fn in_parts(length: usize, mut next: impl FnMut(usize) -> io::Result<usize>) -> io::Result<()> {
    let mut done = 0;
    while done < length {
        match next(done) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Drop for Spill {
    fn drop(&mut self) {
        // Elsewhere it kept its name, and a program that is killed leaves it.
        if cfg!(not(unix)) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_comes_back_and_what_is_not_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let spill = Spill::new(folder.path(), 8).unwrap();
        let (first, second) = (spill.put(b"abc"), spill.put(b"defgh"));
        assert_eq!((first.unwrap(), second.unwrap()), (Some(0), Some(3)));
        assert_eq!(spill.put(b"i").unwrap(), None);
        let mut bytes = [0; 5];
        spill.get(3, &mut bytes).unwrap();
        assert_eq!(&bytes, b"defgh");
        let error = spill.get(4, &mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn parts_are_added_up_and_a_signal_ends_nothing() {
        use io::ErrorKind::{Interrupted, StorageFull, UnexpectedEof};
        let go = |answers: &[io::Result<usize>]| {
            let mut answers = answers.iter();
            let mut seen = Vec::new();
            let outcome = in_parts(5, |done| {
                seen.push(done);
                answers
                    .next()
                    .unwrap()
                    .as_ref()
                    .map_or_else(|error| Err(error.kind().into()), |&count| Ok(count))
            });
            (outcome.map_err(|error| error.kind()), seen)
        };
        let interrupted = || Err(Interrupted.into());
        let whole = go(&[interrupted(), Ok(2), interrupted(), interrupted(), Ok(3)]);
        assert_eq!(whole, (Ok(()), vec![0, 0, 2, 2, 2]));
        assert_eq!(go(&[Ok(2), Ok(0)]), (Err(UnexpectedEof), vec![0, 2]));
        assert_eq!(go(&[Ok(2), Err(StorageFull.into())]), (Err(StorageFull), vec![0, 2]));
    }
}
