//! Genuine data sets: counts, and that every image can be read.

use crossbatch_data::{ImageSpec, Kind, Split, decode_rgb, load, open};

use crate::data_folder::data;
use crate::support::{assert_sound, at, class_counts};

const COLOUR: ImageSpec = ImageSpec::new(32, 3, false);

/// Opens, counts, and reads every `stride`-th image.
fn check(
    name: &str,
    kind: Kind,
    classes: [usize; 2],
    images: [usize; 2],
    spec: ImageSpec,
    stride: usize,
) {
    let Some(path) = data(name) else { return };
    let dataset = open(&at(&path)).unwrap();
    assert_sound(&dataset);
    assert_eq!((dataset.kind, &dataset.warnings), (kind, &vec![]));
    assert_eq!(class_counts(&dataset), [classes[0], 0, classes[1]]);
    assert_eq!([Split::Train, Split::Test].map(|split| dataset.indices(split).len()), images);
    let some: Vec<usize> = (0..dataset.samples.len()).step_by(stride).collect();
    let (loaded, unreadable) = load(&dataset, &some, spec, usize::MAX, &|_, _| {}).unwrap();
    assert_eq!((loaded.len(), unreadable), (some.len(), vec![]));
}

#[test]
fn omniglot() {
    let spec = ImageSpec::new(28, 1, true);
    check("omniglot", Kind::Omniglot, [964, 659], [19_280, 13_180], spec, 1);
    let Some(path) = data("omniglot") else { return };
    let dataset = open(&at(&path)).unwrap();
    let expected = "964 training classes (19280 images), 659 test classes (13180 images)";
    assert!(dataset.description.contains(expected), "{}", dataset.description);
    // One bit a pixel: at its own size there is only ink and paper, and mostly paper.
    let spec = ImageSpec::new(105, 1, true);
    let (images, _) = load(&dataset, &[0, 20_000], spec, 0, &|_, _| {}).unwrap();
    for position in 0..2 {
        let pixels = images.u8_pixels(position).unwrap().into_owned();
        let paper = pixels.iter().filter(|&&pixel| pixel == 255).count();
        assert!(pixels.iter().all(|&pixel| pixel == 0 || pixel == 255) && paper > pixels.len() / 2);
    }
}

#[test]
fn grocery() {
    check("grocery81", Kind::List, [41, 40], [1942, 1851], COLOUR, 10);
}

#[test]
fn cub() {
    check("cub127", Kind::List, [85, 42], [4982, 2474], COLOUR, 20);
}

#[test]
fn cars() {
    check("cars196_crops", Kind::List, [98, 98], [1568, 1568], COLOUR, 10);
}

#[test]
fn sop_sample_with_grey_jpegs() {
    check("sop_sample", Kind::Sop, [44, 43], [216, 180], COLOUR, 1);
    let Some(path) = data("sop_sample") else {
        return;
    };
    let dataset = open(&at(&path)).unwrap();
    let all: Vec<usize> = (0..dataset.samples.len()).collect();
    let (images, _) = load(&dataset, &all, COLOUR, usize::MAX, &|_, _| {}).unwrap();
    let side = 32 * 32;
    let is_grey = |pixels: &[u8]| {
        pixels[..side] == pixels[side..2 * side] && pixels[side..2 * side] == pixels[2 * side..]
    };
    let grey =
        (0..images.len()).filter(|&position| is_grey(&images.u8_pixels(position).unwrap())).count();
    assert!(grey >= 10, "{grey} grey pictures");
    assert_eq!(decode_rgb(&dataset, 0, 48).unwrap().len(), 48 * 48 * 3);
}

#[test]
fn the_authors_small_omniglot_alone_is_half() {
    let Some(path) = data("formats/omniglot") else {
        return;
    };
    let error = open(&at(&path.join("images_background_small1.zip"))).unwrap_err().to_string();
    assert!(error.contains("images_evaluation"), "{error}");
}
