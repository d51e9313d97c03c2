//! Images without a data set around them, to embed or to search with.

use std::path::{Path, PathBuf};

use crate::dataset::findings::Findings;
use crate::dataset::walk::{Found, has_ending, is_image, name_below};
use crate::dataset::{ImageSource, list, list_file};
use crate::decode::ImageSpec;
use crate::error::Error;

/// One image to embed.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The file; for an image in a zip, the zip's path with the entry's name below it.
    pub path: PathBuf,
    /// Path below the folder, path as listed, or file name.
    pub name: String,
    /// The label, where a list gives one.
    pub label: Option<String>,
    source: ImageSource,
}

impl Listed {
    /// As [`decode_file`](crate::decode_file).
    pub fn decode(&self, spec: ImageSpec) -> Result<Vec<u8>, Error> {
        self.source.decode(&self.name, spec)
    }

    /// As [`decode_rgb_file`](crate::decode_rgb_file).
    pub fn decode_rgb(&self, side: usize) -> Result<Vec<u8>, Error> {
        self.source.decode_rgb(&self.name, side)
    }
}

/// The images that a path stands for.
///
/// - an image file: itself
/// - a folder: every image below it, sorted by path, hidden ones left out
/// - a `.txt`, `.csv` or `.tsv` list: its lines, with labels or without; see the crate's overview for the format
pub fn list_images(path: &Path) -> Result<Vec<Listed>, Error> {
    if !path.exists() {
        return Err(Error::NotFound { path: path.to_owned() });
    }
    let file = |file: PathBuf, name: String| Listed {
        path: file.clone(),
        name,
        label: None,
        source: ImageSource::File(file),
    };
    if path.is_dir() {
        let mut found = Found::default();
        found.walk(path)?;
        found.images.sort();
        if found.images.is_empty() {
            return Err(Error::NotADataset { path: path.to_owned(), expected: EXPECTED });
        }
        return Ok(found
            .images
            .into_iter()
            .map(|image| file(image.clone(), name_below(path, &image)))
            .collect());
    }
    if has_ending(path, &list_file::LIST_ENDINGS) {
        let rows = list_file::read(path, false)?;
        let mut findings = Findings { listed: rows.len(), ..Findings::default() };
        let sources = list::resolve(path, &rows, &mut findings, &mut Vec::new())?;
        if let Some(error) = findings.into_error() {
            return Err(error);
        }
        return Ok(rows
            .into_iter()
            .zip(sources)
            .map(|(row, source)| listed(row, source))
            .collect());
    }
    if is_image(path) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(vec![file(path.to_owned(), name)]);
    }
    Err(Error::NotADataset { path: path.to_owned(), expected: EXPECTED })
}

const EXPECTED: &str = "expected an image (png, jpg, jpeg, webp, bmp, gif), a folder with images, or a list of images (txt, csv, tsv)";

fn listed(row: list_file::Row, source: ImageSource) -> Listed {
    let path = match &source {
        ImageSource::File(path) => path.clone(),
        ImageSource::Archived { archive, .. } => archive.path().join(&row.path),
        ImageSource::Glyph { .. } | ImageSource::Turned { .. } => PathBuf::from(&row.path),
    };
    Listed { path, name: row.path, label: row.label, source }
}
