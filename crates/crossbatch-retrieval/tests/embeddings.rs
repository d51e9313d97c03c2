//! Files of embeddings: those of NumPy and PyTorch, our own, and damaged ones.

use std::path::{Path, PathBuf};

use crossbatch_retrieval::{
    Embeddings, FileRows, Labels, Options, Relation, RowSource, Similarity, Values, rank,
    rank_source,
};
use half::{bf16, f16};

/// What `tests/golden/embeddings/make.py` writes into every file.
const VECTORS: [f32; 15] =
    [1.0, -2.0, 0.5, 0.0, 3.0, 4.0, -0.25, 8.0, 1.5, 2.0, 2.0, -16.0, 0.125, -1.0, 6.0];
const TEXTS: [&str; 5] = ["pear", "apple", "pear", "plum", "äpfel"];
const NUMBERS: [i64; 5] = [7, -3, 7, 1 << 40, 0];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/embeddings").join(name)
}

fn read(path: &Path) -> Embeddings {
    Embeddings::read(path).unwrap_or_else(|error| panic!("{error}"))
}

fn refused(path: &Path) -> String {
    let error = Embeddings::read(path).map(|read| format!("{read:?}")).unwrap_err().to_string();
    assert!(error.contains(&path.display().to_string()), "no file in {error}");
    error
}

#[track_caller]
fn says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "no `{part}` in {error}");
    }
}

fn as_f32(values: &Values) -> Vec<f32> {
    match values {
        Values::F32(values) => values.clone(),
        Values::F16(values) => values.iter().map(|value| value.to_f32()).collect(),
        Values::Bf16(values) => values.iter().map(|value| value.to_f32()).collect(),
    }
}

#[test]
fn numpy_arrays_of_every_kind() {
    for name in ["f2", "f4", "f8", "big", "fortran", "version2", "version3"] {
        let read = read(&golden(&format!("{name}.npy")));
        assert_eq!((read.len(), read.dim()), (5, 3), "{name}");
        assert_eq!(as_f32(read.values()), VECTORS, "{name}");
        assert_eq!(matches!(read.values(), Values::F16(_)), name == "f2");
        assert!(read.labels().is_none() && read.names().is_none());
    }
}

#[test]
fn numpy_labels_of_every_kind() {
    let labels = |name: &str| Labels::read(&golden(name)).unwrap();
    assert_eq!(labels("labels_i8.npy"), Labels::from_integers(NUMBERS));
    assert_eq!(labels("labels_big.npy"), Labels::from_integers(NUMBERS));
    assert_eq!(labels("labels_u1.npy"), Labels::from_integers([7, 3, 7, 2, 0]));
    assert_eq!(labels("labels_text.npy"), Labels::from_text(TEXTS));
    assert_eq!(
        labels("labels_bytes.npy"),
        Labels::from_text(["pear", "apple", "pear", "plum", "fig"])
    );
    assert_eq!(labels("stored.npz"), Labels::from_text(TEXTS));
    assert_eq!(labels("f16.safetensors"), Labels::from_integers(NUMBERS));
    let floats = Labels::read(&golden("f4.npy")).unwrap_err().to_string();
    says(&floats, &["f4.npy", "[5, 3]", "one integer or text a row"]);
}

#[test]
fn numpy_archives_stored_and_deflated() {
    for name in ["stored.npz", "deflated.npz"] {
        let read = read(&golden(name));
        assert_eq!(as_f32(read.values()), VECTORS);
        assert_eq!(read.labels(), Some(&Labels::from_text(TEXTS)));
        assert_eq!(read.column("camera"), Some(&Labels::from_integers([0, 1, 0, 1, 2])));
        assert_eq!(read.names().unwrap()[3], "1099511627776");
        assert_eq!(read.columns().collect::<Vec<_>>(), ["camera"]);
    }
}

#[test]
fn safetensors_of_pytorch() {
    for name in ["f32", "f16", "bf16", "f64"] {
        let read = read(&golden(&format!("{name}.safetensors")));
        assert_eq!(as_f32(read.values()), VECTORS, "{name}");
        assert_eq!(read.labels(), Some(&Labels::from_integers(NUMBERS)));
        assert_eq!(matches!(read.values(), Values::F16(_)), name == "f16");
        assert_eq!(matches!(read.values(), Values::Bf16(_)), name == "bf16");
    }
    let read = read(&golden("other_name.safetensors"));
    assert_eq!((as_f32(read.values()), read.labels()), (VECTORS.to_vec(), None));
}

#[test]
fn rows_are_read_where_they_lie() {
    for name in [
        "f32.safetensors",
        "f16.safetensors",
        "bf16.safetensors",
        "f64.safetensors",
        "f8.npy",
        "big.npy",
    ] {
        let rows = FileRows::open(&golden(name)).unwrap();
        assert_eq!((rows.len(), rows.dim()), (5, 3));
        let mut all = [0.0; 15];
        rows.read(0..5, &mut all).unwrap();
        assert_eq!(all, VECTORS, "{name}");
        let mut some = [0.0; 6];
        rows.read(2..4, &mut some).unwrap();
        assert_eq!(some, VECTORS[6..12], "{name}");
    }
    let error = |name: &str| FileRows::open(&golden(name)).unwrap_err().to_string();
    says(&error("fortran.npy"), &["fortran.npy", "ascontiguousarray"]);
    says(&error("stored.npz"), &["stored.npz", ".safetensors or .npy"]);
    says(&error("labels_i8.npy"), &["i64", "f16, bf16, f32 or f64"]);
}

#[test]
fn objects_and_records_are_refused() {
    says(&refused(&golden("objects.npy")), &["`|O`", "can run code", "astype"]);
    says(&refused(&golden("records.npy")), &["records"]);
    says(&refused(&golden("labels_i8.npy")), &["i64", "expected vectors [N, D]"]);
}

fn sample() -> Embeddings {
    Embeddings::new(VECTORS.to_vec(), 3)
        .unwrap()
        .with_labels(Labels::from_text(TEXTS))
        .unwrap()
        .with_names(["a/1.png", "b,2", "c \"3\"", "d", "e"].map(str::to_owned).to_vec())
        .unwrap()
        .with_column("camera", Labels::from_integers([1, 1, 2, 2, 3]))
        .unwrap()
        .with_column("split", Labels::from_text(["test"; 5]))
        .unwrap()
        .with_metadata("similarity", "dot")
}

#[test]
fn what_is_saved_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let sample = sample();
    for name in ["e.safetensors", "e.csv"] {
        sample.save(&at(name)).unwrap();
        let read = read(&at(name));
        assert_eq!(read.values(), sample.values(), "{name}");
        assert_eq!(read.labels(), sample.labels(), "{name}");
        assert_eq!(read.names(), sample.names(), "{name}");
        for column in ["camera", "split"] {
            assert_eq!(read.column(column), sample.column(column), "{name}");
        }
        assert_eq!(read.origin().unwrap().0, at(name));
    }
    assert_eq!(read(&at("e.safetensors")).similarity(), Some(Similarity::Dot));
    sample.save(&at("e.npy")).unwrap();
    assert_eq!(read(&at("e.npy")).values(), sample.values());
    sample.save(&at("f.safetensors")).unwrap();
    let bytes = |name: &str| fs_err::read(at(name)).unwrap();
    assert!(bytes("e.safetensors") == bytes("f.safetensors"), "the same bytes each time");
    // Eight-byte columns begin at multiples of eight, as readers that map the file want it.
    let length = u64::from_le_bytes(bytes("e.safetensors")[..8].try_into().unwrap());
    assert_eq!(length % 8, 0);
    assert_eq!(fs_err::read_dir(folder.path()).unwrap().count(), 4, "no temporary file is left");
}

#[test]
fn half_precision_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("h.safetensors");
    let half: Vec<f16> = VECTORS.iter().map(|&value| f16::from_f32(value)).collect();
    Embeddings::new(half.clone(), 3).unwrap().save(&path).unwrap();
    assert_eq!(read(&path).values(), &Values::F16(half.clone()));
    let brain: Vec<bf16> = VECTORS.iter().map(|&value| bf16::from_f32(value)).collect();
    let brains = Embeddings::new(brain.clone(), 3).unwrap();
    brains.save(&path).unwrap();
    assert_eq!(read(&path).values(), &Values::Bf16(brain));
    let path = folder.path().join("h.npy");
    Embeddings::new(half.clone(), 3).unwrap().save(&path).unwrap();
    assert_eq!(read(&path).values(), &Values::F16(half));
    brains.save(&path).unwrap();
    assert_eq!(read(&path).values(), &Values::F32(VECTORS.to_vec()));
    brains.save(&folder.path().join("h.csv")).unwrap();
    assert_eq!(as_f32(read(&folder.path().join("h.csv")).values()), VECTORS);
}

#[test]
fn csv_of_other_makers() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.csv");
    let of = |text: &str| {
        fs_err::write(&path, text).unwrap();
        Embeddings::read(&path)
    };
    let read = of("0.5,1\n2,-3e-1\r\n").unwrap();
    assert_eq!((as_f32(read.values()), read.dim()), (vec![0.5, 1.0, 2.0, -0.3], 2));
    let read = of("a.png,pear,1,2,4\nb.png,7,0,1,0\n").unwrap();
    assert_eq!(read.labels(), Some(&Labels::from_text(["pear", "7"])));
    assert_eq!((read.name(1), read.dim()), ("b.png".to_owned(), 3));
    let read = of(",label,0,1\n0,pear,0.5,1\n1,apple,2,3\n").unwrap();
    assert_eq!((as_f32(read.values()), read.columns().count()), (vec![0.5, 1.0, 2.0, 3.0], 0));
    assert_eq!(read.labels(), Some(&Labels::from_text(["pear", "apple"])));
    fs_err::write(folder.path().join("x.tsv"), "label\te0\te1\npear\t1\t2\n").unwrap();
    assert_eq!(Embeddings::read(&folder.path().join("x.tsv")).unwrap().dim(), 2);

    let error = |text: &str| of(text).unwrap_err().to_string();
    says(&error(""), &["x.csv", "empty", "name,label,e0,e1"]);
    says(&error("label,e0,e1\n"), &["a header and no row"]);
    says(&error("label,e0,e1\na,1,2\nb,1\n"), &["line 3", "2 fields", "expected 3"]);
    says(&error("label,e0,e1\na,1,2\nb,1,x\n"), &["line 3", "`x` in column 3"]);
    says(&error("label,e0,e1\na,1,nan\n"), &["line 2", "`nan`", "finite"]);
    says(&error("width,height\n1,2\n"), &["line 1", "no columns of numbers"]);
    fs_err::write(&path, b"label,e0,e1\n\xff,1,2\n").unwrap();
    says(&Embeddings::read(&path).unwrap_err().to_string(), &["line 2", "UTF-8"]);
}

#[test]
fn label_files() {
    let folder = tempfile::tempdir().unwrap();
    let of = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs_err::write(&path, text).unwrap();
        Labels::read(&path).map_err(|error| error.to_string())
    };
    let expected = Labels::from_text(["pear", "7", "pear"]);
    assert_eq!(of("l.txt", "pear\r\n7\r\npear\r\n\n").unwrap(), expected);
    assert_eq!(of("l.csv", "pear\n7\npear\n").unwrap(), expected);
    assert_eq!(of("l.csv", "name,label\na,pear\nb,7\nc,pear\n").unwrap(), expected);
    says(&of("l.txt", "pear\n\n7\n").unwrap_err(), &["l.txt, line 2", "no label"]);
    says(&of("l.csv", "name,label\na,\n").unwrap_err(), &["l.csv, line 2", "no label"]);
    says(&of("l.csv", "name,kind\na,b\n").unwrap_err(), &["l.csv, line 1", "none called `label`"]);
    says(&of("l.doc", "").unwrap_err(), &["l.doc", ".npy", ".txt"]);
}

/// Every file, cut anywhere, is an error and nothing worse.
#[test]
fn truncated_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["f4.npy", "version3.npy", "f16.safetensors", "stored.npz", "deflated.npz"] {
        let bytes = fs_err::read(golden(name)).unwrap();
        let path = folder.path().join(name);
        for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            fs_err::write(&path, &bytes[..length]).unwrap();
            refused(&path);
        }
    }
    let path = folder.path().join("f4.npy");
    let bytes = fs_err::read(golden("f4.npy")).unwrap();
    fs_err::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    says(&refused(&path), &["59 bytes", "[5, 3] of f32", "expected 60", "truncated"]);
    assert!(FileRows::open(&path).is_err());
    fs_err::write(&path, [&bytes[..], &[0]].concat()).unwrap();
    says(&refused(&path), &["61 bytes"]);
    let path = folder.path().join("f16.safetensors");
    let bytes = fs_err::read(golden("f16.safetensors")).unwrap();
    fs_err::write(&path, &bytes[..bytes.len() - 1]).unwrap();
    says(&refused(&path), &["truncated or damaged"]);
}

/// Every byte of every file, changed: an answer or an error, never a panic.
#[test]
fn damaged_files_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["f4.npy", "labels_text.npy", "f16.safetensors", "deflated.npz"] {
        let mut bytes = fs_err::read(golden(name)).unwrap();
        let path = folder.path().join(name);
        for at in 0..bytes.len() {
            for change in [0x01, 0x90] {
                bytes[at] ^= change;
                fs_err::write(&path, &bytes).unwrap();
                let _ = (Embeddings::read(&path), Labels::read(&path), FileRows::open(&path));
                bytes[at] ^= change;
            }
        }
    }
}

#[test]
fn a_damaged_archive_is_noticed_by_its_checksum() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stored.npz");
    let mut bytes = fs_err::read(golden("stored.npz")).unwrap();
    let place = bytes.windows(4).position(|four| four == 8.0f32.to_le_bytes()).unwrap();
    bytes[place + 3] = 0x40; // 8 has become 2
    fs_err::write(&path, bytes).unwrap();
    says(&refused(&path), &["checksum"]);
}

fn safetensors_file(path: &Path, header: &str, data: &[u8]) {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    fs_err::write(path, bytes).unwrap();
}

#[test]
fn counts_types_and_values_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    let write = |header: &str, data: &[u8]| {
        safetensors_file(&path, header, data);
        refused(&path)
    };
    let tensor = |dtype: &str, shape: &str, from: usize, to: usize| {
        format!(r#"{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    // Fewer labels than rows.
    let header = format!(
        r#"{{"embeddings":{},"labels":{}}}"#,
        tensor("F32", "[2,2]", 0, 16),
        tensor("I64", "[1]", 16, 24)
    );
    says(&write(&header, &[0; 24]), &["`labels`", "1 values for 2 vectors"]);
    // A type that no one computes with.
    let header = format!(r#"{{"embeddings":{}}}"#, tensor("I32", "[2,2]", 0, 16));
    says(&write(&header, &[0; 16]), &["`embeddings`", "i32", "f16, bf16, f32 or f64"]);
    let header = format!(r#"{{"embeddings":{}}}"#, tensor("F8_E4M3", "[2,2]", 0, 4));
    says(&write(&header, &[0; 4]), &["no `embeddings`", "none"]);
    let header = format!(r#"{{"embeddings":{}}}"#, tensor("F32", "[4]", 0, 16));
    says(&write(&header, &[0; 16]), &["`embeddings`", "shape is [4]"]);
    let header = format!(r#"{{"embeddings":{}}}"#, tensor("F32", "[0,4]", 0, 0));
    says(&write(&header, &[]), &["shape is [0, 4]"]);
    // Two matrices, neither named.
    let header = format!(
        r#"{{"a":{},"b":{}}}"#,
        tensor("F32", "[1,2]", 0, 8),
        tensor("F32", "[1,2]", 8, 16)
    );
    says(&write(&header, &[0; 16]), &["no `embeddings`", "a: f32 [1, 2], b: f32 [1, 2]"]);
    // NaN, with the row's name where it has one.
    let nan: Vec<u8> = [1.0, 2.0, 3.0, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
    let header = format!(
        r#"{{"__metadata__":{{"names":"[\"a.png\",\"b.png\"]"}},"embeddings":{}}}"#,
        tensor("F32", "[2,2]", 0, 16)
    );
    says(&write(&header, &nan), &["row 1 (b.png), column 1 is NaN", "finite"]);
    let rows = FileRows::open(&path).unwrap();
    let error = rows.read(1..2, &mut [0.0; 2]).unwrap_err().to_string();
    says(&error, &["x.safetensors", "row 1, column 1 is NaN"]);
    // Metadata that does not fit.
    let header = format!(
        r#"{{"__metadata__":{{"names":"[\"a.png\"]"}},"embeddings":{}}}"#,
        tensor("F32", "[2,2]", 0, 16)
    );
    says(&write(&header, &[0; 16]), &["1 names for 2 vectors"]);
    let header = format!(
        r#"{{"__metadata__":{{"label_names":"[\"pear\"]"}},"embeddings":{},"labels":{}}}"#,
        tensor("F32", "[1,2]", 0, 8),
        tensor("I64", "[1]", 8, 16)
    );
    says(&write(&header, &[1; 16]), &["`labels`", "1 names"]);
    let header = format!(
        r#"{{"__metadata__":{{"crossbatch_format_version":"2"}},"embeddings":{}}}"#,
        tensor("F32", "[1,2]", 0, 8)
    );
    says(&write(&header, &[0; 8]), &["format version 2", "reads version 1"]);
}

#[test]
fn sizes_that_are_claimed_are_not_believed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.safetensors");
    fs_err::write(&path, [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    says(&refused(&path), &["a header of 18446744073709551615 bytes"]);
    fs_err::write(&path, [&50_000_000u64.to_le_bytes()[..], b"{}"].concat()).unwrap();
    says(&refused(&path), &["end too early"]);

    let path = folder.path().join("x.npy");
    let npy = |version: u8, length: &[u8], header: &str| {
        [b"\x93NUMPY", &[version, 0][..], length, header.as_bytes()].concat()
    };
    fs_err::write(&path, npy(2, &u32::MAX.to_le_bytes(), "")).unwrap();
    says(&refused(&path), &["a header of 4294967295 bytes"]);
    fs_err::write(&path, npy(9, &[0; 4], "")).unwrap();
    says(&refused(&path), &["version 9"]);
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000, 4000), }\n";
    let huge = npy(1, &(header.len() as u16).to_le_bytes(), header);
    fs_err::write(&path, &huge).unwrap();
    says(&refused(&path), &["0 bytes of data", "expected 16000000000000"]);
    fs_err::write(&path, "hello, this is no array at all").unwrap();
    says(&refused(&path), &["does not begin as a NumPy file"]);

    // A zip whose entry unpacks to far more than it should.
    let path = folder.path().join("x.npz");
    let mut archive = zip::ZipWriter::new(fs_err::File::create(&path).unwrap());
    let options = zip::write::SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Deflated);
    archive.start_file("embeddings.npy", options).unwrap();
    let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (75000, 1024), }\n";
    let start = npy(1, &(header.len() as u16).to_le_bytes(), header);
    std::io::Write::write_all(&mut archive, &start).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..293 {
        std::io::Write::write_all(&mut archive, &zeros).unwrap();
    }
    archive.finish().unwrap();
    says(&refused(&path), &["`embeddings`", "claim to unpack to", "numpy.savez"]);
}

#[test]
fn names_of_files_and_lengths_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    says(
        &refused(&folder.path().join("x.pt")),
        &[".safetensors, .npy, .npz, .csv, .tsv or .parquet"],
    );
    #[cfg(not(feature = "parquet"))]
    says(&refused(&folder.path().join("x.parquet")), &["reads no Parquet", "--features parquet"]);
    says(&refused(&folder.path().join("missing.npy")), &["missing.npy"]);
    let sample = sample();
    let error = sample.save(&folder.path().join("x.npz")).unwrap_err().to_string();
    says(&error, &["only read", ".safetensors, .npy or .csv"]);
    let error = sample.clone().with_labels(Labels::from_text(["a"])).unwrap_err().to_string();
    says(&error, &["5 rows", "1 labels"]);
    assert!(sample.with_names(vec![]).is_err());
}

/// A gallery that stays in its file ranks as one in memory, in every precision and for every budget.
#[test]
fn a_gallery_in_its_file_ranks_as_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let value = |i: usize| ((i * 37 % 1009) as f32 * 0.7).sin();
    let (rows, dim) = (700, 24);
    let values: Vec<f32> = (0..rows * dim).map(value).collect();
    let labels = Labels::from_integers((0..rows as i64).map(|row| row * 31 % 90));
    let half: Vec<f16> = values.iter().map(|&value| f16::from_f32(value)).collect();
    let files = [
        ("g.npy", Embeddings::new(values.clone(), dim).unwrap()),
        ("g.safetensors", Embeddings::new(values.clone(), dim).unwrap()),
        ("h.safetensors", Embeddings::new(half, dim).unwrap()),
    ];
    for (name, embeddings) in files {
        let path = folder.path().join(name);
        embeddings.with_labels(labels.clone()).unwrap().save(&path).unwrap();
        let file = FileRows::open(&path).unwrap();
        for similarity in [Similarity::Cosine, Similarity::Dot, Similarity::Euclidean] {
            let in_memory = read(&path);
            let gallery = in_memory.clone().take_vectors(similarity).unwrap();
            let queries = in_memory.select(&[5, 0, 699, 333]).take_vectors(similarity).unwrap();
            let query_labels: Vec<u32> = [5, 0, 699, 333].map(|row| labels.codes()[row]).to_vec();
            let relation = Relation::new(&query_labels, labels.codes());
            let options = Options::default();
            let expected = rank(&queries, &gallery, &relation, &options).unwrap();
            for options in [options, options.with_memory(1 << 20)] {
                let found = rank_source(&queries, &file, &relation, &options).unwrap();
                assert_eq!(found, expected, "{name} {similarity:?}");
            }
        }
    }
}
