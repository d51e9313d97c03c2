//! Batches read ahead of the trainer by threads of their own.
//!
//! A worker makes a whole batch. What is in a batch follows from (seed, epoch, place in the plan, view)
//! alone, so any number of workers gives the same batches. [`Stream::next`] hands them out in the plan's
//! order; at most `ahead` finished or started ones wait.

mod cache;
mod spill;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::decode::ImageSpec;
use crate::error::Error;
use crate::images::Images;
use crate::scaled;
use crate::transform::Augment;
use work::{Scratch, Work};

/// What happens where an image of a batch cannot be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Corrupt {
    /// The error ends the stream.
    #[default]
    Stop,
    /// Another image of the same class takes its place, and it is reported once.
    Skip,
}

/// How batches are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoaderConfig {
    /// What changes at random.
    pub augment: Augment,
    /// Fixes everything random.
    pub seed: u64,
    /// Threads; at least 1.
    pub workers: usize,
    /// Batches that are made ahead; at least 1. Each takes its pixels as f32.
    pub ahead: usize,
    /// Augmented views of each image, one after the other; at least 1.
    pub views: usize,
    /// What happens where an image cannot be read.
    pub corrupt: Corrupt,
    /// Bytes of decoded pictures that are kept in memory at their full size; 0 keeps none. What is
    /// kept changes no pixel.
    pub cache_bytes: usize,
    /// Whether JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where that is enough for what is drawn: faster, and
    /// other pixels. Needs the feature `turbojpeg`, and no cache. Default false.
    pub scaled_decoding: bool,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            augment: Augment::default(),
            seed: 0,
            workers: 1,
            ahead: 4,
            views: 1,
            corrupt: Corrupt::Stop,
            cache_bytes: 0,
            scaled_decoding: false,
        }
    }
}

/// Room on a disk for decoded pictures that do not fit into [`LoaderConfig::cache_bytes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskCache {
    /// Where its file is made. It is gone when the loader is. On Unix it has no name there; elsewhere a program that is
    /// killed leaves it, as `crossbatch-PROCESS-NUMBER.cache`.
    pub folder: PathBuf,
    /// Bytes at most; 0 makes no file.
    pub bytes: u64,
}

/// A batch on the host.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostBatch {
    /// `[B * views, C, S, S]`, normalised.
    pub pixels: Vec<f32>,
    /// Class of each row, as in the data set.
    pub labels: Vec<u32>,
    /// Position of each row's image in the [`Images`]. Where an image was skipped, its replacement's.
    pub ids: Vec<u32>,
}

/// An image that was skipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its path or entry.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks what a recipe says of images without any data.
///
/// # Errors
///
/// If a setting is out of its range; the message names the recipe's key.
pub fn check_images(spec: &ImageSpec, config: &LoaderConfig) -> Result<(), Error> {
    spec.check()?;
    config.augment.check()?;
    for (key, value) in [
        ("images.workers", config.workers),
        ("images.ahead", config.ahead),
        ("images.views", config.views),
    ] {
        if !(1..=1024).contains(&value) {
            let expected = "a whole number from 1 to 1024".to_owned();
            return Err(Error::Setting { key, value: value.to_string(), expected });
        }
    }
    if config.scaled_decoding && !scaled::AVAILABLE {
        return Err(no_scaled_decoding("false, or a program built with `--features turbojpeg`"));
    }
    if config.scaled_decoding && config.cache_bytes > 0 {
        return Err(no_scaled_decoding(
            "false beside a cache (`images.cache-mib`), which keeps whole pictures",
        ));
    }
    Ok(())
}

fn no_scaled_decoding(expected: &str) -> Error {
    let (key, value, expected) = ("images.scaled-decoding", "true".to_owned(), expected.to_owned());
    Error::Setting { key, value, expected }
}

/// Makes batches of some images.
#[derive(Debug)]
pub struct Loader {
    work: Arc<Work>,
    config: LoaderConfig,
}

impl Loader {
    /// A loader of these images; their spec is the batches'.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range.
    pub fn new(images: &Images, config: LoaderConfig) -> Result<Self, Error> {
        Self::build(images, config, None)
    }

    /// The same with room on a disk too.
    ///
    /// # Errors
    ///
    /// If a setting is out of its range or the file cannot be made.
    pub fn with_disk_cache(
        images: &Images,
        config: LoaderConfig,
        disk: &DiskCache,
    ) -> Result<Self, Error> {
        Self::build(images, config, Some(disk))
    }

    fn build(
        images: &Images,
        config: LoaderConfig,
        disk: Option<&DiskCache>,
    ) -> Result<Self, Error> {
        check_images(&images.spec(), &config)?;
        if config.scaled_decoding && disk.is_some_and(|disk| disk.bytes > 0) {
            return Err(no_scaled_decoding(
                "false beside a cache (`images.disk-cache-mib`), which keeps whole pictures",
            ));
        }
        Ok(Self { work: Arc::new(Work::new(images, config, disk)?), config })
    }

    /// Begins to make the batches (positions into the images) of an epoch, from the `first`-th on.
    #[must_use]
    pub fn stream(&self, epoch: u64, batches: Vec<Vec<u32>>, first: usize) -> Stream {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { claimed: first, taken: first, ..State::default() }),
            changed: Condvar::new(),
            batches,
            epoch,
        });
        let remaining = shared.batches.len().saturating_sub(first);
        let threads = (0..self.config.workers.min(remaining)).map(|_| {
            let (work, shared, ahead) = (self.work.clone(), shared.clone(), self.config.ahead);
            std::thread::spawn(move || serve(&work, &shared, ahead))
        });
        Stream { threads: threads.collect(), shared }
    }

    /// What was skipped since the last call, each image once in the loader's life.
    pub fn skipped(&self) -> Vec<Skipped> {
        self.work.take_skipped()
    }

    /// What went wrong with the disk cache, once. It takes no more pictures from then on; those that are there are still
    /// read, or decoded again where they cannot be.
    pub fn cache_fault(&self) -> Option<String> {
        self.work.take_cache_fault()
    }
}

/// The batches of an epoch, in order. Dropping it stops its threads, after the images they are at.
#[derive(Debug)]
pub struct Stream {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Gives a batch's buffers back to be filled again.
    pub fn recycle(&self, batch: HostBatch) {
        self.shared.lock().spare.push(batch);
    }
}

impl Iterator for Stream {
    type Item = Result<HostBatch, Error>;

    /// Waits for the next batch. After an error there are no more.
    fn next(&mut self) -> Option<Self::Item> {
        let shared = &self.shared;
        let mut state = shared.lock();
        if state.stop || state.taken >= shared.batches.len() {
            return None;
        }
        loop {
            let place = state.taken;
            if let Some(batch) = state.ready.remove(&place) {
                state.taken += 1;
                state.stop |= batch.is_err();
                shared.changed.notify_all();
                return Some(batch);
            }
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A worker catches its panics; there is nothing to learn from it here.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    batches: Vec<Vec<u32>>,
    epoch: u64,
}

#[derive(Debug, Default)]
struct State {
    /// Batches before this one have a worker.
    claimed: usize,
    /// Batches before this one were handed out.
    taken: usize,
    ready: BTreeMap<usize, Result<HostBatch, Error>>,
    spare: Vec<HostBatch>,
    stop: bool,
}

impl Shared {
    /// The state is whole between any two statements that change it, so a poisoned lock is as good.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place to work on and a batch to fill, or none when there is nothing left to do.
    fn claim(&self, ahead: usize) -> Option<(usize, HostBatch)> {
        let mut state = self.lock();
        loop {
            if state.stop || state.claimed >= self.batches.len() {
                return None;
            }
            if state.claimed < state.taken + ahead {
                let place = state.claimed;
                state.claimed += 1;
                return Some((place, state.spare.pop().unwrap_or_default()));
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A worker: claims, fills, delivers.
fn serve(work: &Work, shared: &Shared, ahead: usize) {
    let mut scratch = Scratch::new();
    while let Some((place, mut batch)) = shared.claim(ahead) {
        let stopped = || shared.lock().stop;
        let made = work.fill(
            &shared.batches[place],
            shared.epoch,
            place,
            &mut batch,
            &mut scratch,
            &stopped,
        );
        let mut state = shared.lock();
        state.ready.insert(place, made.map(|()| batch));
        drop(state);
        shared.changed.notify_all();
    }
}
