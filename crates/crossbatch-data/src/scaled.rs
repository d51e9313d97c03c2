//! JPEG decoded at a fraction of its size by libjpeg-turbo, which leaves out most of the inverse transforms.

use crate::decode::{DecodeOptions, Raster};

/// Sides of a picture are divided by one of these, the most first.
const DIVISORS: [usize; 3] = [8, 4, 2];

/// The most that the sides of `region` may be divided by and still have `target` pixels.
pub(crate) fn divisor(region: [usize; 2], target: usize) -> usize {
    let enough = |by: &usize| region.iter().all(|side| side / by >= target);
    DIVISORS.into_iter().find(enough).unwrap_or(1)
}

/// Whether this program has libjpeg-turbo.
pub(crate) const AVAILABLE: bool = cfg!(feature = "turbojpeg");

/// The picture with its sides divided by what `choose` makes of width and height, and that divisor; `None` where that is 1 or the bytes are not
/// a plain JPEG file: then the picture is decoded as any other, and whatever is wrong with it is said there.
#[cfg(feature = "turbojpeg")]
pub(crate) fn decode(
    bytes: &[u8],
    options: DecodeOptions,
    choose: impl FnOnce(usize, usize) -> usize,
) -> Option<(Raster, usize)> {
    use crate::decode::{LONGEST_SIDE, jpeg_ends};
    use std::cell::Cell;
    use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat, ScalingFactor};

    thread_local! {
        static DECOMPRESSOR: Cell<Option<Decompressor>> = const { Cell::new(None) };
    }

    // One that is turned by its orientation would need its crop turned back.
    if options.orientation || !bytes.starts_with(&[0xFF, 0xD8]) || !jpeg_ends(bytes) {
        return None;
    }
    let mut decompressor = DECOMPRESSOR.take().or_else(|| Decompressor::new().ok())?;
    let header = decompressor.read_header(bytes).ok()?;
    let (width, height) = (header.width, header.height);
    let (channels, format) = match header.colorspace {
        Colorspace::Gray => (1, PixelFormat::GRAY),
        Colorspace::RGB | Colorspace::YCbCr => (3, PixelFormat::RGB),
        Colorspace::CMYK | Colorspace::YCCK => return None,
    };
    let most = LONGEST_SIDE as usize;
    let pixels = width as u64 * height as u64;
    if header.is_lossless || width.max(height) > most || pixels > options.max_pixels {
        return None;
    }
    let by = choose(width, height);
    if by == 1 {
        DECOMPRESSOR.set(Some(decompressor));
        return None;
    }
    let scaling = ScalingFactor::new(1, by);
    decompressor.set_scaling_factor(scaling).ok()?;
    let (width, height) = (scaling.scale(width), scaling.scale(height));
    let pitch = width * channels;
    let mut pixels = vec![0; pitch * height];
    let image = Image { pixels: &mut pixels[..], width, pitch, height, format };
    decompressor.decompress(bytes, image).ok()?;
    DECOMPRESSOR.set(Some(decompressor));
    Some((Raster { width, height, channels, pixels }, by))
}

/// Never anything: this program is built without libjpeg-turbo.
#[cfg(not(feature = "turbojpeg"))]
pub(crate) fn decode(
    _: &[u8],
    _: DecodeOptions,
    _: impl FnOnce(usize, usize) -> usize,
) -> Option<(Raster, usize)> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_side_becomes_shorter_than_wanted() {
        assert_eq!(divisor([448, 448], 224), 2);
        assert_eq!(divisor([447, 900], 224), 1);
        assert_eq!(divisor([900, 1000], 224), 4);
        assert_eq!(divisor([9000, 5000], 224), 8);
        assert_eq!(divisor([1, 1], 1), 1);
    }
}
