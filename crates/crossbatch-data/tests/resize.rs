//! Our pixels against Pillow's, see `golden/resize.py`.

use crossbatch_data::{ImageSpec, decode_bytes};
use image::{DynamicImage, GrayImage, ImageFormat, RgbImage};

use crate::support::encode;

/// The picture that the script makes, too.
fn picture(width: u32, height: u32, channels: usize) -> DynamicImage {
    let shades = |x: u32, y: u32| {
        let gradient = (x * 255 / (width - 1) + y * 255 / (height - 1)) / 2;
        let even = (x / 7 + y / 5).is_multiple_of(2);
        let checker = if even { gradient } else { 255 - gradient };
        [checker, gradient, (x * 3 + y * 11) % 256].map(|shade| shade as u8)
    };
    if channels == 1 {
        GrayImage::from_fn(width, height, |x, y| image::Luma([shades(x, y)[0]])).into()
    } else {
        RgbImage::from_fn(width, height, |x, y| image::Rgb(shades(x, y))).into()
    }
}

fn compare(golden: &str) {
    let mut lines = golden.lines().filter(|line| !line.starts_with('#'));
    let mut header = |key: &str| -> Vec<usize> {
        let line = lines.next().unwrap().strip_prefix(key).unwrap();
        line.split_whitespace().map(|number| number.parse().unwrap()).collect()
    };
    let (source, target) = (header("source:"), header("target:"));
    let expected: Vec<i32> =
        lines.flat_map(str::split_whitespace).map(|number| number.parse().unwrap()).collect();
    let bytes = encode(&picture(source[0] as u32, source[1] as u32, source[2]), ImageFormat::Png);
    let spec = ImageSpec::new(target[0], target[1], false);
    let ours = decode_bytes("golden", &bytes, spec).unwrap();
    assert_eq!(ours.len(), expected.len());
    for (place, (&ours, &expected)) in ours.iter().zip(&expected).enumerate() {
        let difference = (i32::from(ours) - expected).abs();
        assert!(difference <= 1, "at {place}: {ours}, Pillow {expected}");
    }
}

#[test]
fn as_pillow() {
    compare(include_str!("golden/grey_105_to_28.txt"));
    compare(include_str!("golden/grey_wide_to_28.txt"));
    compare(include_str!("golden/colour_to_grey_28.txt"));
    compare(include_str!("golden/colour_to_colour_14.txt"));
    compare(include_str!("golden/grey_up_to_14.txt"));
}
