//! Archives beside a list: the first byte chooses the ending.

#![no_main]

use crossbatch_data::{DataConfig, VerifyConfig, verify};
use libfuzzer_sys::fuzz_target;

const LIST: &str = "a/0.png,a\na/1.png,a\nb/0.png,b\nb/1.png,b\n";

fuzz_target!(|data: &[u8]| {
    let Some((&choice, archive)) = data.split_first() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let name = ["x.zip", "x.tar", "x.tgz"][usize::from(choice) % 3];
    std::fs::write(folder.path().join(name), archive).expect("a file");
    let list = folder.path().join("list.csv");
    std::fs::write(&list, LIST).expect("a file");
    let config = DataConfig { path: Some(list), ..DataConfig::default() };
    let _ = verify(&VerifyConfig { data: config }, &|_, _| {});
});
