//! What a worker does: one batch, from encoded bytes to normalised pixels.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use super::cache::Cache;
use super::{Corrupt, DiskCache, HostBatch, LoaderConfig, Skipped};
use crate::dataset::Sample;
use crate::decode::{ImageSpec, Raster};
use crate::error::Error;
use crate::images::Images;
use crate::scaled;
use crate::seed::{generator, mix_seed};
use crate::transform::{Drawn, Resampler, apply, divisor};

/// Sets the loader's chance apart from the plan's.
const AUGMENT: u64 = 0x6175_676d;

/// Buffers of one worker.
pub(super) struct Scratch {
    resampler: Resampler,
    bytes: Vec<u8>,
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { resampler: Resampler::new(), bytes: Vec::new() }
    }
}

/// Everything that the workers share.
#[derive(Debug)]
pub(super) struct Work {
    samples: Vec<Sample>,
    spec: ImageSpec,
    tables: Vec<[f32; 256]>,
    config: LoaderConfig,
    cache: Cache,
    skipped: Mutex<Reports>,
}

#[derive(Debug, Default)]
struct Reports {
    known: BTreeSet<u32>,
    new: Vec<Skipped>,
}

impl Work {
    pub(super) fn new(
        images: &Images,
        config: LoaderConfig,
        disk: Option<&DiskCache>,
    ) -> Result<Self, Error> {
        let spec = images.spec();
        Ok(Self {
            samples: images.samples().to_vec(),
            spec,
            tables: spec.normalise.tables(spec.channels, spec.invert),
            config,
            cache: Cache::new(images.len(), config.cache_bytes, disk)?,
            skipped: Mutex::default(),
        })
    }

    pub(super) fn take_cache_fault(&self) -> Option<String> {
        self.cache.take_fault()
    }

    pub(super) fn take_skipped(&self) -> Vec<Skipped> {
        let mut reports = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut reports.new)
    }

    /// Fills `batch` with the images at `positions`, the batch at `place` of its epoch's plan. Ends
    /// early, with what there is, once `stopped`.
    pub(super) fn fill(
        &self,
        positions: &[u32],
        epoch: u64,
        place: usize,
        batch: &mut HostBatch,
        scratch: &mut Scratch,
        stopped: &dyn Fn() -> bool,
    ) -> Result<(), Error> {
        let (views, length) = (self.config.views, self.spec.len());
        batch.pixels.resize(positions.len() * views * length, 0.0);
        batch.labels.clear();
        batch.ids.clear();
        for (row, out) in batch.pixels.chunks_exact_mut(length).enumerate() {
            if stopped() {
                return Ok(());
            }
            let (slot, view) = (row / views, row % views);
            let chance = [self.config.seed, AUGMENT, epoch, place as u64, slot as u64, view as u64];
            let id = self.one(positions[slot], &chance, scratch, out)?;
            batch.labels.push(self.samples[id as usize].class);
            batch.ids.push(id);
        }
        Ok(())
    }

    /// One image, or where it cannot be read and the policy allows, another of its class. Says which.
    fn one(
        &self,
        position: u32,
        chance: &[u64],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<u32, Error> {
        let first = match self.draw(position, chance, scratch, out) {
            Ok(()) => return Ok(position),
            Err(error) if self.config.corrupt == Corrupt::Stop => return Err(error),
            Err(error) => error,
        };
        self.report(position, &first);
        // Only then is the class looked through: it is rare.
        let class = self.samples[position as usize].class;
        let others = self.samples.iter().enumerate().filter(|(_, sample)| sample.class == class);
        let mut others: Vec<u32> = others.map(|(place, _)| place as u32).collect();
        others.retain(|&other| other != position);
        let start = mix_seed(chance) as usize % others.len().max(1);
        others.rotate_left(start);
        for other in others {
            match self.draw(other, chance, scratch, out) {
                Ok(()) => return Ok(other),
                Err(error) => self.report(other, &error),
            }
        }
        Err(first)
    }

    fn draw(
        &self,
        position: u32,
        chance: &[u64],
        scratch: &mut Scratch,
        out: &mut [f32],
    ) -> Result<(), Error> {
        let name = &self.samples[position as usize].name;
        let draw = AssertUnwindSafe(|| {
            let spec = &self.spec;
            let draw = |width, height| {
                self.config.augment.draw(&mut generator(chance), width, height, spec.size)
            };
            let (raster, divided, drawn) = match self.divided(position as usize, &draw)? {
                Some((raster, divided, drawn)) => (Arc::new(raster), divided, drawn),
                None => {
                    let raster = self.raster(position as usize)?;
                    let drawn = draw(raster.width, raster.height);
                    (raster, 1, drawn)
                }
            };
            scratch.bytes.resize(spec.len(), 0);
            apply(&raster, divided, spec, &drawn, &mut scratch.resampler, &mut scratch.bytes);
            let normalise = &spec.normalise;
            normalise.write(&self.tables, &scratch.bytes, drawn.erase, spec.size, out);
            Ok(())
        });
        // A trainer must not wait for a batch whose worker is gone.
        catch_unwind(draw).unwrap_or_else(|_| {
            let reason = "a bug in this program (the loader panicked)".to_owned();
            Err(Error::Image { name: name.clone(), reason })
        })
    }

    /// The picture at a fraction of its size that is enough for what is drawn, and that fraction, where it is to be
    /// decoded so and can be.
    fn divided(
        &self,
        position: usize,
        draw: &impl Fn(usize, usize) -> Drawn,
    ) -> Result<Option<(Raster, usize, Drawn)>, Error> {
        if !self.config.scaled_decoding {
            return Ok(None);
        }
        let Some(bytes) = self.samples[position].source.encoded() else { return Ok(None) };
        let mut drawn = Drawn::default();
        let found = scaled::decode(&bytes?, self.spec.decode, |width, height| {
            drawn = draw(width, height);
            divisor(&self.spec, &drawn, width, height)
        });
        Ok(found.map(|(raster, by)| (raster.for_network(self.spec.channels), by, drawn)))
    }

    fn raster(&self, position: usize) -> Result<Arc<Raster>, Error> {
        if let Some(raster) = self.cache.get(position) {
            return Ok(raster);
        }
        let sample = &self.samples[position];
        let raster = Arc::new(sample.source.raster(&sample.name, &self.spec)?);
        self.cache.offer(position, &raster);
        Ok(raster)
    }

    fn report(&self, position: u32, error: &Error) {
        let mut reports = self.skipped.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.known.insert(position) {
            let name = self.samples[position as usize].name.clone();
            let reason = match error {
                Error::Image { reason, .. } => reason.clone(),
                other => other.to_string(),
            };
            reports.new.push(Skipped { name, reason });
        }
    }
}
