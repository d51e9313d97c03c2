//! The built-in data set: invented characters, drawn on demand.
//!
//! A class is a short *program* of pen strokes ([`program`]); an image is that program with an
//! unsteady hand ([`draw`]): moved control points, an affine warp, a pen of some width. Classes come
//! in families that share all strokes but one, as products of one brand do: the hard negatives of a
//! class are its few siblings, and a random batch rarely holds one. Memory is what finds them.
//!
//! Everything follows from [`GlyphsConfig::seed`]; nothing is read from disk.

mod config;
mod draw;
mod program;

use std::sync::Arc;

pub use config::GlyphsConfig;

use crate::dataset::{Dataset, ImageSource, Kind, Sample, Split};
use crate::error::Error;
use program::Program;

/// The drawn set: programs of all classes, training classes first.
#[derive(Debug)]
pub(crate) struct GlyphSet {
    config: GlyphsConfig,
    programs: Vec<Program>,
}

/// Salts of the two halves, so that the test classes do not depend on the number of training classes.
const TRAIN: u64 = 0;
const TEST: u64 = 1;

impl GlyphSet {
    fn new(config: &GlyphsConfig) -> Self {
        let programs = (0..config.train_classes)
            .map(|class| (TRAIN, class))
            .chain((0..config.test_classes).map(|class| (TEST, class)))
            .map(|(half, class)| {
                Program::new(config, half, class / config.family, class % config.family)
            })
            .collect();
        Self { config: config.clone(), programs }
    }

    /// Grey pixels `[size, size]` of one image: black ink (0) on white paper (255).
    pub(crate) fn draw(&self, class: u32, image: u32, size: usize) -> Vec<u8> {
        let (half, local) = match (class as usize).checked_sub(self.config.train_classes) {
            None => (TRAIN, u64::from(class)),
            Some(local) => (TEST, local as u64),
        };
        draw::draw(
            &self.config,
            &self.programs[class as usize],
            [half, local, u64::from(image)],
            size,
        )
    }
}

/// The data set as samples; the third value groups the classes into families.
pub(crate) fn open(config: &GlyphsConfig) -> Result<(Dataset, Vec<u32>), Error> {
    config.check()?;
    let set = Arc::new(GlyphSet::new(config));
    let mut dataset = Dataset::new(Kind::Glyphs);
    dataset.description = format!(
        "glyphs drawn from seed {}: {} training classes ({} images), {} test classes ({} images), families of {}",
        config.seed,
        config.train_classes,
        config.train_classes * config.images_per_class,
        config.test_classes,
        config.test_classes * config.images_per_class,
        config.family
    );
    let mut families = Vec::new();
    let halves = [
        ("train", Split::Train, config.train_classes, 0),
        ("test", Split::Test, config.test_classes, config.train_classes.div_ceil(config.family)),
    ];
    for (half, split, count, first_family) in halves {
        for local in 0..count {
            let class = dataset.classes.len() as u32;
            let (family, member) = (local / config.family, local % config.family);
            let name = format!("{half}/family{family:04}.{member}");
            families.push((first_family + family) as u32);
            dataset.samples.extend((0..config.images_per_class as u32).map(|image| {
                let source = ImageSource::Glyph { set: Arc::clone(&set), class, image };
                Sample::new(format!("{name}/{image}"), class, split, source)
            }));
            dataset.classes.push(name);
        }
    }
    Ok((dataset, families))
}
