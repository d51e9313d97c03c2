//! Thumbnails for contact sheets.

use fast_image_resize::images::Image;
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use crate::decode::Raster;

/// Fits a colour picture into a white square, `[side, side, 3]` interleaved.
pub(crate) fn fit_rgb(raster: Raster, side: usize) -> Vec<u8> {
    let longest = raster.width.max(raster.height);
    let scaled = |length: usize| ((length * side + longest / 2) / longest).clamp(1, side.max(1));
    let (width, height) = (scaled(raster.width), scaled(raster.height));
    let small = resize(raster, width, height);
    let mut sheet = vec![255; side * side * 3];
    let (left, top) = ((side - width) / 2, (side - height) / 2);
    for row in 0..height {
        let start = ((top + row) * side + left) * 3;
        sheet[start..start + width * 3]
            .copy_from_slice(&small[row * width * 3..(row + 1) * width * 3]);
    }
    sheet
}

fn resize(raster: Raster, width: usize, height: usize) -> Vec<u8> {
    if (raster.width, raster.height) == (width, height) {
        return raster.pixels;
    }
    let kind = if raster.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let source = Image::from_vec_u8(raster.width as u32, raster.height as u32, raster.pixels, kind)
        .expect("a raster's buffer has the size that its sides say");
    let mut target = Image::new(width as u32, height as u32, kind);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize(&source, &mut target, &options)
        .expect("source and target have one pixel type and no crop box");
    target.into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Raster {
        Raster { width, height, channels, pixels }
    }

    #[test]
    fn fit_keeps_the_aspect_ratio() {
        let sheet = fit_rgb(raster(8, 4, 3, vec![0; 8 * 4 * 3]), 4);
        let rows: Vec<u8> = sheet.chunks(12).map(|row| row[0]).collect();
        assert_eq!(rows, [255, 0, 0, 255]);
        assert_eq!(fit_rgb(raster(1000, 1, 3, vec![0; 3000]), 4).len(), 48);
    }
}
