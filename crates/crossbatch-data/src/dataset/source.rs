//! Where the pixels of a sample come from.

use std::path::PathBuf;
use std::sync::Arc;

use crate::archive::Archive;
use crate::decode::{ImageSpec, Raster, decode_rgb_bytes};
use crate::error::Error;
use crate::glyphs::GlyphSet;
use crate::transform::Fit;

#[derive(Debug, Clone)]
pub(crate) enum ImageSource {
    File(PathBuf),
    Archived {
        archive: Arc<Archive>,
        entry: usize,
    },
    /// A picture turned anticlockwise by as many quarters.
    Turned {
        quarters: u8,
        of: Arc<ImageSource>,
    },
    Glyph {
        set: Arc<GlyphSet>,
        class: u32,
        image: u32,
    },
}

impl ImageSource {
    /// `[channels, size, size]`, not inverted.
    pub(crate) fn decode(&self, name: &str, spec: ImageSpec) -> Result<Vec<u8>, Error> {
        spec.check()?;
        Ok(self.raster(name, &spec)?.fitted(&spec))
    }

    /// The whole picture, grey where the network is. Glyphs are drawn at the size that they are fitted at, so that
    /// fitting resizes none.
    pub(crate) fn raster(&self, name: &str, spec: &ImageSpec) -> Result<Raster, Error> {
        let raster = match self {
            Self::Glyph { set, class, image } => {
                let side = match spec.fit {
                    Fit::Squash => spec.size,
                    Fit::CentreCrop { resize } => resize,
                };
                let pixels = set.draw(*class, *image, side);
                Raster { width: side, height: side, channels: 1, pixels }
            }
            Self::Turned { quarters, of } => return Ok(of.raster(name, spec)?.turned(*quarters)),
            _ => Raster::decode(name, &self.bytes()?, spec.decode)?,
        };
        Ok(raster.for_network(spec.channels))
    }

    /// The encoded image, if it is used as it is.
    pub(crate) fn encoded(&self) -> Option<Result<Vec<u8>, Error>> {
        matches!(self, Self::File(_) | Self::Archived { .. }).then(|| self.bytes())
    }

    /// `[side, side, 3]`, interleaved.
    pub(crate) fn decode_rgb(&self, name: &str, side: usize) -> Result<Vec<u8>, Error> {
        match self {
            Self::Glyph { set, class, image } => {
                Ok(set.draw(*class, *image, side).iter().flat_map(|&grey| [grey; 3]).collect())
            }
            Self::Turned { quarters, of } => {
                let pixels = of.decode_rgb(name, side)?;
                let square = Raster { width: side, height: side, channels: 3, pixels };
                Ok(square.turned(*quarters).pixels)
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

impl Raster {
    /// The picture turned anticlockwise by as many quarters.
    fn turned(mut self, quarters: u8) -> Self {
        for _ in 0..quarters % 4 {
            let (width, height, channels) = (self.width, self.height, self.channels);
            let mut pixels = Vec::with_capacity(self.pixels.len());
            for x in (0..width).rev() {
                for y in 0..height {
                    let start = (y * width + x) * channels;
                    pixels.extend_from_slice(&self.pixels[start..start + channels]);
                }
            }
            self = Self { width: height, height: width, channels, pixels };
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quarters_are_anticlockwise() {
        // 1 2 3
        // 4 5 6
        let raster = || Raster { width: 3, height: 2, channels: 1, pixels: vec![1, 2, 3, 4, 5, 6] };
        let once = raster().turned(1);
        assert_eq!((once.width, once.height, once.pixels), (2, 3, vec![3, 6, 2, 5, 1, 4]));
        assert_eq!(raster().turned(2).pixels, [6, 5, 4, 3, 2, 1]);
        assert_eq!(raster().turned(3).pixels, [4, 1, 5, 2, 6, 3]);
        let colours = Raster { width: 1, height: 2, channels: 3, pixels: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(colours.turned(1).pixels, [1, 2, 3, 4, 5, 6]);
    }
}
