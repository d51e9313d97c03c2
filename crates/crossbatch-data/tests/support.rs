//! Small pictures, archives and folders to test on.

use std::io::{Cursor, Write};
use std::path::Path;

use crossbatch_data::{DataConfig, Dataset, Error, ImageSpec, Split, open};
use image::{DynamicImage, GrayImage, ImageFormat, Luma};
use zip::write::SimpleFileOptions;

pub(crate) const SPEC: ImageSpec = ImageSpec::new(8, 1, false);

pub(crate) fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// A plain grey PNG.
pub(crate) fn png(shade: u8) -> Vec<u8> {
    encode(&GrayImage::from_pixel(8, 8, Luma([shade])).into(), ImageFormat::Png)
}

pub(crate) fn put(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, bytes).unwrap();
}

pub(crate) fn put_zip(path: &Path, files: &[(&str, Vec<u8>)]) {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in files {
        if name.ends_with('/') {
            zip.add_directory(*name, SimpleFileOptions::default()).unwrap();
        } else {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
    }
    fs_err::write(path, zip.finish().unwrap().into_inner()).unwrap();
}

/// A tar with these files, their headers written by hand: a library would refuse bad names.
pub(crate) fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_entry_type(tar::EntryType::Regular);
        header.set_cksum();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
    }
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// One gzip member with the flags that a file name needs.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x1F, 0x8B, 8, 8, 0, 0, 0, 0, 0, 3];
    out.extend(b"data.tar\0");
    out.extend(miniz_oxide::deflate::compress_to_vec(bytes, 6));
    out.extend(crc32fast::hash(bytes).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    out
}

pub(crate) fn at(path: &Path) -> DataConfig {
    DataConfig { path: Some(path.to_owned()), ..DataConfig::default() }
}

pub(crate) fn message(result: Result<Dataset, Error>) -> String {
    result.unwrap_err().to_string()
}

/// Opens and asserts that the message of the error holds all the parts.
#[track_caller]
pub(crate) fn refuses(config: &DataConfig, parts: &[&str]) {
    let text = message(open(config));
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
}

/// Training, validation and test classes.
pub(crate) fn class_counts(dataset: &Dataset) -> [usize; 3] {
    Split::ALL.map(|split| dataset.class_count(split))
}

/// No class may be in two splits, no name may be there twice.
#[track_caller]
pub(crate) fn assert_sound(dataset: &Dataset) {
    let mut role = vec![None; dataset.classes.len()];
    let mut names = std::collections::BTreeSet::new();
    for sample in &dataset.samples {
        let role = role[sample.class as usize].get_or_insert(sample.split);
        assert_eq!(*role, sample.split, "{}", sample.name);
        assert!(names.insert(&sample.name), "{} is there twice", sample.name);
    }
}
