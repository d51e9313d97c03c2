//! The fuzz targets on genuine files with random faults: some thousands of inputs in every test run, and for as long as
//! CROSSBATCH_FUZZ_SECONDS says on any toolchain. `fuzz/run.sh` follows coverage with libFuzzer where there is a nightly one.

#[allow(clippy::duplicate_mod, reason = "there it is a module of each target")]
#[path = "../../../fuzz/fuzz_targets/bodies.rs"]
mod bodies;

use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::data_folder::data;
use crate::support::{gzip, png, put_zip, tar};

/// Inputs of each target in an ordinary run.
const INPUTS: usize = 2000;

/// Numbers and marks that readers stumble over.
const TOKENS: [&[u8]; 14] = [
    b"\n",
    b"\r\n",
    b"\t",
    b",",
    b"\"",
    b" ",
    b"..",
    b"/",
    b"\0",
    b"\xEF\xBB\xBF",
    b"-1",
    b"4294967296",
    b"18446744073709551616",
    b"\xFF\xFF\xFF\xFF",
];

/// One to eight faults.
fn spoil(rng: &mut impl Rng, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = seeds[rng.random_range(0..seeds.len())].clone();
    for _ in 0..rng.random_range(1..=8) {
        let place = rng.random_range(0..=bytes.len());
        let end = (place + rng.random_range(0..64)).min(bytes.len());
        match rng.random_range(0..8) {
            0 => bytes.truncate(place),
            1 => drop(bytes.drain(place..end)),
            2 => {
                let again = bytes[place..end].to_vec();
                bytes.splice(place..place, again);
            }
            3 => {
                let token = TOKENS[rng.random_range(0..TOKENS.len())];
                bytes.splice(place..place, token.iter().copied());
            }
            4 => {
                let other = &seeds[rng.random_range(0..seeds.len())];
                let from = rng.random_range(0..=other.len());
                let to = (from + rng.random_range(0..256)).min(other.len());
                bytes.splice(place..end, other[from..to].iter().copied());
            }
            5 if place < bytes.len() => bytes[place] = rng.random(),
            6 if place < bytes.len() => bytes[place] ^= 1 << rng.random_range(0..8),
            // A 32-bit number, off by little or by much.
            7 if place + 4 <= bytes.len() => {
                let number = u32::from_le_bytes(bytes[place..place + 4].try_into().unwrap());
                let off = [1, 8, u32::MAX, 1 << 31][rng.random_range(0..4)];
                bytes[place..place + 4].copy_from_slice(&number.wrapping_add(off).to_le_bytes());
            }
            _ => {}
        }
    }
    bytes
}

/// Runs a target on the seeds and on spoilt ones. An input that makes it panic is kept and named.
fn run(name: &str, seeds: &[Vec<u8>], longest: usize, target: fn(&[u8])) {
    let seconds = std::env::var("CROSSBATCH_FUZZ_SECONDS").ok().map(|text| text.parse().unwrap());
    let started = Instant::now();
    let mut rng = ChaCha8Rng::seed_from_u64(if seconds.is_some() { rand::random() } else { 7 });
    let mut done = 0;
    let goes_on = |done| match seconds {
        Some(seconds) => started.elapsed() < Duration::from_secs(seconds),
        None => done < INPUTS,
    };
    while goes_on(done) {
        let mut input = match seeds.get(done) {
            Some(seed) => seed.clone(),
            None => spoil(&mut rng, seeds),
        };
        input.truncate(longest);
        let before = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(&input)));
        let slow = before.elapsed() > Duration::from_secs(20);
        if outcome.is_err() || slow {
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{done}"));
            fs_err::write(&kept, &input).unwrap();
            panic!(
                "input {done} of `{name}` panics or takes 20 s; it is kept in {}",
                kept.display()
            );
        }
        done += 1;
    }
    // Not captured by the test harness, so that a long run says what it did.
    let said = format!("{name}: {done} inputs in {:.0?}\n", started.elapsed());
    std::io::stderr().write_all(said.as_bytes()).unwrap();
}

/// The first bytes of a genuine file, or nothing where it is not here.
fn genuine(choice: u8, name: &str, bytes: usize) -> Vec<u8> {
    let (folder, file) = name.rsplit_once('/').unwrap();
    let content = data(folder).map(|folder| fs_err::read(folder.join(file)).unwrap());
    let content = content.unwrap_or_default();
    [&[choice], &content[..bytes.min(content.len())]].concat()
}

#[test]
fn lists() {
    let mut seeds = vec![
        genuine(0, "cub127/train.txt", 600),
        genuine(3, "formats/sop/Ebay_train_first_rows.txt", 600),
        genuine(4, "formats/inshop/list_eval_partition_excerpt.txt", 600),
        genuine(5, "formats/vehicleid/train_list_excerpt.txt", 400),
        genuine(6, "formats/cub200_2011/images.txt", 600),
        genuine(7, "formats/cub200_2011/image_class_labels.txt", 200),
    ];
    seeds.push(b"\x02path,label\r\na.png,1\r\n\"b, c.png\",\"x \"\"y\"\"\"\r\n".to_vec());
    seeds.push(b"\x01file\tlabel\na.png\t1\nb.png\t1\nc.png\t2\n".to_vec());
    seeds.push(b"\x08t/Aves/12/a.jpg\nt/Aves/12/b.jpg\nt/Fungi/13/a.jpg\n".to_vec());
    seeds.push(
        b"\x09path,label,split,camera\na.png,1,train,0\nb.png,2,query,1\nc.png,2,gallery,2\n"
            .to_vec(),
    );
    run("lists", &seeds, 2000, bodies::lists);
}

/// A MAT-file with its elements unpacked, so that faults reach what is in them.
fn unpacked(mat: &[u8]) -> Vec<u8> {
    let mut bytes = mat[..128].to_vec();
    let mut rest = &mat[128..];
    while rest.len() >= 8 {
        let word = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap()) as usize;
        let (kind, length) = (word(0), word(4));
        let body = &rest[8..8 + length];
        match kind {
            15 => bytes.extend(miniz_oxide::inflate::decompress_to_vec_zlib(body).unwrap()),
            _ => bytes.extend(&rest[..8 + length]),
        }
        rest = &rest[8 + length..];
    }
    bytes
}

#[test]
fn annotations() {
    let Some(folder) = data("formats/cars196") else { return };
    let mut seeds = Vec::new();
    for name in ["cars_meta.mat", "cars_annos_MADE_UP_sample.mat"] {
        let packed = fs_err::read(folder.join(name)).unwrap();
        seeds.push(unpacked(&packed));
        seeds.push(packed);
    }
    // The first records of the devkit's own, as a file that ends too early.
    let mut devkit = unpacked(&fs_err::read(folder.join("cars_train_annos.mat")).unwrap());
    devkit.truncate(6000);
    seeds.push(devkit);
    run("annotations", &seeds, 60_000, bodies::annotations);
}

#[test]
fn archives() {
    let names = ["a/0.png", "a/1.png", "b/0.png", "b/1.png"];
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (*name, png(3))).collect();
    let folder = tempfile::tempdir().unwrap();
    put_zip(&folder.path().join("x.zip"), &files);
    let mut stored = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in &files {
        let options = zip::write::SimpleFileOptions::default();
        stored
            .start_file(*name, options.compression_method(zip::CompressionMethod::Stored))
            .unwrap();
        stored.write_all(bytes).unwrap();
    }
    let tar = tar(&files);
    let (left, right) = tar.split_at(1500);
    let seeds = [
        (0, fs_err::read(folder.path().join("x.zip")).unwrap()),
        (0, stored.finish().unwrap().into_inner()),
        (1, tar.clone()),
        (2, gzip(&tar)),
        (2, [gzip(left), gzip(right)].concat()),
    ];
    let seeds = seeds.map(|(choice, bytes)| [&[choice], &bytes[..]].concat());
    run("archives", &seeds, 60_000, bodies::archives);
}
