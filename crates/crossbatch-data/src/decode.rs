//! From encoded bytes to square u8 images.
//!
//! The rules follow Pillow, so that a model sees the same picture from here as from Python:
//! luma by ITU-R 601, resizing by antialiased bilinear convolution. Other conversions: 16-bit samples
//! are rounded to 8 bits; transparency is laid over white paper; of an animation the first picture
//! counts; an EXIF orientation is not applied. A picture that is not square is squashed to the
//! square (aspect ratio not kept), except for thumbnails ([`decode_rgb_file`]).

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageReader, Limits};

use crate::error::Error;
use crate::resize::{fit_rgb, squash};

/// Longest side that is decoded, in pixels.
const LONGEST_SIDE: u32 = 16_384;
/// Most memory that a decoder may take.
const MOST_MEMORY: u64 = 512 << 20;

/// What an image becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageSpec {
    /// Side of the square, in pixels.
    pub size: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Whether [`Images::write_f32`](crate::Images::write_f32) turns black into white: networks train
    /// better where the ink, not the paper, is what is not zero.
    pub invert: bool,
}

impl ImageSpec {
    /// Bytes of one image, `channels * size * size`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels * self.size * self.size
    }

    /// What the network sees of a grey level: 0 to 1, the other way round where `invert` says so.
    #[must_use]
    pub fn value(&self, pixel: u8) -> f32 {
        let value = f32::from(pixel) / 255.0;
        if self.invert { 1.0 - value } else { value }
    }

    /// Never true of a usable spec.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        if !(1..=4096).contains(&self.size) {
            let expected = "a whole number from 1 to 4096".to_owned();
            return Err(Error::Setting {
                key: "image.size",
                value: self.size.to_string(),
                expected,
            });
        }
        if self.channels != 1 && self.channels != 3 {
            let expected = "1 (grey) or 3 (colour)".to_owned();
            return Err(Error::Setting {
                key: "image.channels",
                value: self.channels.to_string(),
                expected,
            });
        }
        Ok(())
    }
}

/// Decodes a file to `[channels, size, size]` u8, not inverted.
pub fn decode_file(path: &Path, spec: ImageSpec) -> Result<Vec<u8>, Error> {
    decode_bytes(&path.display().to_string(), &fs_err::read(path)?, spec)
}

/// Decodes the bytes of an image file; `name` is for the error only.
pub fn decode_bytes(name: &str, bytes: &[u8], spec: ImageSpec) -> Result<Vec<u8>, Error> {
    spec.check()?;
    let raster = Raster::decode(name, bytes)?;
    Ok(squash(raster.with_channels(spec.channels), spec.size))
}

/// Decodes a file to a thumbnail `[side, side, 3]` (pixels interleaved) for contact sheets: whole
/// picture, aspect ratio kept, white margins.
pub fn decode_rgb_file(path: &Path, side: usize) -> Result<Vec<u8>, Error> {
    decode_rgb_bytes(&path.display().to_string(), &fs_err::read(path)?, side)
}

/// As [`decode_rgb_file`], from the bytes of an image file.
pub fn decode_rgb_bytes(name: &str, bytes: &[u8], side: usize) -> Result<Vec<u8>, Error> {
    Ok(fit_rgb(Raster::decode(name, bytes)?.with_channels(3), side))
}

/// Pixels `[height, width, channels]`, interleaved.
pub(crate) struct Raster {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) pixels: Vec<u8>,
}

impl Raster {
    fn decode(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let fail = |reason: String| Error::Image { name: name.to_owned(), reason };
        let decode = || -> Result<DynamicImage, image::ImageError> {
            let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format()?;
            let mut limits = Limits::default();
            limits.max_image_width = Some(LONGEST_SIDE);
            limits.max_image_height = Some(LONGEST_SIDE);
            limits.max_alloc = Some(MOST_MEMORY);
            reader.limits(limits);
            reader.decode()
        };
        if bytes.is_empty() {
            return Err(fail("the file is empty".to_owned()));
        }
        // A decoder's bug on a hostile file must not end a run of hours.
        match catch_unwind(AssertUnwindSafe(decode)) {
            Ok(Ok(picture)) if picture.width() == 0 || picture.height() == 0 => {
                Err(fail("the picture has no pixels".to_owned()))
            }
            Ok(Ok(picture)) => Ok(Self::from_picture(&picture)),
            Ok(Err(error)) => Err(fail(error.to_string())),
            Err(_) => Err(fail("the decoder gave up on it".to_owned())),
        }
    }

    fn from_picture(picture: &DynamicImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let colour = picture.color();
        let (channels, pixels) = match (colour.has_color(), colour.has_alpha()) {
            (false, false) => (1, picture.to_luma8().into_raw()),
            (true, false) => (3, picture.to_rgb8().into_raw()),
            (false, true) => (1, over_white::<2>(picture.to_luma_alpha8().as_raw())),
            (true, true) => (3, over_white::<4>(picture.to_rgba8().as_raw())),
        };
        Self { width, height, channels, pixels }
    }

    fn with_channels(mut self, channels: usize) -> Self {
        self.pixels = match (self.channels, channels) {
            (3, 1) => self.pixels.as_chunks::<3>().0.iter().map(|&rgb| luma(rgb)).collect(),
            (1, 3) => self.pixels.iter().flat_map(|&grey| [grey; 3]).collect(),
            _ => self.pixels,
        };
        self.channels = channels;
        self
    }
}

/// ITU-R 601 in 16-bit fixed point, rounded: Pillow's conversion to "L".
fn luma([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + 0x8000) >> 16) as u8
}

/// Lays pixels of `N` samples, the last of which is opacity, over white.
fn over_white<const N: usize>(pixels: &[u8]) -> Vec<u8> {
    let blend = |pixel: &[u8; N]| {
        let opacity = u32::from(pixel[N - 1]);
        let shades: Vec<u8> = pixel[..N - 1]
            .iter()
            .map(|&shade| ((u32::from(shade) * opacity + 255 * (255 - opacity) + 127) / 255) as u8)
            .collect();
        shades
    };
    pixels.as_chunks::<N>().0.iter().flat_map(blend).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luma_of_the_corners() {
        assert_eq!(luma([255, 255, 255]), 255);
        assert_eq!(luma([255, 0, 0]), 76);
        assert_eq!(luma([0, 255, 0]), 150);
        assert_eq!(luma([0, 0, 255]), 29);
    }

    #[test]
    fn transparent_is_white() {
        assert_eq!(over_white::<4>(&[10, 20, 30, 0, 10, 20, 30, 255]), [255, 255, 255, 10, 20, 30]);
        assert_eq!(over_white::<2>(&[0, 51]), [204]);
    }

    #[test]
    fn bytes_that_are_no_image_are_an_error_with_the_name() {
        let spec = ImageSpec { size: 8, channels: 1, invert: false };
        for bytes in [&b""[..], b"not an image", b"\x89PNG\r\n\x1a\n\0\0"] {
            let error = decode_bytes("shelf/7.png", bytes, spec).unwrap_err();
            assert!(error.to_string().contains("shelf/7.png"), "{error}");
        }
    }
}
