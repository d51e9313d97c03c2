//! Images in, host batches out: data sets, decoding, and the plan of an epoch.
//!
//! | module | the question it answers |
//! |---|---|
//! | `dataset` | which images are there, of which class, to train on or to test? [`open`], [`Dataset`] |
//! | `glyphs` | and with no data at hand? [`GlyphsConfig`] |
//! | `archive` | how are zips and tars read without unpacking them? |
//! | `matlab` | what do MAT-files say? |
//! | `decode`, `resize` | which bytes is an image, as Pillow sees it? [`decode_file`], [`ImageSpec`] |
//! | `transform` | which part of it does a network see, and how changed? [`Augment`], [`Normalise`] |
//! | `images` | how do they wait for their batch? [`load`], [`Images`] |
//! | `loader` | how are batches read ahead of the trainer? [`Loader`], [`HostBatch`] |
//! | `sampler` | which of them form the next batch? [`plan_epoch`], [`Sampler`] |
//! | `seed` | where does chance come from? [`mix_seed`] |
//!
//! # Lists
//!
//! A list has lines `path,label`. Paths start at the list's folder; an image that is not there is
//! looked for in the zips beside the list. A first line of column names, quoted fields, CRLF, a byte
//! order mark and blank lines are all fine; without quotes the label follows the last comma. A label is
//! any text.
//!
//! # Example
//!
//! ```
//! use crossbatch_data::{DataConfig, GlyphsConfig, ImageSpec, Sampler, Split, load, open, plan_epoch};
//!
//! let glyphs = GlyphsConfig { train_classes: 12, test_classes: 6, ..GlyphsConfig::default() };
//! let dataset = open(&DataConfig { glyphs, ..DataConfig::default() })?;
//!
//! let spec = ImageSpec::new(28, 1, dataset.kind.ink_on_paper());
//! let (images, unreadable) = load(&dataset, &dataset.indices(Split::Train), spec, 1 << 20, &|_, _| {})?;
//! assert_eq!((images.len(), unreadable.len()), (60, 0));
//!
//! let plan = plan_epoch(Sampler::Cover, &images.labels(), 4, 2, 7, 0)?;
//! let positions: Vec<usize> = plan.batches[0].iter().map(|&position| position as usize).collect();
//! let mut pixels = Vec::new();
//! images.write_f32(&positions, &mut pixels)?;
//! assert_eq!(pixels.len(), 4 * 2 * 28 * 28);
//! # Ok::<(), crossbatch_data::Error>(())
//! ```

mod archive;
mod dataset;
mod decode;
mod error;
mod glyphs;
mod images;
mod loader;
mod matlab;
mod resize;
mod sampler;
mod scaled;
mod seed;
mod transform;

pub(crate) use dataset::words as dataset_words;
pub use dataset::{
    Columns, DataConfig, Dataset, Expected, GroupColumn, Kind, Listed, Problem, Protocol, Region,
    Role, Sample, Split, Subset, Verification, VerifyConfig, decode_rgb, list_images, open, verify,
};
pub use decode::{
    DecodeOptions, ImageSpec, Truncated, decode_bytes, decode_file, decode_rgb_bytes,
    decode_rgb_file,
};
pub use error::{Conflict, Error};
pub use glyphs::GlyphsConfig;
pub use images::{Images, Unreadable, load};
pub use loader::{
    Corrupt, DiskCache, HostBatch, Loader, LoaderConfig, Skipped, Stream, check_images,
};
pub use sampler::{EpochPlan, Sampler, plan_epoch};
pub use seed::mix_seed;
pub use transform::{
    Augment, ColourStep, Drawn, Filter, Fit, Normalise, RandomCrop, Rectangle, transform_bytes,
};
