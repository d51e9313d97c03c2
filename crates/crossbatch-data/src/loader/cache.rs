//! Decoded pictures kept for later epochs, first come, first kept: in memory up to one budget, then in a file up to another.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::DiskCache;
use super::spill::Spill;
use crate::decode::Raster;

#[derive(Debug)]
pub(super) struct Cache {
    kept: Vec<OnceLock<Place>>,
    /// Bytes of memory that are left.
    left: AtomicUsize,
    /// None without one. After a fault it is still read.
    disk: Option<Spill>,
    fault: Mutex<Fault>,
}

/// Where a picture is.
#[derive(Debug)]
enum Place {
    Memory(Arc<Raster>),
    Disk { start: u64, width: usize, height: usize, channels: usize },
}

#[derive(Debug, Default)]
struct Fault {
    happened: bool,
    untold: Option<String>,
}

impl Cache {
    pub(super) fn new(images: usize, bytes: usize, disk: Option<&DiskCache>) -> io::Result<Self> {
        let disk = disk.filter(|disk| disk.bytes > 0);
        let kept = if bytes > 0 || disk.is_some() { images } else { 0 };
        Ok(Self {
            kept: (0..kept).map(|_| OnceLock::new()).collect(),
            left: AtomicUsize::new(bytes),
            disk: disk.map(|disk| Spill::new(&disk.folder, disk.bytes)).transpose()?,
            fault: Mutex::default(),
        })
    }

    pub(super) fn get(&self, position: usize) -> Option<Arc<Raster>> {
        match self.kept.get(position)?.get()? {
            Place::Memory(raster) => Some(raster.clone()),
            &Place::Disk { start, width, height, channels } => {
                let mut pixels = vec![0; width * height * channels];
                match self.disk.as_ref()?.get(start, &mut pixels) {
                    Ok(()) => Some(Arc::new(Raster { width, height, channels, pixels })),
                    Err(error) => {
                        self.failed(&error);
                        None
                    }
                }
            }
        }
    }

    /// Keeps the picture if it still fits.
    pub(super) fn offer(&self, position: usize, raster: &Arc<Raster>) {
        let Some(slot) = self.kept.get(position) else { return };
        let size = raster.pixels.len();
        let take = |left: usize| left.checked_sub(size);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.left.fetch_update(set, get, take).is_ok() {
            if slot.set(Place::Memory(raster.clone())).is_err() {
                // Another worker was first.
                self.left.fetch_add(size, set);
            }
            return;
        }
        let Some(disk) = self.disk.as_ref().filter(|_| !self.lock().happened) else { return };
        // What is there is not written again: a place of the file cannot always be given back.
        if slot.get().is_some() {
            return;
        }
        match disk.put(&raster.pixels) {
            Ok(None) => {}
            Ok(Some(start)) => {
                let (width, height, channels) = (raster.width, raster.height, raster.channels);
                if slot.set(Place::Disk { start, width, height, channels }).is_err() {
                    disk.give_back(start, size);
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// What went wrong with the file since the last call. Nothing more is written then.
    pub(super) fn take_fault(&self) -> Option<String> {
        self.lock().untold.take()
    }

    fn failed(&self, error: &io::Error) {
        let mut fault = self.lock();
        if !fault.happened {
            *fault = Fault { happened: true, untold: Some(error.to_string()) };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Fault> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(shade: u8) -> Arc<Raster> {
        // Of one channel or of two: no size tells which.
        let (width, height, channels) = if shade.is_multiple_of(2) { (3, 2, 1) } else { (2, 2, 2) };
        Arc::new(Raster { width, height, channels, pixels: vec![shade; width * height * channels] })
    }

    /// Of ten pictures of 6 and 8 bytes by turns, 20 bytes hold three in memory, and 20 more the next three.
    #[test]
    fn budgets_are_kept_and_pictures_come_back_as_they_were() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DiskCache { folder: folder.path().to_owned(), bytes: 20 };
        let cache = Cache::new(10, 20, Some(&disk)).unwrap();
        for position in 0..10 {
            assert!(cache.get(position).is_none());
            for _ in 0..2 {
                cache.offer(position, &picture(position as u8));
            }
        }
        let held = |position: usize| cache.kept[position].get();
        let in_memory = |position: &usize| matches!(held(*position), Some(Place::Memory(_)));
        let on_disk = |position: &usize| matches!(held(*position), Some(Place::Disk { .. }));
        assert_eq!((0..10).filter(in_memory).collect::<Vec<_>>(), [0, 1, 2]);
        assert_eq!((0..10).filter(on_disk).collect::<Vec<_>>(), [3, 4, 6]);
        for position in [0, 1, 2, 3, 4, 6] {
            let (found, own) = (cache.get(position).unwrap(), picture(position as u8));
            assert_eq!((found.width, found.height, found.channels), (own.width, 2, own.channels));
            assert_eq!(found.pixels, own.pixels);
        }
        assert!(cache.take_fault().is_none());
        drop(cache);
        assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn without_a_budget_nothing_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DiskCache { folder: folder.path().to_owned(), bytes: 0 };
        let cache = Cache::new(1, 0, Some(&disk)).unwrap();
        cache.offer(0, &picture(1));
        assert!(cache.get(0).is_none());
        let nowhere = DiskCache { folder: folder.path().join("no"), bytes: 9 };
        let error = Cache::new(1, 0, Some(&nowhere)).unwrap_err().to_string();
        assert!(error.contains("no/crossbatch-"), "{error}");
    }

    /// A file that cannot be written or read costs time only, and is told once. What is there is still read.
    #[test]
    fn faults_are_told_once_and_end_the_writing_alone() {
        let folder = tempfile::tempdir().unwrap();
        let disk = DiskCache { folder: folder.path().to_owned(), bytes: 100 };
        let cache = Cache::new(3, 0, Some(&disk)).unwrap();
        cache.offer(2, &picture(2));
        cache.kept[0].set(Place::Disk { start: 50, width: 3, height: 2, channels: 1 }).unwrap();
        assert!(cache.get(0).is_none() && cache.get(0).is_none());
        assert!(cache.take_fault().is_some());
        assert!(cache.take_fault().is_none());
        cache.offer(1, &picture(1));
        assert!(cache.get(1).is_none());
        assert_eq!(cache.get(2).unwrap().pixels, picture(2).pixels);
    }
}
