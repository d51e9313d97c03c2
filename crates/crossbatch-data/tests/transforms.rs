//! Our transforms against torchvision's with the Pillow backend, see `golden/transforms.py`.

use crossbatch_data::{
    ColourStep, DecodeOptions, Drawn, Filter, Fit, ImageSpec, Rectangle, Truncated, transform_bytes,
};
use image::{DynamicImage, ImageFormat, RgbImage};

use crate::support::encode;

/// The picture that the script makes, too.
fn picture(width: u32, height: u32) -> Vec<u8> {
    let shades = |x: u32, y: u32| {
        let gradient = (x * 255 / (width - 1) + y * 255 / (height - 1)) / 2;
        let even = (x / 7 + y / 5).is_multiple_of(2);
        let checker = if even { gradient } else { 255 - gradient };
        [checker, gradient, (x * 3 + y * 11) % 256].map(|shade| shade as u8)
    };
    let picture = RgbImage::from_fn(width, height, |x, y| image::Rgb(shades(x, y)));
    encode(&DynamicImage::from(picture), ImageFormat::Png)
}

struct Case {
    name: String,
    file: Option<Vec<u8>>,
    pixels: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let hex = |text: &str| -> Vec<u8> {
        let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        (0..text.len()).step_by(2).map(byte).collect()
    };
    let mut cases: Vec<Case> = Vec::new();
    for line in include_str!("golden/transforms.txt").lines() {
        match line.split_once(' ').unwrap() {
            ("case", name) => {
                cases.push(Case { name: name.to_owned(), file: None, pixels: Vec::new() });
            }
            ("file", text) => cases.last_mut().unwrap().file = Some(hex(text)),
            ("pixels", text) => cases.last_mut().unwrap().pixels = hex(text),
            _ => assert!(line.starts_with('#'), "{line}"),
        }
    }
    cases
}

/// What the name of a case without a file stands for.
fn meaning(name: &str) -> (Vec<u8>, ImageSpec, Drawn) {
    let (wide, tall, small) = ((97, 61), (61, 97), (24, 24));
    let mut spec = ImageSpec::new(16, 3, false);
    let mut drawn = Drawn::default();
    if name.contains("bicubic") {
        spec.filter = Filter::Bicubic;
    }
    let cut = |top, left, height, width| Some(Rectangle { left, top, width, height });
    let mut words = name.split(' ');
    let what = words.next().unwrap();
    let source = match what {
        "crop" | "crop-bicubic" => {
            drawn.crop = cut(7, 13, 41, 52);
            wide
        }
        "crop-up" | "crop-up-bicubic" => {
            drawn.crop = cut(50, 80, 9, 11);
            spec.size = 24;
            wide
        }
        "crop-corner" => {
            drawn.crop = cut(0, 0, 96, 60);
            tall
        }
        "crop-flip" => {
            drawn.crop = cut(11, 3, 50, 40);
            drawn.flip = true;
            tall
        }
        _ if what.starts_with("centre-") => {
            let up = what.ends_with("-up");
            spec.size = if up { 24 } else { 16 };
            spec.fit = Fit::CentreCrop { resize: if up { 75 } else { 20 } };
            if what.contains("wide") { wide } else { tall }
        }
        _ => {
            spec.size = 24;
            let factor = words.next().map_or(0.0, |text| text.parse().unwrap());
            drawn.colour = match what {
                "brightness" => vec![ColourStep::Brightness(factor)],
                "contrast" => vec![ColourStep::Contrast(factor)],
                "saturation" => vec![ColourStep::Saturation(factor)],
                "hue" => vec![ColourStep::Hue(factor)],
                "grey" => vec![ColourStep::Grey],
                "chain" => vec![
                    ColourStep::Brightness(1.2),
                    ColourStep::Saturation(0.8),
                    ColourStep::Contrast(1.3),
                    ColourStep::Hue(-0.07),
                ],
                "grey-network" => {
                    spec.channels = 1;
                    vec![]
                }
                _ => panic!("no such case: {name}"),
            };
            small
        }
    };
    (picture(source.0, source.1), spec, drawn)
}

#[track_caller]
fn compare(name: &str, ours: &[u8], theirs: &[u8], most: u8) -> u8 {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let differences = ours.iter().zip(theirs).map(|(&one, &other)| one.abs_diff(other));
    let largest = differences.max().unwrap();
    assert!(largest <= most, "{name}: off by {largest}, {most} allowed");
    largest
}

#[test]
fn as_torchvision() {
    let mut seen = 0;
    for case in cases().into_iter().filter(|case| case.file.is_none()) {
        let (bytes, spec, drawn) = meaning(&case.name);
        let ours = transform_bytes(&case.name, &bytes, &spec, &drawn).unwrap();
        // Resizing rounds its weights otherwise; colours are exact.
        let resizes = case.name.starts_with("crop") || case.name.starts_with("centre");
        compare(&case.name, &ours, &case.pixels, u8::from(resizes));
        seen += 1;
    }
    assert_eq!(seen, 24);
}

#[test]
fn files_as_pillow() {
    let mut seen = 0;
    for case in cases() {
        let Some(file) = &case.file else { continue };
        let mut spec = ImageSpec::new(24, 3, false);
        spec.decode.orientation = true;
        let ours = transform_bytes(&case.name, file, &spec, &Drawn::default()).unwrap();
        // Two inverse transforms and two upsamplings, each right by the standard.
        let most = if case.name.starts_with("jpeg") { 2 } else { 0 };
        compare(&case.name, &ours, &case.pixels, most);
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn an_orientation_is_left_alone_unless_asked_for() {
    let case = cases().into_iter().find(|case| case.name == "jpeg-turned").unwrap();
    let plain = ImageSpec::new(24, 3, false);
    let ours =
        transform_bytes("turned", case.file.as_ref().unwrap(), &plain, &Drawn::default()).unwrap();
    assert_ne!(ours, case.pixels);
}

#[test]
fn truncated_jpegs_are_refused_or_filled() {
    let case = cases().into_iter().find(|case| case.name == "jpeg-444").unwrap();
    let file = case.file.unwrap();
    let half = &file[..file.len() / 2 + file.len() / 4];
    let mut spec = ImageSpec::new(24, 3, false);
    let error =
        transform_bytes("half.jpg", half, &spec, &Drawn::default()).unwrap_err().to_string();
    assert!(error.contains("half.jpg") && error.contains("truncated"), "{error}");
    spec.decode.truncated = Truncated::Accept;
    let ours = transform_bytes("half.jpg", half, &spec, &Drawn::default()).unwrap();
    compare("upper rows", &ours[..24 * 4], &case.pixels[..24 * 4], 2);
}

#[test]
fn what_is_too_large_or_outside_is_refused() {
    let mut spec = ImageSpec::new(8, 3, false);
    spec.decode = DecodeOptions { max_pixels: 99, ..DecodeOptions::default() };
    let error = transform_bytes("big.png", &picture(10, 10), &spec, &Drawn::default()).unwrap_err();
    let error = error.to_string();
    assert!(error.contains("10 x 10") && error.contains("99"), "{error}");
    let spec = ImageSpec::new(8, 3, false);
    for part in [
        Rectangle { left: 3, top: 0, width: 8, height: 1 },
        Rectangle { left: usize::MAX, top: 0, width: 2, height: 1 },
        Rectangle { left: 0, top: 0, width: 0, height: 1 },
    ] {
        let drawn = Drawn { crop: Some(part), ..Drawn::default() };
        assert!(transform_bytes("a.png", &picture(10, 10), &spec, &drawn).is_err());
    }
}
