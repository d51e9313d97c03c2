//! Files of embeddings of images. The end of a file's name chooses its format.

use std::path::{Path, PathBuf};

use anyhow::bail;
use crossbatch_retrieval::{Embeddings, FileFormat, Labels};
use crossbatch_train::write_atomically;

use crate::{embedding::Embedded, images::Item, target};

/// Readers refuse a safetensors header of 100 MB; this leaves room for what is not names.
const MOST_NAME_BYTES: usize = 90_000_000;

/// A file to write embeddings to.
pub(crate) struct Output {
    path: PathBuf,
    format: FileFormat,
}

impl Output {
    /// Checks before any work that a file of this name can be written.
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let format = match (FileFormat::of(path), ending.as_str()) {
            (Some(format @ (FileFormat::Safetensors | FileFormat::Npy)), _) => format,
            (Some(FileFormat::Csv), "csv") => FileFormat::Csv,
            (_, other) => {
                let found =
                    if other.is_empty() { "no ending".to_owned() } else { format!("`.{other}`") };
                bail!(
                    "cannot write embeddings to {}: its name has {found}; let it end in .safetensors, .npy or .csv",
                    path.display()
                );
            }
        };
        target::check(path)?;
        Ok(Self { path: path.to_owned(), format })
    }

    /// Refuses names that would not fit, again before any work.
    pub(crate) fn check_names(&self, items: &[Item]) -> anyhow::Result<()> {
        // Escaped twice: in a JSON array, which is a JSON string. Quotes double, the rest is rare.
        let bytes: usize = items.iter().map(|item| item.name.len() + 5).sum();
        if self.format == FileFormat::Safetensors && bytes > MOST_NAME_BYTES {
            bail!(
                "the names of {} images are too long for a safetensors header ({bytes} bytes, at most {MOST_NAME_BYTES}); write .npy instead, whose names go to a file of their own",
                items.len()
            );
        }
        Ok(())
    }

    /// Whether labels find a place in the file only where all images have one.
    pub(crate) fn wants_all_labels(&self) -> bool {
        self.format == FileFormat::Safetensors
    }

    /// Writes the embeddings; returns what is worth saying about where they went.
    pub(crate) fn write(&self, embeddings: &Embeddings) -> anyhow::Result<String> {
        let path = self.path.display();
        let mut place = path.to_string();
        if let (FileFormat::Npy, Some(names)) = (self.format, embeddings.names()) {
            // Names first: where the array is, its names are.
            let beside = self.path.with_extension("names.txt");
            write_atomically(&beside, lines(names).as_bytes())?;
            place = format!("{path}, names in {}", beside.display());
        }
        embeddings.save(&self.path)?;
        Ok(place)
    }

    /// What was embedded, as this file keeps it: names always, labels where all images have one, and in text, where a
    /// field can be empty, also where only some have.
    pub(crate) fn embeddings(&self, embedded: &mut Embedded) -> anyhow::Result<Embeddings> {
        let rows = std::mem::take(&mut embedded.rows);
        let items = &embedded.items;
        let names = items.iter().map(|item| item.name.clone()).collect();
        let embeddings = Embeddings::new(rows, embedded.dim)?.with_names(names)?;
        let complete = items.iter().all(|item| item.label.is_some());
        if self.wants_all_labels() && !complete {
            return Ok(embeddings);
        }
        let labels = items.iter().map(|item| item.label.as_deref().unwrap_or(""));
        Ok(embeddings.with_labels(Labels::from_text(labels))?)
    }
}

/// The names, one a line in the order of the rows; a line break within a name becomes a space.
fn lines(names: &[String]) -> String {
    names.iter().map(|name| name.replace(['\n', '\r'], " ") + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_is_checked_first() {
        let message = |path: &str| Output::new(Path::new(path)).err().unwrap().to_string();
        assert!(message("nowhere/a.parquet").contains("`.parquet`; let it end in .safetensors"));
        assert!(message("embeddings").contains("no ending"));
        assert!(message("nowhere/a.npy").contains("there is no folder nowhere"));
        assert!(message("a.npz").contains("`.npz`"));
        assert!(Output::new(Path::new("A.NPY")).is_ok());
    }

    #[test]
    fn a_name_is_a_line() {
        assert_eq!(lines(&["a\nb".to_owned(), "c".to_owned()]), "a b\nc\n");
    }
}
