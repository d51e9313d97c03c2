//! Where the pixels of a sample come from.

use std::path::PathBuf;
use std::sync::Arc;

use crate::archive::Archive;
use crate::decode::{ImageSpec, decode_bytes, decode_rgb_bytes};
use crate::error::Error;
use crate::glyphs::GlyphSet;

#[derive(Debug, Clone)]
pub(crate) enum ImageSource {
    File(PathBuf),
    Archived { archive: Arc<Archive>, entry: usize },
    /// A picture turned anticlockwise by as many quarters.
    Turned { quarters: u8, of: Arc<ImageSource> },
    Glyph { set: Arc<GlyphSet>, class: u32, image: u32 },
}

impl ImageSource {
    /// `[channels, size, size]`, not inverted. Glyphs are drawn at that size, not resized to it.
    pub(crate) fn decode(&self, name: &str, spec: ImageSpec) -> Result<Vec<u8>, Error> {
        match self {
            Self::Glyph { set, class, image } => {
                spec.check()?;
                Ok(set.draw(*class, *image, spec.size).repeat(spec.channels))
            }
            Self::Turned { quarters, of } => {
                let mut pixels = of.decode(name, spec)?;
                for plane in pixels.chunks_exact_mut(spec.size * spec.size) {
                    turn(plane, spec.size, *quarters);
                }
                Ok(pixels)
            }
            _ => decode_bytes(name, &self.bytes()?, spec),
        }
    }

    /// `[side, side, 3]`, interleaved.
    pub(crate) fn decode_rgb(&self, name: &str, side: usize) -> Result<Vec<u8>, Error> {
        match self {
            Self::Glyph { set, class, image } => {
                Ok(set.draw(*class, *image, side).iter().flat_map(|&grey| [grey; 3]).collect())
            }
            Self::Turned { quarters, of } => {
                let pixels = of.decode_rgb(name, side)?;
                let mut pixels: Vec<[u8; 3]> = pixels.as_chunks::<3>().0.to_vec();
                turn(&mut pixels, side, *quarters);
                Ok(pixels.into_iter().flatten().collect())
            }
            _ => decode_rgb_bytes(name, &self.bytes()?, side),
        }
    }

    /// The encoded image.
    pub(crate) fn bytes(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::File(path) => Ok(fs_err::read(path)?),
            Self::Archived { archive, entry } => archive.read(*entry),
            Self::Turned { of, .. } => of.bytes(),
            Self::Glyph { .. } => Ok(Vec::new()),
        }
    }
}

/// Turns a square of `side` by `side` pixels anticlockwise by as many quarters.
fn turn<T: Copy>(pixels: &mut [T], side: usize, quarters: u8) {
    for _ in 0..quarters % 4 {
        let before = pixels.to_vec();
        for (place, pixel) in pixels.iter_mut().enumerate() {
            let (y, x) = (place / side, place % side);
            *pixel = before[x * side + (side - 1 - y)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_are_anticlockwise() {
        let turned = |quarters| {
            let mut pixels = [1, 2, 3, 4];
            turn(&mut pixels, 2, quarters);
            pixels
        };
        assert_eq!(turned(1), [2, 4, 1, 3]);
        assert_eq!(turned(2), [4, 3, 2, 1]);
        assert_eq!(turned(3), [3, 1, 4, 2]);
    }
}
