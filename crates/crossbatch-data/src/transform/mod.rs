//! From a decoded picture to what a network sees: crops, resizing, colours, normalisation.
//!
//! The rules are torchvision's with its Pillow backend; where we differ is said in `docs/images.md`.
//! What is drawn by chance ([`Augment::draw`]) is kept apart from what is done with it ([`apply`]).

mod colour;
mod geometry;
mod normalise;
mod resample;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

pub use geometry::Rectangle;
pub use normalise::Normalise;
pub(crate) use resample::Resampler;

use crate::decode::{ImageSpec, Raster};
use crate::error::Error;
use crate::scaled;

/// How a picture that is not square becomes one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fit {
    /// Both sides are resized to the size; the aspect ratio is lost.
    #[default]
    Squash,
    /// The short side is resized to `resize` pixels, then the middle square of the size is cut out.
    CentreCrop {
        /// Length of the short side, at least the size.
        resize: usize,
    },
}

/// Filter of resizing, antialiased: as wide as the reduction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filter {
    /// Triangle.
    #[default]
    Bilinear,
    /// Cubic with a = -0.5, as Pillow's.
    Bicubic,
}

/// A crop of random place, area and aspect ratio, resized to the size (`RandomResizedCrop`).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RandomCrop {
    /// Area as a share of the picture's, from and to. torchvision's default is 0.08 to 1.
    pub scale: [f64; 2],
    /// Aspect ratio (width / height), from and to, drawn in its logarithm. torchvision's default is 3/4 to 4/3.
    pub ratio: [f64; 2],
}

/// What changes at random in training. [`Augment::default`] changes nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Augment {
    /// Instead of the [`Fit`].
    pub crop: Option<RandomCrop>,
    /// Probability of a horizontal flip.
    pub flip: f64,
    /// Brightness is multiplied by a factor from `max(0, 1 - b)` to `1 + b`.
    pub brightness: f64,
    /// Contrast, likewise.
    pub contrast: f64,
    /// Saturation, likewise.
    pub saturation: f64,
    /// Hue is turned by up to this part of the circle in both directions, at most 0.5.
    pub hue: f64,
    /// Probability of turning grey (three equal channels).
    pub grey: f64,
    /// Probability of erasing a rectangle of 2 to 33 % of the area, aspect ratio 0.3 to 3.3.
    /// What is erased has the normalisation's mean colour: 0 in the network's input.
    pub erase: f64,
}

/// One change of colour.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ColourStep {
    /// Towards black (factor below 1) or away from it.
    Brightness(f64),
    /// Towards the mean grey or away from it.
    Contrast(f64),
    /// Towards grey or away from it.
    Saturation(f64),
    /// Turned by this part of the circle.
    Hue(f64),
    /// Grey.
    Grey,
}

/// What was drawn for one image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Drawn {
    /// The part of the picture that is resized; `None` for the spec's [`Fit`].
    pub crop: Option<Rectangle>,
    /// Whether left and right change places.
    pub flip: bool,
    /// Changes of colour, in this order.
    pub colour: Vec<ColourStep>,
    /// What is erased, in the coordinates of the result.
    pub erase: Option<Rectangle>,
}

impl Augment {
    /// Whether anything can change.
    #[must_use]
    pub fn is_on(&self) -> bool {
        *self != Self::default()
    }

    /// Draws what happens to a picture of `width` x `height` on its way to `size` x `size`.
    pub fn draw(&self, rng: &mut impl Rng, width: usize, height: usize, size: usize) -> Drawn {
        let crop = self.crop.map(|crop| geometry::random_crop(rng, &crop, width, height));
        let flip = self.flip > 0.0 && rng.random::<f64>() < self.flip;
        let mut colour = self.jitter(rng);
        if self.grey > 0.0 && rng.random::<f64>() < self.grey {
            colour.push(ColourStep::Grey);
        }
        let erases = self.erase > 0.0 && rng.random::<f64>() < self.erase;
        let erase = if erases { geometry::erased(rng, size) } else { None };
        Drawn { crop, flip, colour, erase }
    }

    /// The four changes that are on, in random order.
    fn jitter(&self, rng: &mut impl Rng) -> Vec<ColourStep> {
        let mut steps = Vec::new();
        let factor =
            |rng: &mut _, reach: f64| geometry::uniform(rng, (1.0 - reach).max(0.0), 1.0 + reach);
        if self.brightness > 0.0 {
            steps.push(ColourStep::Brightness(factor(rng, self.brightness)));
        }
        if self.contrast > 0.0 {
            steps.push(ColourStep::Contrast(factor(rng, self.contrast)));
        }
        if self.saturation > 0.0 {
            steps.push(ColourStep::Saturation(factor(rng, self.saturation)));
        }
        if self.hue > 0.0 {
            steps.push(ColourStep::Hue(geometry::uniform(rng, -self.hue, self.hue)));
        }
        for at in 1..steps.len() {
            steps.swap(at, rng.random_range(0..=at));
        }
        steps
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let refuse = |key, value: String, expected: &str| {
            Err(Error::Setting { key, value, expected: expected.to_owned() })
        };
        for (key, value) in
            [("images.flip", self.flip), ("images.grey", self.grey), ("images.erase", self.erase)]
        {
            if !(0.0..=1.0).contains(&value) {
                return refuse(key, value.to_string(), "a probability from 0 to 1");
            }
        }
        for (key, value) in [
            ("images.brightness", self.brightness),
            ("images.contrast", self.contrast),
            ("images.saturation", self.saturation),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return refuse(key, value.to_string(), "0 or more");
            }
        }
        if !(0.0..=0.5).contains(&self.hue) {
            return refuse("images.hue", self.hue.to_string(), "a number from 0 to 0.5");
        }
        let Some(crop) = self.crop else { return Ok(()) };
        let [from, to] = crop.scale;
        if !(from > 0.0 && from <= to && to <= 1.0) {
            return refuse(
                "images.scale",
                format!("{:?}", crop.scale),
                "two shares of the area, 0 < from <= to <= 1",
            );
        }
        let [from, to] = crop.ratio;
        if !(from > 0.0 && from <= to && to.is_finite()) {
            return refuse(
                "images.ratio",
                format!("{:?}", crop.ratio),
                "two aspect ratios, 0 < from <= to",
            );
        }
        Ok(())
    }
}

/// The most that the sides of a picture of `width` x `height` may be divided by before `drawn` is done to it, without any
/// side becoming shorter than the result's.
pub(crate) fn divisor(spec: &ImageSpec, drawn: &Drawn, width: usize, height: usize) -> usize {
    match (drawn.crop, spec.fit) {
        (Some(crop), _) => scaled::divisor([crop.width, crop.height], spec.size),
        (None, Fit::Squash) => scaled::divisor([width, height], spec.size),
        (None, Fit::CentreCrop { resize }) => scaled::divisor([width, height], resize),
    }
}

/// Decodes the bytes of an image file and does what `drawn` says: `[channels, size, size]` u8, nothing
/// normalised or erased. `name` is for the error only.
///
/// # Errors
/// If the image cannot be decoded, the spec is out of range, or the crop lies outside of the picture.
pub fn transform_bytes(
    name: &str,
    bytes: &[u8],
    spec: &ImageSpec,
    drawn: &Drawn,
) -> Result<Vec<u8>, Error> {
    spec.check()?;
    let raster = Raster::decode(name, bytes, spec.decode)?.for_network(spec.channels);
    let (width, height) = (raster.width, raster.height);
    let inside = |part: &Rectangle| {
        (1..=width).contains(&part.width)
            && (1..=height).contains(&part.height)
            && part.left <= width - part.width
            && part.top <= height - part.height
    };
    if drawn.crop.as_ref().is_some_and(|part| !inside(part)) {
        let reason =
            format!("the crop {:?} is not inside of its {width} x {height} pixels", drawn.crop);
        return Err(Error::Image { name: name.to_owned(), reason });
    }
    let mut out = vec![0; spec.len()];
    apply(&raster, 1, spec, drawn, &mut Resampler::new(), &mut out);
    Ok(out)
}

/// Turns a picture into `[channels, size, size]` u8 as `spec` and `drawn` say; erasing is left to the
/// normalisation. `out` has the spec's length. Where the raster is a picture whose sides were divided, what is drawn is of
/// the whole one.
pub(crate) fn apply(
    raster: &Raster,
    divided: usize,
    spec: &ImageSpec,
    drawn: &Drawn,
    resampler: &mut Resampler,
    out: &mut [u8],
) {
    let size = spec.size;
    let region = match (drawn.crop, spec.fit) {
        (Some(crop), _) if divided == 1 => resample::Region::Cut(crop),
        (Some(crop), _) => {
            let part = |length: usize| length as f64 / divided as f64;
            let (left, top) = (part(crop.left), part(crop.top));
            let (width, height) = (part(crop.width), part(crop.height));
            resample::Region::Seen { left, top, width, height }
        }
        (None, Fit::Squash) => resample::Region::Whole,
        (None, Fit::CentreCrop { resize }) => {
            geometry::centre_crop(raster.width, raster.height, resize, size)
        }
    };
    let small = resampler.resize(raster, region, spec.filter, size);
    let channels = raster.channels;
    if !drawn.colour.is_empty() {
        colour::apply(small, channels, &drawn.colour);
    }
    for channel in 0..spec.channels {
        let plane = &mut out[channel * size * size..(channel + 1) * size * size];
        // A grey picture gives each of three channels the same.
        let from = channel.min(channels - 1);
        for (row, target) in small.chunks_exact(size * channels).zip(plane.chunks_exact_mut(size)) {
            let pixels = row[from..].iter().step_by(channels);
            if drawn.flip {
                target.iter_mut().rev().zip(pixels).for_each(|(target, &pixel)| *target = pixel);
            } else {
                target.iter_mut().zip(pixels).for_each(|(target, &pixel)| *target = pixel);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squash(
        width: usize,
        height: usize,
        channels: usize,
        pixels: Vec<u8>,
        size: usize,
    ) -> Vec<u8> {
        let spec = ImageSpec::new(size, channels, false);
        Raster { width, height, channels, pixels }.fitted(&spec)
    }

    #[test]
    fn the_result_is_planar() {
        let pixels = vec![1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3];
        assert_eq!(squash(2, 2, 3, pixels, 2), [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]);
    }

    /// Halving, the triangle is four pixels wide: weights 3/7, 3/7, 1/7 at an edge.
    #[test]
    fn halving_weighs_by_a_triangle() {
        assert_eq!(squash(4, 4, 1, [0, 0, 70, 70].repeat(4), 2), [10, 60, 10, 60]);
    }

    #[test]
    fn a_flip_mirrors_and_a_cut_sees_nothing_beside_it() {
        let raster = Raster { width: 4, height: 1, channels: 1, pixels: vec![9, 1, 1, 9] };
        let spec = ImageSpec::new(1, 1, false);
        let crop = Some(Rectangle { left: 1, top: 0, width: 2, height: 1 });
        let mut out = vec![0];
        let drawn = Drawn { crop, ..Drawn::default() };
        apply(&raster, 1, &spec, &drawn, &mut Resampler::new(), &mut out);
        assert_eq!(out, [1]);

        let raster = Raster { width: 2, height: 2, channels: 1, pixels: vec![1, 2, 3, 4] };
        let spec = ImageSpec::new(2, 1, false);
        let drawn = Drawn { flip: true, ..Drawn::default() };
        let mut out = vec![0; 4];
        apply(&raster, 1, &spec, &drawn, &mut Resampler::new(), &mut out);
        assert_eq!(out, [2, 1, 4, 3]);
    }

    #[test]
    fn settings_out_of_range_name_their_key() {
        let crop = |scale| Some(RandomCrop { scale, ratio: [1.0, 1.0] });
        for (augment, key) in [
            (Augment { flip: 1.5, ..Augment::default() }, "images.flip"),
            (Augment { hue: 0.6, ..Augment::default() }, "images.hue"),
            (Augment { crop: crop([0.5, 0.2]), ..Augment::default() }, "images.scale"),
            (Augment { contrast: f64::NAN, ..Augment::default() }, "images.contrast"),
        ] {
            assert!(augment.check().unwrap_err().to_string().contains(key));
        }
        assert!(Augment { crop: crop([0.2, 1.0]), ..Augment::default() }.check().is_ok());
    }
}
