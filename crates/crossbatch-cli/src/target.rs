//! Where a result file is to go, checked before minutes of work.

use std::path::Path;

use anyhow::bail;

/// Refuses a path at which no file can be written.
pub(crate) fn check(path: &Path) -> anyhow::Result<()> {
    if path.is_dir() {
        bail!("cannot write to {}: it is a folder; give the name of a file in it", path.display());
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if !folder.is_dir() {
        bail!(
            "cannot write {}: there is no folder {}; make it, or write somewhere else",
            path.display(),
            folder.display()
        );
    }
    Ok(())
}

/// As [`check`], for a picture.
pub(crate) fn check_png(path: &Path) -> anyhow::Result<()> {
    let ending = path.extension().unwrap_or_default();
    if !ending.eq_ignore_ascii_case("png") {
        bail!("cannot draw {}: sheets are PNG pictures; let the name end in .png", path.display());
    }
    check(path)
}
