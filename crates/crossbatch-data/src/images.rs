//! Decoded images of some samples, within a budget of memory.

use std::borrow::Cow;

use rayon::prelude::*;

use crate::dataset::{Dataset, Sample};
use crate::decode::ImageSpec;
use crate::error::Error;

/// Images between two calls of the progress function.
const STRIDE: usize = 256;

/// A sample whose image could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Index into [`Dataset::samples`].
    pub index: usize,
    /// The sample's name.
    pub name: String,
    /// What was wrong with it.
    pub reason: String,
}

/// Decoded pixels `[N, C, S, S]` of some samples: in memory up to a budget, and decoded again on
/// demand beyond it. A *position* counts the readable images of the load, from 0.
#[derive(Debug)]
pub struct Images {
    spec: ImageSpec,
    samples: Vec<Sample>,
    indices: Vec<usize>,
    /// The first images, one after the other.
    cache: Vec<u8>,
    tables: Vec<[f32; 256]>,
}

/// Decodes every image once, in parallel, and keeps what fits into `cache_bytes`.
///
/// Unreadable images are listed, not fatal; [`Images`] holds the others, in the order of `indices`.
/// `progress` is called with the number done and the total, from the calling thread.
///
/// # Panics
/// If an index is not one of the data set's samples.
pub fn load(
    dataset: &Dataset,
    indices: &[usize],
    spec: ImageSpec,
    cache_bytes: usize,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<(Images, Vec<Unreadable>), Error> {
    spec.check()?;
    let room = (cache_bytes / spec.len()).min(indices.len());
    let mut images = Images {
        spec,
        samples: Vec::with_capacity(indices.len()),
        indices: Vec::with_capacity(indices.len()),
        cache: Vec::with_capacity(room * spec.len()),
        tables: spec.normalise.tables(spec.channels, spec.invert),
    };
    let mut unreadable = Vec::new();
    progress(0, indices.len());
    for (stride, part) in indices.chunks(STRIDE).enumerate() {
        let decoded: Vec<_> = part
            .par_iter()
            .map(|&index| dataset.samples[index].source.decode(&dataset.samples[index].name, spec))
            .collect();
        for (&index, pixels) in part.iter().zip(decoded) {
            let sample = &dataset.samples[index];
            match pixels {
                Ok(pixels) => {
                    if images.indices.len() < room {
                        images.cache.extend_from_slice(&pixels);
                    }
                    images.indices.push(index);
                    images.samples.push(sample.clone());
                }
                Err(error) => {
                    let reason = match error {
                        Error::Image { reason, .. } => reason,
                        other => other.to_string(),
                    };
                    unreadable.push(Unreadable { index, name: sample.name.clone(), reason });
                }
            }
        }
        progress(stride * STRIDE + part.len(), indices.len());
    }
    Ok((images, unreadable))
}

impl Images {
    /// Some samples as they are, none of them read yet and none kept: each is decoded when it is asked for.
    ///
    /// # Errors
    /// If the spec is out of range.
    ///
    /// # Panics
    /// If an index is not one of the data set's samples.
    pub fn unread(dataset: &Dataset, indices: &[usize], spec: ImageSpec) -> Result<Self, Error> {
        spec.check()?;
        Ok(Self {
            spec,
            samples: indices.iter().map(|&index| dataset.samples[index].clone()).collect(),
            indices: indices.to_vec(),
            cache: Vec::new(),
            tables: spec.normalise.tables(spec.channels, spec.invert),
        })
    }

    /// Number of readable images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether no image was readable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// What every image was made into.
    #[must_use]
    pub fn spec(&self) -> ImageSpec {
        self.spec
    }

    /// How many images, from the first, are held in memory.
    #[must_use]
    pub fn cached(&self) -> usize {
        self.cache.len() / self.spec.len()
    }

    /// For each position the index into [`Dataset::samples`].
    #[must_use]
    pub fn sample_indices(&self) -> &[usize] {
        &self.indices
    }

    pub(crate) fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// For each position the class of its sample.
    #[must_use]
    pub fn labels(&self) -> Vec<u32> {
        self.samples.iter().map(|sample| sample.class).collect()
    }

    /// The pixels `[C, S, S]` at one position, not inverted.
    ///
    /// # Panics
    /// If the position is not below [`len`](Self::len).
    pub fn u8_pixels(&self, position: usize) -> Result<Cow<'_, [u8]>, Error> {
        let sample = &self.samples[position];
        let start = position * self.spec.len();
        match self.cache.get(start..start + self.spec.len()) {
            Some(pixels) => Ok(Cow::Borrowed(pixels)),
            None => sample.source.decode(&sample.name, self.spec).map(Cow::Owned),
        }
    }

    /// Fills `out` with `[positions, C, S, S]`, normalised as the spec says; by
    /// default `u8 / 255`, or `1 - u8 / 255` if the spec inverts. Whatever `out` held is gone; its memory is used again.
    ///
    /// # Panics
    /// If a position is not below [`len`](Self::len).
    pub fn write_f32(&self, positions: &[usize], out: &mut Vec<f32>) -> Result<(), Error> {
        out.resize(positions.len() * self.spec.len(), 0.0);
        out.par_chunks_mut(self.spec.len()).with_min_len(8).zip(positions).try_for_each(
            |(target, &position)| {
                let pixels = self.u8_pixels(position)?;
                let spec = &self.spec;
                spec.normalise.write(&self.tables, &pixels, None, spec.size, target);
                Ok(())
            },
        )
    }
}
