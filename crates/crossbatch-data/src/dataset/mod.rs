//! A data set: named images, their classes, and which part each class plays.

mod config;
mod folder;
mod list;
mod list_file;
mod listing;
mod names;
mod omniglot;
mod recognise;
mod source;
mod split;
mod walk;

pub use config::DataConfig;
pub use listing::{Listed, list_images};
pub(crate) use names::words;
pub use names::{Kind, Split};
pub use recognise::open;
pub(crate) use source::ImageSource;

use crate::error::Error;

/// One image.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Path below the data set's root, zip entry, or the glyph's name: unique and readable.
    pub name: String,
    /// Index into [`Dataset::classes`].
    pub class: u32,
    /// The part that its class plays.
    pub split: Split,
    pub(crate) source: ImageSource,
}

/// Images with classes. No class is in two splits.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// What it was recognised as.
    pub kind: Kind,
    /// One line: what was recognised, where, and how much.
    pub description: String,
    /// Names of the classes.
    pub classes: Vec<String>,
    /// The images.
    pub samples: Vec<Sample>,
    /// What a user should know and nobody needs to stop for.
    pub warnings: Vec<String>,
}

impl Dataset {
    /// Indices of the samples of one split, in order.
    #[must_use]
    pub fn indices(&self, split: Split) -> Vec<usize> {
        (0..self.samples.len()).filter(|&index| self.samples[index].split == split).collect()
    }

    /// Number of classes with a sample in the split.
    #[must_use]
    pub fn class_count(&self, split: Split) -> usize {
        self.class_sizes(split).iter().filter(|&&size| size > 0).count()
    }

    /// Number of samples of the split in each class.
    pub(crate) fn class_sizes(&self, split: Split) -> Vec<usize> {
        let mut sizes = vec![0; self.classes.len()];
        for sample in self.samples.iter().filter(|sample| sample.split == split) {
            sizes[sample.class as usize] += 1;
        }
        sizes
    }

    /// "964 training classes (19280 images), 659 test classes (13180 images)".
    pub(crate) fn counts(&self) -> String {
        let mut parts = Vec::new();
        for split in Split::ALL {
            let images = self.indices(split).len();
            if images > 0 {
                parts.push(format!(
                    "{} {} classes ({images} images)",
                    self.class_count(split),
                    split.adjective()
                ));
            }
        }
        parts.join(", ")
    }
}

/// Decodes one sample to a thumbnail `[side, side, 3]` (pixels interleaved) for contact sheets: whole
/// picture, aspect ratio kept, white margins.
///
/// # Panics
/// If the index is not one of the data set's samples.
pub fn decode_rgb(dataset: &Dataset, index: usize, side: usize) -> Result<Vec<u8>, Error> {
    let sample = &dataset.samples[index];
    sample.source.decode_rgb(&sample.name, side)
}
