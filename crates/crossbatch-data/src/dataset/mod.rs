//! A data set: named images, their classes, and which part each class plays.

mod builder;
mod cars;
mod config;
mod cub;
mod findings;
mod folder;
mod inaturalist;
mod inshop;
mod list;
mod list_file;
mod listing;
mod names;
mod omniglot;
mod recognise;
mod root;
mod sop;
mod source;
mod split;
mod text;
mod vehicle_id;
mod verify;
mod walk;

pub use config::{Columns, DataConfig, Expected};
pub use listing::{Listed, list_images};
pub(crate) use names::words;
pub use names::{Kind, Protocol, Role, Split, Subset};
pub use recognise::open;
pub(crate) use source::ImageSource;
pub use verify::{Problem, Verification, VerifyConfig, verify};

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
    /// What it does in a search of its split.
    pub role: Role,
    /// The bounding box of what it shows, where the data set has one.
    pub region: Option<Region>,
    pub(crate) source: ImageSource,
}

/// A bounding box in pixels of the image, from its top left corner.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Region {
    /// Left edge.
    pub x: f32,
    /// Upper edge.
    pub y: f32,
    /// Width.
    pub width: f32,
    /// Height.
    pub height: f32,
}

/// A value for each sample besides its class: category, camera, super-class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupColumn {
    /// What it says.
    pub name: String,
    /// The distinct values, in the order of their first sample.
    pub values: Vec<String>,
    /// For each sample an index into `values`.
    pub codes: Vec<u32>,
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
    /// What else is known of each sample.
    pub columns: Vec<GroupColumn>,
    /// How its test images are measured.
    pub protocol: Protocol,
    /// What a user should know and nobody needs to stop for.
    pub warnings: Vec<String>,
}

impl Dataset {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            description: String::new(),
            classes: Vec::new(),
            samples: Vec::new(),
            columns: Vec::new(),
            protocol: Protocol::All,
            warnings: Vec::new(),
        }
    }

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

    /// A column by its name.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&GroupColumn> {
        self.columns.iter().find(|column| column.name == name)
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
            let samples = || self.samples.iter().filter(move |sample| sample.split == split);
            let images = samples().count();
            if images == 0 {
                continue;
            }
            let queries = samples().filter(|sample| sample.role == Role::Query).count();
            let images = match queries {
                0 => format!("{images} images"),
                _ => format!("{queries} queries, {} in the gallery", images - queries),
            };
            let (classes, split) = (self.class_count(split), split.adjective());
            parts.push(format!("{classes} {split} classes ({images})"));
        }
        parts.join(", ")
    }
}

impl Sample {
    pub(crate) fn new(name: String, class: u32, split: Split, source: ImageSource) -> Self {
        Self { name, class, split, role: Role::Both, region: None, source }
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
