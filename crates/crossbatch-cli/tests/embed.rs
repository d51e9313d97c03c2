//! `crossbatch embed`

use std::path::Path;

use safetensors::{Dtype, SafeTensors};

use crate::support::{cosine, crossbatch_in, draw, draw_classes, records, run, spoil};

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect()
}

/// What a safetensors file of embeddings holds.
struct File {
    embeddings: Vec<f32>,
    shape: Vec<usize>,
    labels: Option<Vec<i64>>,
    names: Vec<String>,
    label_names: Option<Vec<String>>,
}

fn read_safetensors(path: &Path) -> File {
    let bytes = fs_err::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().clone().unwrap();
    assert_eq!(metadata["crossbatch_format_version"], "1");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let embeddings = file.tensor("embeddings").unwrap();
    assert_eq!(embeddings.dtype(), Dtype::F32);
    let labels = file.tensor("labels").ok().map(|labels| {
        assert_eq!((labels.dtype(), labels.shape()), (Dtype::I64, &embeddings.shape()[..1]));
        let numbers = labels.data().as_chunks::<8>().0.iter();
        numbers.map(|&bytes| i64::from_le_bytes(bytes)).collect()
    });
    File {
        embeddings: floats(embeddings.data()),
        shape: embeddings.shape().to_vec(),
        labels,
        names: serde_json::from_str(&metadata["names"]).unwrap(),
        label_names: metadata.get("label_names").map(|text| serde_json::from_str(text).unwrap()),
    }
}

#[test]
fn all_formats_hold_the_same_unit_rows() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let names = draw_classes(&at("photos"), &["bars", "cross"], 3);
    for output in ["e.safetensors", "e.npy", "e.csv"] {
        let outcome = crossbatch_in(folder.path(), &["embed", run(), "photos", "-o", output]);
        assert!(outcome.stderr.contains("6 embeddings of 128 numbers in e."), "{outcome:?}");
        assert_eq!(outcome.ok(), "");
    }

    let file = read_safetensors(&at("e.safetensors"));
    assert_eq!(file.shape, [6, 128]);
    assert_eq!(file.names, names);
    assert_eq!(file.labels.unwrap(), [0, 0, 0, 1, 1, 1]);
    assert_eq!(file.label_names.unwrap(), ["bars", "cross"]);
    for row in file.embeddings.chunks(128) {
        assert!((cosine(row, row) - 1.0).abs() < 1e-5);
    }
    assert!(cosine(&file.embeddings[..128], &file.embeddings[3 * 128..4 * 128]) < 0.9999);

    let npy = fs_err::read(at("e.npy")).unwrap();
    let start = 10 + usize::from(npy[8]) + 256 * usize::from(npy[9]);
    let header = str::from_utf8(&npy[10..start]).unwrap();
    assert!(npy.starts_with(b"\x93NUMPY\x01\x00") && start.is_multiple_of(64));
    assert!(header.contains("'descr': '<f4'") && header.contains("'shape': (6, 128)"), "{header}");
    assert_eq!(floats(&npy[start..]), file.embeddings);
    let listed = fs_err::read_to_string(at("e.names.txt")).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);

    let rows = records(&fs_err::read_to_string(at("e.csv")).unwrap());
    assert_eq!(rows[0][..3], ["name", "label", "e0"]);
    assert_eq!((rows.len(), rows[0].len()), (7, 130));
    assert_eq!(rows[4][..2], ["cross/0.png", "cross"]);
    let values = rows[1..].iter().flat_map(|row| &row[2..]);
    assert_eq!(values.map(|v| v.parse().unwrap()).collect::<Vec<f32>>(), file.embeddings);
}

#[test]
fn the_same_images_make_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    draw_classes(folder.path(), &["a", "b"], 2);
    let bytes = |output: &str| {
        crossbatch_in(folder.path(), &["embed", run(), "a", "b", "-o", output]).ok();
        fs_err::read(folder.path().join(output)).unwrap()
    };
    assert!(bytes("1.safetensors") == bytes("2.safetensors"));
}

#[test]
fn lists_keep_their_numbers_and_reach_into_zips() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    draw(&at("there.png"), 0, 0);
    draw(&at("packed.png"), 1, 1);
    let mut archive = zip::ZipWriter::new(fs_err::File::create(at("photos.zip")).unwrap());
    archive.start_file("in/packed.png", zip::write::SimpleFileOptions::default()).unwrap();
    let packed = fs_err::read(at("packed.png")).unwrap();
    std::io::Write::write_all(&mut archive, &packed).unwrap();
    archive.finish().unwrap();
    fs_err::write(at("list.csv"), "path,label\r\nin/packed.png,-7\r\nthere.png,12\r\n").unwrap();

    // The image in the zip, the list's second image twice, and one without a label.
    let args = ["embed", run(), "list.csv", "-o", "list.safetensors"];
    crossbatch_in(folder.path(), &args).ok();
    let file = read_safetensors(&at("list.safetensors"));
    assert_eq!(file.names, ["in/packed.png", "there.png"]);
    assert_eq!((file.labels.unwrap(), file.label_names), (vec![-7, 12], None));

    let args = ["embed", run(), "there.png", "packed.png", "there.png", "list.csv"];
    let outcome = crossbatch_in(folder.path(), &[&args[..], &["-o", "all.safetensors"]].concat());
    assert!(outcome.stderr.contains("3 of 5 images have no known label"), "{outcome:?}");
    outcome.ok();
    let all = read_safetensors(&at("all.safetensors"));
    assert!(all.labels.is_none());
    let names = ["there.png", "packed.png", "there.png", "photos.zip/in/packed.png", "there.png"];
    assert_eq!(all.names, names);
    let row = |index: usize| &all.embeddings[index * 128..(index + 1) * 128];
    for (one, other) in [(0, 2), (0, 4), (1, 3)] {
        assert!(cosine(row(one), row(other)) > 0.99999);
    }
}

#[test]
fn unreadable_images_are_named_and_the_rest_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    draw_classes(&at("photos"), &["a"], 2);
    for number in 0..12 {
        spoil(at("photos").join(format!("bad{number:02}.png")));
    }
    let outcome = crossbatch_in(folder.path(), &["embed", run(), "photos", "-o", "e.csv"]);
    outcome.fails_with(&["12 of 14 images", "other 2 are written", "--skip-unreadable"]);
    assert!(outcome.stderr.contains("warning: cannot read bad09.png"), "{outcome:?}");
    assert!(outcome.stderr.contains("cannot read 2 more"), "{outcome:?}");
    assert_eq!(records(&fs_err::read_to_string(at("e.csv")).unwrap()).len(), 3);

    let args = ["embed", run(), "photos", "-o", "e.csv", "--skip-unreadable", "--verbose"];
    let outcome = crossbatch_in(folder.path(), &args);
    assert!(outcome.stderr.contains("bad11.png") && !outcome.stderr.contains("more"));
    outcome.ok();

    let args = ["embed", run(), "photos/bad00.png", "-o", "none.csv"];
    crossbatch_in(folder.path(), &args).fails_with(&["none of the 1 images", "bad00.png"]);
    assert!(!at("none.csv").exists());
}

#[test]
fn what_cannot_be_written_is_refused_before_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    draw(&at("a.png"), 0, 0);
    fs_err::create_dir(at("folder.npy")).unwrap();
    fs_err::create_dir(at("empty")).unwrap();
    fs_err::write(at("list.csv"), "a.png,1\n").unwrap();
    let embed = |input: &str, output: &str| {
        crossbatch_in(folder.path(), &["embed", run(), input, "-o", output])
    };
    embed("a.png", "e.parquet").fails_with(&["`.parquet`", ".safetensors, .npy or .csv"]);
    embed("a.png", "e").fails_with(&["no ending"]);
    embed("a.png", "nowhere/e.npy").fails_with(&["no folder nowhere"]);
    embed("a.png", "folder.npy").fails_with(&["folder.npy", "is a folder"]);
    embed("list.csv", "./list.csv").fails_with(&["list.csv", "overwritten"]);
    embed("missing.png", "e.npy").fails_with(&["nothing at missing.png"]);
    embed("empty", "e.npy").fails_with(&["no image in empty"]);
    assert_eq!(fs_err::read_to_string(at("list.csv")).unwrap(), "a.png,1\n");
    #[cfg(target_os = "linux")]
    {
        fs_err::os::unix::fs::symlink("/dev/full", at("full.csv")).unwrap();
        embed("a.png", "full.csv").fails_with(&["full.csv", "No space left"]);
    }
}
