//! Files of embeddings. The end of a file's name chooses its format.

mod csv;
mod npy;
mod safetensors;

use std::path::{Path, PathBuf};

use anyhow::bail;
use crossbatch_train::write_atomically;

use crate::{images::Item, target};

/// What is written: a row, a name and perhaps a label for each image.
pub(crate) struct Table<'a> {
    /// `[N, D]`.
    pub(crate) rows: &'a [f32],
    /// D.
    pub(crate) dim: usize,
    /// The N images.
    pub(crate) items: &'a [Item],
}

impl<'a> Table<'a> {
    fn names(&self) -> Vec<&'a str> {
        self.items.iter().map(|item| item.name.as_str()).collect()
    }

    /// The labels, where every image has one.
    fn labels(&self) -> Option<Vec<&'a str>> {
        self.items.iter().map(|item| item.label.as_deref()).collect()
    }

    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.rows.iter().flat_map(|value| value.to_le_bytes())
    }
}

/// A file to write embeddings to.
pub(crate) struct Output {
    path: PathBuf,
    format: Format,
}

#[derive(Clone, Copy)]
enum Format {
    Safetensors,
    Npy,
    Csv,
}

impl Output {
    /// Checks before any work that a file of this name can be written.
    pub(crate) fn new(path: &Path) -> anyhow::Result<Self> {
        let ending = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
        let format = match ending.as_str() {
            "safetensors" => Format::Safetensors,
            "npy" => Format::Npy,
            "csv" => Format::Csv,
            other => {
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
        match self.format {
            Format::Safetensors => safetensors::check_names(items),
            Format::Npy | Format::Csv => Ok(()),
        }
    }

    /// Whether labels find a place in the file only where all images have one.
    pub(crate) fn wants_all_labels(&self) -> bool {
        matches!(self.format, Format::Safetensors)
    }

    /// Writes the table; returns what is worth saying about where it went.
    pub(crate) fn write(&self, table: &Table<'_>) -> anyhow::Result<String> {
        let path = self.path.display();
        let bytes = match self.format {
            Format::Safetensors => safetensors::file(table)?,
            Format::Csv => csv::file(table)?,
            Format::Npy => {
                // Names first: where the array is, its names are.
                let names = self.path.with_extension("names.txt");
                write_atomically(&names, npy::names(table).as_bytes())?;
                write_atomically(&self.path, &npy::file(table))?;
                return Ok(format!("{path}, names in {}", names.display()));
            }
        };
        write_atomically(&self.path, &bytes)?;
        Ok(path.to_string())
    }
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
        assert!(Output::new(Path::new("A.NPY")).is_ok());
    }
}
