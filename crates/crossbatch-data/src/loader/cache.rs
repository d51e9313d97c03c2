//! Decoded pictures kept in memory, first come, first kept, within a budget.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use crate::decode::Raster;

#[derive(Debug)]
pub(super) struct Cache {
    kept: Vec<OnceLock<Arc<Raster>>>,
    left: AtomicUsize,
}

impl Cache {
    pub(super) fn new(images: usize, bytes: usize) -> Self {
        let kept = if bytes > 0 { images } else { 0 };
        Self { kept: (0..kept).map(|_| OnceLock::new()).collect(), left: AtomicUsize::new(bytes) }
    }

    pub(super) fn get(&self, position: usize) -> Option<Arc<Raster>> {
        self.kept.get(position)?.get().cloned()
    }

    /// Keeps the picture if it still fits.
    pub(super) fn offer(&self, position: usize, raster: &Arc<Raster>) {
        let Some(slot) = self.kept.get(position) else { return };
        let size = raster.pixels.len();
        let take = |left: usize| left.checked_sub(size);
        let (set, get) = (Ordering::Relaxed, Ordering::Relaxed);
        if self.left.fetch_update(set, get, take).is_ok() && slot.set(raster.clone()).is_err() {
            // Another worker was first.
            self.left.fetch_add(size, set);
        }
    }
}
