//! Resizing a part of a picture, as Pillow does, into a buffer that is used again.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::Filter;
use super::geometry::Rectangle;
use crate::decode::Raster;

/// What is resized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Region {
    /// Everything.
    Whole,
    /// A part that is cut out first: nothing outside of it counts.
    Cut(Rectangle),
    /// A window onto the resized whole: pixels beside it count for the filter.
    Seen { left: f64, top: f64, width: f64, height: f64 },
}

/// A resizer with its buffers.
pub(crate) struct Resampler {
    resizer: Resizer,
    pixels: Vec<u8>,
}

impl Resampler {
    pub(crate) fn new() -> Self {
        Self { resizer: Resizer::new(), pixels: Vec::new() }
    }

    /// The region at `side` x `side`, pixels interleaved.
    pub(crate) fn resize(
        &mut self,
        raster: &Raster,
        region: Region,
        filter: Filter,
        side: usize,
    ) -> &mut [u8] {
        let kind = if raster.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
        let (width, height) = (raster.width as u32, raster.height as u32);
        self.pixels.resize(side * side * raster.channels, 0);
        if region == Region::Whole && (raster.width, raster.height) == (side, side) {
            self.pixels.copy_from_slice(&raster.pixels);
            return &mut self.pixels;
        }
        let filter = match filter {
            Filter::Bilinear => FilterType::Bilinear,
            Filter::Bicubic => FilterType::CatmullRom,
        };
        let mut options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
        if let Region::Seen { left, top, width: w, height: h } = region {
            // A last bit beyond the edge would be refused.
            let left = left.clamp(0.0, f64::from(width));
            let top = top.clamp(0.0, f64::from(height));
            let (w, h) = (w.min(f64::from(width) - left), h.min(f64::from(height) - top));
            options = options.crop(left, top, w, h);
        }
        let source = ImageRef::new(width, height, &raster.pixels, kind)
            .expect("a raster's buffer has the size that its sides say");
        let mut target = Image::from_slice_u8(side as u32, side as u32, &mut self.pixels, kind)
            .expect("the buffer was made for this size");
        match region {
            Region::Cut(Rectangle { left, top, width, height }) => {
                let (left, top) = (left as u32, top as u32);
                let part = CroppedImage::new(&source, left, top, width as u32, height as u32)
                    .expect("crops lie inside of the picture");
                self.resizer.resize(&part, &mut target, &options)
            }
            Region::Whole | Region::Seen { .. } => {
                self.resizer.resize(&source, &mut target, &options)
            }
        }
        .expect("source and target have one pixel type, and the box lies inside");
        &mut self.pixels
    }
}
