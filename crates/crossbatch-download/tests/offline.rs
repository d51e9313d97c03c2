//! A build without HTTP.
#![cfg(not(feature = "http"))]

use crossbatch_download::{Error, Fetched, Wanted, Watch, fetch};

struct Silent;

impl Watch for Silent {
    fn progress(&mut self, _: u64, _: Option<u64>) {
        unreachable!("nothing comes");
    }
    fn confirm(&mut self, _: &str) -> std::io::Result<bool> {
        unreachable!("nothing came");
    }
}

#[test]
fn nothing_is_made_and_what_is_there_is_checked() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("weights/net.pth");
    // FIPS 180-2's own example.
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let url = "https://example.org/net.pth";
    let wanted = Wanted { url, target: &target, sha256: Some(sha256), bytes: None };
    let error = fetch(&wanted, &mut Silent).unwrap_err();
    assert!(matches!(&error, Error::Unavailable { url: found } if found == url), "{error}");
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 0);

    fs_err::create_dir_all(target.parent().unwrap()).unwrap();
    // An earlier call's, by a program that had HTTP.
    fs_err::write(target.with_extension("pth.part"), b"ab").unwrap();
    fetch(&wanted, &mut Silent).unwrap_err();
    assert_eq!(fs_err::read(target.with_extension("pth.part")).unwrap(), b"ab");

    fs_err::write(&target, b"abc").unwrap();
    let fetched = fetch(&wanted, &mut Silent).unwrap();
    assert_eq!(fetched, Fetched { sha256: sha256.to_owned(), was_there: true });
    let other = Wanted { sha256: Some("00000000"), ..wanted };
    let error = fetch(&other, &mut Silent).unwrap_err();
    assert!(matches!(error, Error::OtherFile { .. }), "{error}");
}
