//! Where the genuine data sets lie, if they are here.

use std::io::Write;
use std::path::PathBuf;

/// A folder of the shared data, or none with a notice. With `data` in CROSSBATCH_REQUIRE it must be there.
pub(crate) fn data(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    let root = std::env::var_os("CROSSBATCH_DATA").map_or_else(beside, PathBuf::from);
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var("CROSSBATCH_REQUIRE").unwrap_or_default();
    assert!(
        !required.contains("data"),
        "CROSSBATCH_REQUIRE asks for data, but {} is not there",
        folder.display()
    );
    let _ = writeln!(
        std::io::stderr(),
        "skipped: {} is not there (set CROSSBATCH_DATA)",
        folder.display()
    );
    None
}
