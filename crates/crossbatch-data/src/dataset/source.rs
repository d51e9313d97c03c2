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
    Zip { archive: Arc<Archive>, entry: usize },
    Glyph { set: Arc<GlyphSet>, class: u32, image: u32 },
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
            _ => Raster::decode(name, &self.bytes()?, spec.decode)?,
        };
        Ok(raster.for_network(spec.channels))
    }

    /// `[side, side, 3]`, interleaved.
    pub(crate) fn decode_rgb(&self, name: &str, side: usize) -> Result<Vec<u8>, Error> {
        match self {
            Self::Glyph { set, class, image } => {
                Ok(set.draw(*class, *image, side).iter().flat_map(|&grey| [grey; 3]).collect())
            }
            _ => decode_rgb_bytes(name, &self.bytes()?, side),
        }
    }

    fn bytes(&self) -> Result<Vec<u8>, Error> {
        match self {
            Self::File(path) => Ok(fs_err::read(path)?),
            Self::Zip { archive, entry } => archive.read(*entry),
            Self::Glyph { .. } => Ok(Vec::new()),
        }
    }
}
