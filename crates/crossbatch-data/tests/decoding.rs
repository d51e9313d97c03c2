//! Formats, depths, transparency, hostile files, and the cache.

use std::sync::atomic::{AtomicUsize, Ordering};

use crossbatch_data::{
    ImageSpec, Split, decode_bytes, decode_rgb, decode_rgb_file, list_images, load, open,
};
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage, Rgba, RgbaImage};

use crate::support::{SPEC, at, encode, png, put, put_zip};

#[test]
fn every_format_is_read() {
    let picture = DynamicImage::from(RgbImage::from_pixel(16, 16, Rgb([200, 100, 50])));
    let luma = (19_595 * 200 + 38_470 * 100 + 7_471 * 50 + 0x8000) >> 16;
    for format in
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif]
    {
        let ours = decode_bytes("picture", &encode(&picture, format), SPEC).unwrap();
        assert!(
            ours.iter().all(|&shade| i32::from(shade).abs_diff(luma) <= 3),
            "{format:?}: {ours:?}"
        );
    }
}

#[test]
fn depth_and_transparency() {
    let deep = ImageBuffer::from_pixel(4, 4, Luma([0x8080_u16]));
    let bytes = encode(&DynamicImage::ImageLuma16(deep), ImageFormat::Png);
    assert_eq!(decode_bytes("deep", &bytes, SPEC).unwrap(), [0x80; 64]);
    let glass = RgbaImage::from_pixel(4, 4, Rgba([0, 0, 0, 51]));
    let spec = ImageSpec { channels: 3, ..SPEC };
    let bytes = encode(&glass.into(), ImageFormat::Png);
    assert_eq!(decode_bytes("glass", &bytes, spec).unwrap(), [204; 192]);
    assert_eq!(decode_bytes("grey", &png(9), spec).unwrap(), [9; 192]);
}

#[test]
fn a_bomb_is_refused() {
    // A PNG header that promises 60000 x 60000 pixels, its checksum right.
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    bytes.extend(60_000_u32.to_be_bytes().repeat(2));
    bytes.extend([8, 0, 0, 0, 0]);
    let checksum = crc(&bytes[12..]);
    bytes.extend(checksum.to_be_bytes());
    bytes.extend(b"\0\0\0\x01IDAT\0");
    let error = decode_bytes("bomb.png", &bytes, SPEC).unwrap_err().to_string();
    assert!(error.contains("bomb.png"), "{error}");
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

#[test]
fn cut_files_never_panic() {
    let picture =
        DynamicImage::from(RgbImage::from_fn(20, 20, |x, y| Rgb([x as u8 * 9, y as u8 * 5, 7])));
    for format in
        [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif]
    {
        let whole = encode(&picture, format);
        for length in (0..whole.len()).step_by(7) {
            let _ = decode_bytes("cut", &whole[..length], SPEC);
            let mut bent = whole.clone();
            bent[length] ^= 0x5A;
            let _ = decode_bytes("bent", &bent, SPEC);
        }
    }
}

#[test]
fn load_lists_what_it_cannot_read_and_the_cache_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    for class in ["a", "b", "c", "d"] {
        for image in 0..4_u8 {
            put(
                root.path(),
                &format!("{class}/{image}.png"),
                &png(image * 20 + class.as_bytes()[0]),
            );
        }
    }
    put(root.path(), "b/1.png", b"\x89PNG\r\n\x1a\nbroken");
    let dataset = open(&at(root.path())).unwrap();
    let all: Vec<usize> = (0..dataset.samples.len()).collect();
    let done = AtomicUsize::new(0);
    let progress = |now: usize, total: usize| {
        assert_eq!(total, 16);
        done.store(now, Ordering::Relaxed);
    };
    let spec = ImageSpec { invert: true, ..SPEC };
    let (cached, unreadable) = load(&dataset, &all, spec, 1 << 20, &progress).unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 16);
    assert_eq!((unreadable.len(), unreadable[0].name.as_str()), (1, "b/1.png"));
    assert_eq!(dataset.samples[unreadable[0].index].name, "b/1.png");
    assert_eq!((cached.len(), cached.cached(), cached.labels().len()), (15, 15, 15));
    assert!(!cached.sample_indices().contains(&unreadable[0].index));

    let (partly, _) = load(&dataset, &all, spec, 5 * 64, &|_, _| {}).unwrap();
    assert_eq!((partly.len(), partly.cached()), (15, 5));
    let positions: Vec<usize> = (0..15).rev().collect();
    let (mut one, mut other) = (vec![9.0; 3], Vec::new());
    cached.write_f32(&positions, &mut one).unwrap();
    partly.write_f32(&positions, &mut other).unwrap();
    assert_eq!(one, other);
    assert_eq!(one.len(), 15 * 64);
    let last = cached.u8_pixels(14).unwrap()[0];
    assert_eq!(one[0], 1.0 - f32::from(last) / 255.0);

    // What vanishes later is an error that names the file.
    fs_err::remove_file(root.path().join("d/3.png")).unwrap();
    let gone = partly.write_f32(&positions, &mut other).unwrap_err().to_string();
    assert!(gone.contains("3.png"), "{gone}");
}

#[test]
fn bad_specs_name_the_key() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "a.png", &png(1));
    for (spec, key) in [
        (ImageSpec { size: 0, ..SPEC }, "image.size"),
        (ImageSpec { channels: 2, ..SPEC }, "image.channels"),
    ] {
        assert!(decode_bytes("a", &png(1), spec).unwrap_err().to_string().contains(key));
        assert!(
            list_images(root.path()).unwrap()[0]
                .decode(spec)
                .unwrap_err()
                .to_string()
                .contains(key)
        );
    }
}

#[test]
fn thumbnails_keep_the_aspect_ratio() {
    let root = tempfile::tempdir().unwrap();
    for name in ["a/1.png", "a/2.png", "b/1.png", "b/2.png"] {
        let wide = RgbImage::from_pixel(40, 20, Rgb([10, 20, 30]));
        put(root.path(), name, &encode(&wide.into(), ImageFormat::Png));
    }
    let dataset = open(&at(root.path())).unwrap();
    let thumbnail = decode_rgb(&dataset, 0, 8).unwrap();
    assert_eq!(thumbnail.len(), 8 * 8 * 3);
    assert_eq!((&thumbnail[..3], &thumbnail[4 * 8 * 3..][..3]), (&[255; 3][..], &[10, 20, 30][..]));
    assert_eq!(decode_rgb_file(&root.path().join("a/1.png"), 8).unwrap(), thumbnail);
}

#[test]
fn listing() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "x/b.png", &png(2));
    put(root.path(), "x/deep/a.PNG", &png(1));
    put(root.path(), "x/.hidden.png", &png(3));
    put(root.path(), "x/notes.txt", b"no image");
    let names = |path: &str| -> Vec<String> {
        list_images(&root.path().join(path))
            .unwrap()
            .into_iter()
            .map(|listed| listed.name)
            .collect()
    };
    assert_eq!(names("x"), ["b.png", "deep/a.PNG"]);
    assert_eq!(names("x/b.png"), ["b.png"]);
    put_zip(&root.path().join("more.zip"), &[("z/c.png", png(4))]);
    put(root.path(), "some.csv", b"path\nx/b.png\nz/c.png\n");
    put(root.path(), "labelled.csv", b"path,label\nx/b.png,jar\n");
    let some = list_images(&root.path().join("some.csv")).unwrap();
    assert!(some.iter().all(|listed| listed.label.is_none()));
    assert_eq!(some[1].decode(SPEC).unwrap(), [4; 64]);
    assert_eq!(some[1].path, root.path().join("more.zip/z/c.png"));
    assert_eq!(
        list_images(&root.path().join("labelled.csv")).unwrap()[0].label.as_deref(),
        Some("jar")
    );
    for (path, part) in [("nowhere", "nothing at"), ("more.zip", "expected an image")] {
        let error = list_images(&root.path().join(path)).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(path), "{error}");
    }
}

#[test]
fn splits_are_told_apart() {
    let dataset = open(&crossbatch_data::DataConfig::default()).unwrap();
    assert_eq!(dataset.indices(Split::Train).len(), 15_000);
    assert_eq!(dataset.indices(Split::Test).len(), 3_000);
}
