//! Parquet files of pyarrow, pandas, Polars and Hugging Face's datasets, and damaged ones.

use std::path::{Path, PathBuf};

use ::parquet::file::metadata::{
    ColumnChunkMetaData, ColumnChunkMetaDataBuilder, ParquetMetaDataReader, ParquetMetaDataWriter,
    RowGroupMetaData,
};
use crossbatch_retrieval::{Embeddings, Labels, Similarity, Values};

/// What `tests/golden/embeddings/parquet/make.py` writes into every file.
const VECTORS: [f32; 15] =
    [1.0, -2.0, 0.5, 0.0, 3.0, 4.0, -0.25, 8.0, 1.5, 2.0, 2.0, -16.0, 0.125, -1.0, 6.0];
const TEXTS: [&str; 5] = ["pear", "apple", "pear", "plum", "äpfel"];

fn golden(name: &str) -> PathBuf {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/embeddings/parquet");
    folder.join(format!("{name}.parquet"))
}

fn read(name: &str) -> Embeddings {
    Embeddings::read(&golden(name)).unwrap_or_else(|error| panic!("{error}"))
}

#[track_caller]
fn refused(name: &str, parts: &[&str]) {
    let error = Embeddings::read(&golden(name)).unwrap_err().to_string();
    for part in parts.iter().chain([&name]) {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
}

#[test]
fn every_codec_and_page_over_groups_of_rows() {
    for name in [
        "snappy",
        "gzip",
        "brotli",
        "lz4",
        "zstd",
        "pages2",
        "checksums",
        "split",
        "f64",
        "f64_fixed",
    ] {
        let read = read(name);
        assert_eq!((read.len(), read.dim()), (5, 3), "{name}");
        assert_eq!(read.values(), &Values::F32(VECTORS.to_vec()), "{name}");
        assert_eq!(read.labels(), Some(&Labels::from_text(TEXTS)), "{name}");
        assert_eq!(read.name(3), "3.png", "{name}");
    }
    let cameras = Labels::from_integers([0, 1, 0, 1, 2]);
    assert_eq!(read("zstd").column("camera"), Some(&cameras));
    assert_eq!(read("pages2").column("camera"), Some(&cameras));
}

#[test]
fn half_precision_is_kept() {
    let halves = VECTORS.iter().map(|&value| half::f16::from_f32(value)).collect();
    let halves = Values::F16(halves);
    assert_eq!(read("f16").values(), &halves);
    assert_eq!(read("f16_fixed").values(), &halves);
}

#[test]
fn other_makers() {
    for name in ["polars", "pandas", "datasets"] {
        let read = read(name);
        assert_eq!(read.values(), &Values::F32(VECTORS.to_vec()), "{name}");
        assert_eq!(read.labels(), Some(&Labels::from_text(TEXTS)), "{name}");
        assert_eq!(read.name(4), "4.png", "{name}");
        assert_eq!(read.columns().count(), 0, "{name}");
    }
}

/// pandas' own row numbers are no data; names that it keeps as its index are the names.
#[test]
fn the_index_of_pandas() {
    let read_labels = |name: &str| Labels::read(&golden(name)).unwrap();
    let texts = Labels::from_text(TEXTS);
    let found = read("index_numbers");
    assert_eq!((found.name(4), found.columns().collect()), ("row 4".into(), vec!["kind"]));
    assert_eq!(read_labels("index_numbers"), texts);
    let found = read("index_names");
    assert_eq!((found.name(4), found.columns().collect()), ("4.png".into(), vec!["kind"]));
    assert_eq!(found.column("kind"), Some(&texts));
    assert_eq!(read_labels("index_names"), texts);
    // Beside a column of names it is one more column.
    let found = read("index_and_names");
    assert_eq!(
        (found.name(4), found.columns().collect()),
        ("4.png".into(), vec!["__index_level_0__"])
    );
    assert_eq!(found.column("__index_level_0__"), Some(&texts));
}

#[test]
fn a_column_a_number() {
    let read = read("numbered");
    assert_eq!(read.values(), &Values::F32(VECTORS.to_vec()));
    assert_eq!(read.labels(), Some(&Labels::from_integers([7, -3, 7, 1i64 << 40, 0])));
    assert_eq!(read.columns().collect::<Vec<_>>(), ["camera"]);
}

/// Flags, large numbers, nulls; structures and floats beside the vectors are passed over.
#[test]
fn further_columns_of_every_kind() {
    let read = read("odd");
    assert_eq!(read.values(), &Values::F32(VECTORS.to_vec()));
    assert_eq!(read.columns().collect::<Vec<_>>(), ["flag", "unsigned"]);
    let flags = ["true", "false", "true", "", "false"];
    assert_eq!(read.column("flag"), Some(&Labels::from_text(flags)));
    let unsigned = ["18446744073709551615", "0", "", "1", "2"];
    assert_eq!(read.column("unsigned"), Some(&Labels::from_text(unsigned)));
    assert_eq!(read.similarity(), Some(Similarity::Dot));
}

#[test]
fn labels_alone() {
    let labels = |name: &str| Labels::read(&golden(name)).map_err(|error| error.to_string());
    assert_eq!(labels("labels").unwrap(), Labels::from_text(TEXTS));
    assert_eq!(labels("polars").unwrap(), Labels::from_text(TEXTS));
    let error = labels("null_label").unwrap_err();
    assert!(error.contains("`label`, row 1: no label"), "{error}");
    let error = labels("odd").unwrap_err();
    assert!(error.contains("no `label`") && error.contains("flag: booleans"), "{error}");
}

#[test]
fn what_cannot_be_used_is_named() {
    refused("null_row", &["`embedding`, row 2", "null or an empty list", "leave the row out"]);
    refused("empty_row", &["`embedding`, row 1", "null or an empty list"]);
    refused("null_value", &["`embedding`, row 1", "value 1 of the list", "fill it"]);
    refused("null_number", &["`e1`, row 1: null"]);
    refused("ragged", &["`embedding`, row 2", "a list of 3 values", "expected 2"]);
    refused("nan", &["`embedding`", "row 1 (b), column 1 is NaN"]);
    refused("two_lists", &["a: lists of f32, b: lists of f32", "called `embeddings`"]);
    refused("integers", &["no vectors among its columns (label: f64)", "lists of floats"]);
    refused("float_label", &["`label`", "the values are f64", "astype"]);
    refused("no_rows", &["no rows"]);
}

/// A golden file with another description of its columns behind it.
fn claiming(
    name: &str,
    change: impl Fn(ColumnChunkMetaDataBuilder) -> ColumnChunkMetaDataBuilder,
) -> String {
    let mut bytes = fs_err::read(golden(name)).unwrap();
    let file = fs_err::File::open(golden(name)).unwrap().into_parts().0;
    let about = ParquetMetaDataReader::new().parse_and_finish(&file).unwrap();
    let column = |column: &ColumnChunkMetaData| change(column.clone().into_builder()).build();
    let group = |group: &RowGroupMetaData| {
        let columns = group.columns().iter().map(column).collect::<Result<_, _>>().unwrap();
        group.clone().into_builder().set_column_metadata(columns).build().unwrap()
    };
    let groups = about.row_groups().iter().map(group).collect();
    let about = about.into_builder().set_row_groups(groups).build();
    ParquetMetaDataWriter::new(&mut bytes, &about).finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("claims.parquet");
    fs_err::write(&path, bytes).unwrap();
    Embeddings::read(&path).map_or_else(|error| error.to_string(), |_| "it was read".to_owned())
}

#[test]
fn claims_are_held_against_the_file() {
    assert_eq!(claiming("zstd", |column| column), "it was read");
    let found = claiming("zstd", |column| column.set_num_values(1 << 40));
    assert!(found.contains("bytes of values in a file of"), "{found}");
    let found = claiming("zstd", |column| column.set_total_uncompressed_size(1 << 40));
    assert!(found.contains("bytes of values in a file of"), "{found}");
    let found = claiming("zstd", |column| column.set_total_uncompressed_size(20));
    assert!(found.contains("unpack to more than the column's size"), "{found}");
    for name in ["zstd", "pages2", "snappy"] {
        let found = claiming(name, |column| column.set_num_values(1));
        assert!(found.contains("more values than the column has"), "{found}");
        let found = claiming(name, |column| column.set_total_compressed_size(-1));
        assert!(found.contains("cannot be read as Parquet"), "{found}");
    }
}

/// A text of 300,000 bytes, stored once, in each of 1000 rows: 300 MB from a file of 2 kB.
#[test]
fn text_repeated_without_end_is_refused() {
    let error = Labels::read(&golden("long_text")).unwrap_err().to_string();
    for part in ["`label`, row 894", "more than 268435456 bytes of text", "shorten"] {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
}

/// Every file, cut anywhere, is an error and nothing worse.
#[test]
fn truncated_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.parquet");
    for name in ["zstd", "pages2", "polars", "numbered"] {
        let bytes = fs_err::read(golden(name)).unwrap();
        for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            fs_err::write(&path, &bytes[..length]).unwrap();
            let error = Embeddings::read(&path).unwrap_err().to_string();
            assert!(error.contains("cut.parquet") && error.contains("truncated"), "{error}");
        }
    }
}

/// Every byte of every file, changed: an answer or an error, never a panic.
#[test]
fn damaged_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.parquet");
    for name in ["snappy", "pages2", "split", "odd"] {
        let mut bytes = fs_err::read(golden(name)).unwrap();
        for at in 0..bytes.len() {
            for change in [0x01, 0x90] {
                bytes[at] ^= change;
                fs_err::write(&path, &bytes).unwrap();
                let _ = (Embeddings::read(&path), Labels::read(&path));
                bytes[at] ^= change;
            }
        }
    }
}
