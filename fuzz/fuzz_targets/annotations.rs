//! MAT-files in the place of Cars196's annotations.

#![no_main]

use crossbatch_data::{DataConfig, Kind, open};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("cars_annos.mat"), data).expect("a file");
    let config = DataConfig {
        path: Some(folder.path().to_owned()),
        kind: Some(Kind::Cars196),
        images: false,
        ..DataConfig::default()
    };
    let _ = open(&config);
});
