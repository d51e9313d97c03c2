//! From encoded bytes to square u8 images.
//!
//! The rules follow Pillow, so that a model sees the same picture from here as from Python:
//! luma by ITU-R 601, resizing by antialiased convolution. Other conversions: 16-bit samples
//! are rounded to 8 bits; transparency is laid over white paper; of an animation the first picture
//! counts; an EXIF orientation is applied where [`DecodeOptions::orientation`] says so. A picture that is
//! not square becomes one as [`ImageSpec::fit`] says; thumbnails ([`decode_rgb_file`]) keep their shape.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::resize::fit_rgb;
use crate::transform::{Drawn, Filter, Fit, Normalise, Resampler, apply};

/// Longest side that is decoded, in pixels.
pub(crate) const LONGEST_SIDE: u32 = 65_535;
/// Most bytes that a decoder may take besides the pixels it returns.
const MOST_MEMORY: u64 = 1 << 30;

/// What becomes of a JPEG file that ends too early. Other formats are always refused then.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Truncated {
    /// It is an error, as in Pillow.
    #[default]
    Refuse,
    /// What is missing is grey.
    Accept,
}

/// How files are decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeOptions {
    /// Most pixels; a picture that states more is refused before any are allocated. The default is
    /// Pillow's limit, 178,956,970.
    pub max_pixels: u64,
    /// Whether an EXIF orientation turns the picture. Default false, as in torchvision.
    pub orientation: bool,
    /// What becomes of a JPEG file that ends too early.
    pub truncated: Truncated,
}

impl DecodeOptions {
    /// Up to 178,956,970 pixels, not turned, nothing truncated.
    pub const DEFAULT: Self =
        Self { max_pixels: 178_956_970, orientation: false, truncated: Truncated::Refuse };
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What an image becomes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ImageSpec {
    /// Side of the square, in pixels.
    pub size: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// Whether [`Images::write_f32`](crate::Images::write_f32) turns black into white: networks train
    /// better where the ink, not the paper, is what is not zero.
    pub invert: bool,
    /// How a picture becomes a square.
    pub fit: Fit,
    /// Filter of resizing.
    pub filter: Filter,
    /// From bytes to the network's numbers.
    pub normalise: Normalise,
    /// How files are decoded.
    pub decode: DecodeOptions,
}

impl ImageSpec {
    /// Squashed to `size` x `size`, resized bilinearly, from 0 to 1.
    #[must_use]
    pub const fn new(size: usize, channels: usize, invert: bool) -> Self {
        Self {
            size,
            channels,
            invert,
            fit: Fit::Squash,
            filter: Filter::Bilinear,
            normalise: Normalise::PLAIN,
            decode: DecodeOptions::DEFAULT,
        }
    }

    /// Bytes of one image, `channels * size * size`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.channels * self.size * self.size
    }

    /// Appends what the network sees of one image `[channels, size, size]`.
    ///
    /// # Panics
    /// If `pixels` has not the spec's length.
    pub fn extend_values(&self, pixels: &[u8], out: &mut Vec<f32>) {
        let start = out.len();
        out.resize(start + self.len(), 0.0);
        let tables = self.normalise.tables(self.channels, self.invert);
        self.normalise.write(&tables, pixels, None, self.size, &mut out[start..]);
    }

    /// What a network sees, `[channels, size, size]`, as a thumbnail `[side, side, 3]` for contact sheets: the
    /// normalisation undone.
    ///
    /// # Panics
    /// If `values` has not the spec's length.
    #[must_use]
    pub fn thumbnail(&self, values: &[f32], side: usize) -> Vec<u8> {
        let pixels = self.normalise.undo(values, self.channels, self.invert);
        let (width, height, channels) = (self.size, self.size, self.channels);
        fit_rgb(Raster { width, height, channels, pixels }.with_channels(3), side)
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
        if let Fit::CentreCrop { resize } = self.fit
            && !(self.size..=16_384).contains(&resize)
        {
            let expected = format!("a whole number from the image's size ({}) to 16384", self.size);
            let value = resize.to_string();
            return Err(Error::Setting { key: "images.resize", value, expected });
        }
        self.normalise.check()
    }
}

/// Decodes a file to `[channels, size, size]` u8, not inverted.
pub fn decode_file(path: &Path, spec: ImageSpec) -> Result<Vec<u8>, Error> {
    decode_bytes(&path.display().to_string(), &fs_err::read(path)?, spec)
}

/// Decodes the bytes of an image file; `name` is for the error only.
pub fn decode_bytes(name: &str, bytes: &[u8], spec: ImageSpec) -> Result<Vec<u8>, Error> {
    spec.check()?;
    let raster = Raster::decode(name, bytes, spec.decode)?;
    Ok(raster.fitted(&spec))
}

/// Decodes a file to a thumbnail `[side, side, 3]` (pixels interleaved) for contact sheets: whole
/// picture, aspect ratio kept, white margins.
pub fn decode_rgb_file(path: &Path, side: usize) -> Result<Vec<u8>, Error> {
    decode_rgb_bytes(&path.display().to_string(), &fs_err::read(path)?, side)
}

/// As [`decode_rgb_file`], from the bytes of an image file.
pub fn decode_rgb_bytes(name: &str, bytes: &[u8], side: usize) -> Result<Vec<u8>, Error> {
    let raster = Raster::decode(name, bytes, DecodeOptions::default())?;
    Ok(fit_rgb(raster.with_channels(3), side))
}

/// Pixels `[height, width, channels]`, interleaved.
#[derive(Debug)]
pub(crate) struct Raster {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) pixels: Vec<u8>,
}

impl Raster {
    pub(crate) fn decode(name: &str, bytes: &[u8], options: DecodeOptions) -> Result<Self, Error> {
        let fail = |reason: String| Error::Image { name: name.to_owned(), reason };
        if bytes.is_empty() {
            return Err(fail("the file is empty".to_owned()));
        }
        // A decoder's bug on a hostile file must not end a run of hours.
        match catch_unwind(AssertUnwindSafe(|| picture(bytes, options))) {
            Ok(Ok(picture)) if picture.width() == 0 || picture.height() == 0 => {
                Err(fail("the picture has no pixels".to_owned()))
            }
            Ok(Ok(picture)) => Ok(Self::from_picture(picture)),
            Ok(Err(reason)) => Err(fail(reason)),
            Err(_) => Err(fail("the decoder gave up on it".to_owned())),
        }
    }

    fn from_picture(picture: DynamicImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let colour = picture.color();
        let (channels, pixels) = match (colour.has_color(), colour.has_alpha()) {
            (false, false) => (1, picture.into_luma8().into_raw()),
            (true, false) => (3, picture.into_rgb8().into_raw()),
            (false, true) => (1, over_white::<2>(picture.into_luma_alpha8().as_raw())),
            (true, true) => (3, over_white::<4>(picture.into_rgba8().as_raw())),
        };
        Self { width, height, channels, pixels }
    }

    /// For a network of one channel grey; for one of three as it is: grey is one channel yet.
    pub(crate) fn for_network(self, channels: usize) -> Self {
        if channels == 1 { self.with_channels(1) } else { self }
    }

    /// `[channels, size, size]`, as `spec` says, nothing changed at random.
    pub(crate) fn fitted(self, spec: &ImageSpec) -> Vec<u8> {
        let raster = self.for_network(spec.channels);
        let mut out = vec![0; spec.len()];
        apply(&raster, 1, spec, &Drawn::default(), &mut Resampler::new(), &mut out);
        out
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

fn picture(bytes: &[u8], options: DecodeOptions) -> Result<DynamicImage, String> {
    let text = |error: image::ImageError| error.to_string();
    let mut reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    if reader.format() == Some(ImageFormat::Jpeg)
        && options.truncated == Truncated::Refuse
        && !jpeg_ends(bytes)
    {
        return Err("the file is truncated: its end-of-image marker is missing; fetch it again, or set `images.truncated = \"accept\"`".to_owned());
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST_SIDE);
    limits.max_image_height = Some(LONGEST_SIDE);
    limits.max_alloc = Some(MOST_MEMORY);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(text)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels > options.max_pixels {
        return Err(format!(
            "it states {width} x {height} pixels, more than the limit of {} (`images.max-pixels`): refused as a decompression bomb",
            options.max_pixels
        ));
    }
    let orientation = if options.orientation { decoder.orientation().ok() } else { None };
    let mut picture = DynamicImage::from_decoder(decoder).map_err(text)?;
    if let Some(orientation) = orientation {
        picture.apply_orientation(orientation);
    }
    Ok(picture)
}

/// Whether a JPEG file has an end-of-image marker after the beginning of its (first) scan. Those of thumbnails
/// lie before it.
pub(crate) fn jpeg_ends(bytes: &[u8]) -> bool {
    let mut at = 2;
    while let [0xFF, marker, rest @ ..] = bytes.get(at..).unwrap_or_default() {
        match (*marker, rest) {
            // Fill bytes, and markers without a length.
            (0xFF, _) => at += 1,
            (0x01 | 0xD0..=0xD8, _) => at += 2,
            (0xDA, _) => return bytes[at..].windows(2).rev().any(|pair| pair == [0xFF, 0xD9]),
            (_, [high, low, ..]) => at += 2 + usize::from(u16::from_be_bytes([*high, *low])),
            _ => return false,
        }
    }
    // Not what it seems; the decoder has the word.
    at < bytes.len()
}

/// ITU-R 601 in 16-bit fixed point, rounded: Pillow's conversion to "L".
pub(crate) fn luma([red, green, blue]: [u8; 3]) -> u8 {
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
        let spec = ImageSpec::new(8, 1, false);
        for bytes in [&b""[..], b"not an image", b"\x89PNG\r\n\x1a\n\0\0"] {
            let error = decode_bytes("shelf/7.png", bytes, spec).unwrap_err();
            assert!(error.to_string().contains("shelf/7.png"), "{error}");
        }
    }
}
