//! How much memory a command may take, and whether vectors are read whole or left in their files.

use std::path::Path;

use anyhow::bail;
use crossbatch_retrieval::{Embeddings, Error, FileFormat, FileRows, Options, RowSource};
use crossbatch_train::Observer;

use crate::printer::Printer;

/// What the program itself takes, besides what is counted.
const PROGRAM: usize = 32 << 20;

/// The most memory to use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    given: Option<usize>,
    /// What is free now, where the system says so.
    free: Option<usize>,
}

impl Budget {
    /// What `--memory-budget` says, if anything.
    pub(crate) fn new(given: Option<usize>) -> Self {
        Self { given, free: free_bytes() }
    }

    /// Whether files of vectors are to stay where they are: those of more than half of the memory that may be used.
    pub(crate) fn streams(&self, files: &[&Path], printer: &Printer) -> bool {
        let Some(most) = self.given.or(self.free) else { return false };
        let bytes = files.iter().filter_map(|path| fs_err::metadata(path).ok());
        let bytes = bytes.map(|file| file.len()).sum::<u64>();
        let streams = bytes / 2 > most as u64 / 4;
        if streams {
            let (bytes, most) = (shown(bytes), shown(most as u64));
            let of = if self.given.is_some() { "--memory-budget" } else { "free memory" };
            printer.note(&format!(
                "{bytes} of vectors are more than half of the {most} of {of}; they stay in their file and are read in blocks"
            ));
        }
        streams
    }

    /// Limits working memory to what is left beside `held` bytes; where vectors stay in files, `streamed`, to half of the
    /// free memory if nothing was said.
    pub(crate) fn limit<'a>(
        &self,
        options: Options<'a>,
        held: usize,
        streamed: bool,
    ) -> anyhow::Result<Options<'a>> {
        let most = match (self.given, self.free) {
            (Some(given), _) => given,
            (None, Some(free)) if streamed => free / 2,
            _ => return Ok(options),
        };
        let needed = held + PROGRAM;
        if needed >= most {
            bail!(
                "a memory budget of {} is too small: labels, names and vectors in memory take {}",
                shown(most as u64),
                shown(needed as u64)
            );
        }
        Ok(options.with_memory(most - needed))
    }
}

/// An error of too little memory, in terms of `--memory-budget` of which `held` bytes were taken.
pub(crate) fn explained(error: Error, held: usize) -> anyhow::Error {
    match error {
        Error::Memory { needed, .. } => anyhow::anyhow!(
            "the memory budget is too small for what is asked; give --memory-budget {}MiB or more, use fewer --threads, or ask for less",
            (needed + held + PROGRAM).div_ceil(1 << 20)
        ),
        other => other.into(),
    }
}

/// Vectors of one side, in memory or in their file, with what is known of them.
pub(crate) struct Rows {
    /// Without vectors where `file` has them.
    pub(crate) known: Embeddings,
    pub(crate) file: Option<FileRows>,
}

impl Rows {
    /// Reads a file, the vectors only if it does not stream. Only some formats can.
    pub(crate) fn read(path: &Path, streams: bool) -> anyhow::Result<Self> {
        let in_place =
            matches!(FileFormat::of(path), Some(FileFormat::Safetensors | FileFormat::Npy));
        if streams && in_place {
            let file = Some(FileRows::open(path)?);
            return Ok(Self { known: Embeddings::read_rest(path)?, file });
        }
        Ok(Self { known: Embeddings::read(path)?, file: None })
    }

    /// The vectors as they are stored.
    pub(crate) fn source(&self) -> &dyn RowSource {
        match &self.file {
            Some(file) => file,
            None => &self.known,
        }
    }
}

/// Bytes that labels, names and columns take, and the vectors where they are in memory.
pub(crate) fn held(known: &Embeddings) -> usize {
    let columns = 2 + known.columns().count();
    let names = known.names().map_or(0, |names| names.iter().map(|name| name.len() + 24).sum());
    known.len() * 8 * columns + names + known.values().len() * known.values().precision().bytes()
}

/// Bytes that Linux could still give to programs.
fn free_bytes() -> Option<usize> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// Reads `2GiB`, `512 MiB`, `1.5GB`, or plain bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    let wrong =
        || format!("`{text}` is no number of bytes; give one such as 2GiB, 512MiB or 1.5GB");
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    let unit: f64 = match text[end..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "k" | "kib" => 1024.0,
        "kb" => 1e3,
        "m" | "mib" => 1024.0 * 1024.0,
        "mb" => 1e6,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        "gb" => 1e9,
        "t" | "tib" => 1024.0 * 1024.0 * 1024.0 * 1024.0,
        "tb" => 1e12,
        _ => return Err(wrong()),
    };
    // A cast saturates.
    let bytes = (number * unit) as usize;
    if bytes == 0 { Err(wrong()) } else { Ok(bytes) }
}

/// Bytes for people.
fn shown(bytes: u64) -> String {
    let mib = bytes as f64 / (1024.0 * 1024.0);
    if mib < 1024.0 { format!("{mib:.1} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_numbers_with_units() {
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        assert_eq!(parse_bytes("512 mib"), Ok(512 << 20));
        assert_eq!(parse_bytes("1.5GB"), Ok(1_500_000_000));
        assert_eq!(parse_bytes("4096"), Ok(4096));
        for text in ["", "GiB", "2 parsecs", "-1GiB", "0", "1.2.3G"] {
            assert!(parse_bytes(text).unwrap_err().contains("such as 2GiB"), "{text}");
        }
    }
}
