//! Resizing a part of a picture, as Pillow does, into a buffer that is used again.
//!
//! Pillow resizes rows first and rounds in between. Columns first is faster; for the bilinear filter that
//! is within one level. A bicubic one overshoots, and what is cut off in between differs, so there rows come
//! first here, too.

use fast_image_resize::images::{CroppedImage, Image, ImageRef};
use fast_image_resize::{FilterType, IntoImageView, PixelType, ResizeAlg, ResizeOptions, Resizer};

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
    rows: Vec<u8>,
}

impl Resampler {
    pub(crate) fn new() -> Self {
        Self { resizer: Resizer::new(), pixels: Vec::new(), rows: Vec::new() }
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
        let source = ImageRef::new(width, height, &raster.pixels, kind)
            .expect("a raster's buffer has the size that its sides say");
        match region {
            Region::Cut(Rectangle { left, top, width, height }) => {
                let (left, top) = (left as u32, top as u32);
                let part = CroppedImage::new(&source, left, top, width as u32, height as u32)
                    .expect("crops lie inside of the picture");
                let all = [0.0, 0.0, width as f64, height as f64];
                self.convolve(&part, all, filter, side, kind);
            }
            Region::Whole => {
                let all = [0.0, 0.0, f64::from(width), f64::from(height)];
                self.convolve(&source, all, filter, side, kind);
            }
            Region::Seen { left, top, width: w, height: h } => {
                // A last bit beyond the edge would be refused.
                let left = left.clamp(0.0, f64::from(width));
                let top = top.clamp(0.0, f64::from(height));
                let (w, h) = (w.min(f64::from(width) - left), h.min(f64::from(height) - top));
                self.convolve(&source, [left, top, w, h], filter, side, kind);
            }
        }
        &mut self.pixels
    }

    /// Resizes the window `[left, top, width, height]` of `source` into the buffer.
    fn convolve(
        &mut self,
        source: &impl IntoImageView,
        [left, top, width, height]: [f64; 4],
        filter: Filter,
        side: usize,
        kind: PixelType,
    ) {
        let target = side as u32;
        let made = "the buffer was made for this size";
        let done = "source and target have one pixel type, and the window lies inside";
        let with = |filter| ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter));
        let mut result = Image::from_slice_u8(target, target, &mut self.pixels, kind).expect(made);
        match filter {
            Filter::Bilinear => {
                let options = with(FilterType::Bilinear).crop(left, top, width, height);
                self.resizer.resize(source, &mut result, &options).expect(done);
            }
            Filter::Bicubic => {
                let lines = source.height();
                self.rows.resize(side * lines as usize * kind.size(), 0);
                let mut rows =
                    Image::from_slice_u8(target, lines, &mut self.rows, kind).expect(made);
                let options = with(FilterType::CatmullRom);
                let across = options.crop(left, 0.0, width, f64::from(lines));
                self.resizer.resize(source, &mut rows, &across).expect(done);
                let down = options.crop(0.0, top, f64::from(target), height);
                self.resizer.resize(&rows, &mut result, &down).expect(done);
            }
        }
    }
}
