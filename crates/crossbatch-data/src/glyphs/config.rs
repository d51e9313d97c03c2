//! What can be asked of the glyphs.

use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Size and difficulty of the built-in glyphs. Lengths are in half sides of the image: the paper
/// reaches from -1 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct GlyphsConfig {
    /// Number of training classes.
    pub train_classes: usize,
    /// Number of test classes; they do not change when the number of training classes does.
    pub test_classes: usize,
    /// Images drawn of each class.
    pub images_per_class: usize,
    /// Classes in a family: siblings that share all strokes but one.
    pub family: usize,
    /// Where all randomness comes from.
    pub seed: u64,
    /// How far siblings' differing strokes lie apart, at least (mean distance of control points).
    pub difference: f32,
    /// How far a control point strays from image to image, at most.
    pub jitter: f32,
    /// Largest rotation either way, in degrees.
    pub rotation: f32,
    /// Largest change of size, each axis for itself: 0.2 means 0.8 to 1.2.
    pub scale: f32,
    /// Largest shear.
    pub shear: f32,
    /// Largest shift along each axis.
    pub shift: f32,
    /// Thinnest pen, as a radius.
    pub pen_min: f32,
    /// Thickest pen, as a radius.
    pub pen_max: f32,
}

impl Default for GlyphsConfig {
    fn default() -> Self {
        Self {
            train_classes: 3000,
            test_classes: 600,
            images_per_class: 5,
            family: 6,
            seed: 1,
            difference: 0.5,
            jitter: 0.1,
            rotation: 20.0,
            scale: 0.25,
            shear: 0.25,
            shift: 0.18,
            pen_min: 0.05,
            pen_max: 0.09,
        }
    }
}

impl GlyphsConfig {
    /// Refuses what cannot be drawn.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let counts = [
            ("data.glyphs.train-classes", self.train_classes, 0, 1_000_000),
            ("data.glyphs.test-classes", self.test_classes, 0, 1_000_000),
            ("data.glyphs.images-per-class", self.images_per_class, 2, 10_000),
            ("data.glyphs.family", self.family, 1, 64),
        ];
        for (key, value, low, high) in counts {
            if !(low..=high).contains(&value) {
                let expected = format!("a whole number from {low} to {high}");
                return Err(Error::Setting { key, value: value.to_string(), expected });
            }
        }
        let lengths = [
            ("data.glyphs.difference", self.difference, 0.0, 0.8),
            ("data.glyphs.jitter", self.jitter, 0.0, 1.0),
            ("data.glyphs.rotation", self.rotation, 0.0, 180.0),
            ("data.glyphs.scale", self.scale, 0.0, 0.9),
            ("data.glyphs.shear", self.shear, 0.0, 1.0),
            ("data.glyphs.shift", self.shift, 0.0, 1.0),
            ("data.glyphs.pen-min", self.pen_min, 0.01, 0.5),
            ("data.glyphs.pen-max", self.pen_max, self.pen_min, 0.5),
        ];
        for (key, value, low, high) in lengths {
            if !(low..=high).contains(&value) {
                let expected = format!("a number from {low} to {high}");
                return Err(Error::Setting { key, value: value.to_string(), expected });
            }
        }
        Ok(())
    }
}
