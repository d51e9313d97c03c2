//! Archives on disk: read by several threads, refused where they cannot be trusted.

use std::io::Write;
use std::path::Path;

use crossbatch_data::{Problem, VerifyConfig, load, open, verify};
use rayon::prelude::*;

use crate::support::{SPEC, at, gzip, png, put, put_zip, refuses, tar};

const LIST: &[u8] = b"a/0.png,a\na/1.png,a\nb/0.png,b\nb/1.png,b\nc/0.png,c\nc/1.png,c\n";
const NAMES: [&str; 6] = ["a/0.png", "a/1.png", "b/0.png", "b/1.png", "c/0.png", "c/1.png"];

fn files() -> Vec<(&'static str, Vec<u8>)> {
    NAMES.iter().enumerate().map(|(shade, name)| (*name, png(shade as u8 * 10))).collect()
}

fn shades(root: &Path) -> Vec<u8> {
    let dataset = open(&at(root)).unwrap();
    let (images, unreadable) =
        load(&dataset, &[0, 1, 2, 3, 4, 5], SPEC, 1 << 20, &|_, _| {}).unwrap();
    assert!(unreadable.is_empty(), "{unreadable:?}");
    (0..6).map(|position| images.u8_pixels(position).unwrap()[0]).collect()
}

#[test]
fn every_form_reads_alike() {
    let tar = tar(&files());
    // Two members, cut in the middle of a picture.
    let (left, right) = tar.split_at(1500);
    let forms: [(&str, Vec<u8>); 4] = [
        ("x.tar", tar.clone()),
        ("x.tar.gz", gzip(&tar)),
        ("x.tgz", [gzip(left), gzip(right)].concat()),
        ("x.zip", Vec::new()),
    ];
    for (name, bytes) in forms {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "train.txt", &LIST[..20]);
        put(root.path(), "test.txt", &LIST[20..]);
        if name == "x.zip" {
            put_zip(&root.path().join(name), &files());
        } else {
            put(root.path(), name, &bytes);
        }
        assert_eq!(shades(root.path()), [0, 10, 20, 30, 40, 50], "{name}");
    }
}

/// Larger than the distance of saved states, so that readers start at several of them.
#[test]
fn threads_read_a_large_gzip_in_any_order() {
    let root = tempfile::tempdir().unwrap();
    let mut noise = 1u32;
    let mut filler = |count: usize| -> Vec<u8> {
        let mut next = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        };
        (0..count).map(|_| next()).collect()
    };
    let names: Vec<String> = (0..40).map(|number| format!("img/{number:02}.png")).collect();
    let mut files: Vec<(&str, Vec<u8>)> = Vec::new();
    for (number, name) in names.iter().enumerate() {
        files.push((name, png(number as u8)));
        files.push(("filler.bin", Vec::new()));
        let last = files.len() - 1;
        files[last] = (Box::leak(format!("filler{number}").into_boxed_str()), filler(400_000));
    }
    put(root.path(), "big.tar.gz", &gzip(&tar(&files)));
    let list: String =
        names.iter().zip(0..).map(|(name, i)| format!("{name},{}\n", i / 4)).collect();
    put(root.path(), "all.csv", list.as_bytes());
    let dataset = open(&at(&root.path().join("all.csv"))).unwrap();
    let wrong: Vec<usize> = (0..200usize)
        .into_par_iter()
        .map(|turn| turn * 17 % 40)
        .filter(|&index| {
            let pixels = crossbatch_data::decode_rgb(&dataset, index, 4).unwrap();
            usize::from(pixels[0]) != index
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn entries_that_cannot_be_trusted_are_named() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "all.csv", LIST);
    let bad = [
        ("../evil.png", "`..`"),
        ("a/../../evil.png", "`..`"),
        ("/evil.png", "absolute"),
        ("C:/evil.png", "absolute"),
    ];
    for (name, why) in bad {
        let mut files = files();
        files.push((name, png(0)));
        put_zip(&root.path().join("x.zip"), &files[3..]);
        refuses(&at(&root.path().join("all.csv")), &["x.zip", name, why]);
        fs_err::remove_file(root.path().join("x.zip")).unwrap();
        for (archive, bytes) in [("x.tar", tar(&files[3..])), ("x.tgz", gzip(&tar(&files[3..])))] {
            put(root.path(), archive, &bytes);
            refuses(&at(&root.path().join("all.csv")), &[archive, name, why]);
            fs_err::remove_file(root.path().join(archive)).unwrap();
        }
    }
}

#[test]
fn repeated_names_are_refused() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "all.csv", LIST);
    let mut twice = files();
    twice.push(("a/0.png", png(9)));
    put(root.path(), "x.tar", &tar(&twice[1..]));
    // The list needs a/1.png too, which is there; the repeated name is what is wrong.
    let both = [twice.clone(), vec![("a/1.png", png(3))]].concat();
    put(root.path(), "x.tar", &tar(&both));
    refuses(&at(&root.path().join("all.csv")), &["x.tar", "a/0.png", "two entries"]);
    fs_err::remove_file(root.path().join("x.tar")).unwrap();

    // No zip writer writes a name twice: two names of one length, one renamed in the bytes.
    twice.last_mut().unwrap().0 = "a/9.png";
    let path = root.path().join("x.zip");
    put_zip(&path, &twice);
    let mut bytes = fs_err::read(&path).unwrap();
    while let Some(place) = bytes.windows(7).position(|window| window == b"a/9.png") {
        bytes[place + 2] = b'0';
    }
    fs_err::write(&path, bytes).unwrap();
    refuses(&at(&root.path().join("all.csv")), &["x.zip", "a/0.png", "two entries"]);
}

#[test]
fn truncated_and_damaged_tars_name_the_entry() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "all.csv", LIST);
    let whole = tar(&files());
    // Within the content of the third file.
    let third = whole.windows(7).position(|window| window == b"b/0.png").unwrap();
    put(root.path(), "x.tar", &whole[..third + 520]);
    refuses(&at(&root.path().join("all.csv")), &["x.tar", "b/0.png", "ends within"]);
    fs_err::remove_file(root.path().join("x.tar")).unwrap();

    let packed = gzip(&whole);
    for end in [30, packed.len() / 2, packed.len() - 9, packed.len() - 3] {
        put(root.path(), "x.tgz", &packed[..end]);
        refuses(&at(&root.path().join("all.csv")), &["x.tgz", "ends within"]);
    }
    let mut bent = packed.clone();
    let at_checksum = bent.len() - 8;
    bent[at_checksum] ^= 1;
    put(root.path(), "x.tgz", &bent);
    refuses(&at(&root.path().join("all.csv")), &["x.tgz", "checksum"]);
    for place in (10..packed.len()).step_by(7) {
        let mut bent = packed.clone();
        bent[place] ^= 0x20;
        put(root.path(), "x.tgz", &bent);
        // Any outcome but a panic; a flip in the file name changes nothing.
        let _ = open(&at(&root.path().join("all.csv")));
    }
}

#[test]
fn links_in_tars_are_refused() {
    let root = tempfile::tempdir().unwrap();
    put(root.path(), "all.csv", LIST);
    let mut bytes = tar(&files()[1..]);
    let mut header = tar::Header::new_ustar();
    header.set_path("a/0.png").unwrap();
    header.set_link_name("/etc/passwd").unwrap();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    header.set_cksum();
    bytes.splice(0..0, header.as_bytes().iter().copied());
    put(root.path(), "x.tar", &bytes);
    refuses(&at(&root.path().join("all.csv")), &["x.tar", "a/0.png", "links are not followed"]);
}

#[test]
fn verify_counts_missing_and_corrupt() {
    let root = tempfile::tempdir().unwrap();
    let mut files = files();
    files[1].1 = b"no picture".to_vec();
    files[4].1.truncate(40);
    files.remove(5);
    put_zip(&root.path().join("x.zip"), &files);
    put(root.path(), "all.csv", LIST);
    let config = VerifyConfig { data: at(&root.path().join("all.csv")) };
    let found = verify(&config, &|_, _| {}).unwrap();
    assert_eq!((found.faults, found.missing, found.corrupt), (0, 1, 2), "{:?}", found.problems);
    let missing = &found.problems[0];
    assert!(matches!(missing, Problem::Missing(text) if text.contains("all.csv:6: `c/1.png`")));
    assert!(found.problems[1].message().starts_with("a/1.png:"), "{:?}", found.problems[1]);

    std::io::stderr().flush().unwrap();
    let broken = fs_err::read(root.path().join("x.zip")).unwrap();
    put(root.path(), "x.zip", &broken[..broken.len() / 2]);
    let found = verify(&config, &|_, _| {}).unwrap();
    assert_eq!((found.faults, found.missing), (1, 6), "{:?}", found.problems);
    assert!(found.problems[0].message().contains("x.zip"));
}
