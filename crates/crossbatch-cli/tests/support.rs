//! Runs the program, and makes what it needs: a tiny trained run and a few pictures.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use image::{Rgb, RgbImage};

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Its stdout, where it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// The same, as JSON.
    #[track_caller]
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).unwrap()
    }

    /// Checks that it could not run, and that its error says `parts`.
    #[track_caller]
    pub(crate) fn fails_with(&self, parts: &[&str]) {
        assert_eq!(self.code, Some(2), "{self:?}");
        let error = self.stderr.lines().find(|line| line.starts_with("error: "));
        let error = error.unwrap_or_else(|| panic!("no error in {self:?}"));
        for part in parts {
            assert!(error.contains(part), "no `{part}` in {error}");
        }
    }
}

/// Runs the program in `folder`.
pub(crate) fn crossbatch_in(folder: &Path, args: &[&str]) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_crossbatch"))
        .args(args)
        .current_dir(folder)
        .output()
        .expect("the program starts");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("stdout is text"),
        stderr: String::from_utf8(output.stderr).expect("stderr is text"),
    }
}

/// A run of a few steps on a few glyphs, made once.
pub(crate) fn run() -> &'static str {
    static RUN: OnceLock<String> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let run = folder.join("crossbatch-tiny-run");
        if run.exists() {
            fs_err::remove_dir_all(&run).unwrap();
        }
        let settings = [
            "data.glyphs.train-classes=24",
            "data.glyphs.test-classes=12",
            "steps=6",
            "batch.classes=4",
            "memory.size=32",
            "memory.start=2",
            "compare-without-memory=false",
        ];
        let run = run.to_str().expect("the build folder's path is text").to_owned();
        let mut args = vec!["train", "--quiet", "--out", &run];
        args.extend(settings.iter().flat_map(|setting| ["--set", setting]));
        crossbatch_in(folder, &args).ok();
        run
    })
}

/// Draws image `number` of a class: a figure of that class, a little elsewhere in each image.
pub(crate) fn draw(path: &Path, class: usize, number: usize) {
    let (width, height) = (40 + 2 * (number as u32 % 2), 40);
    let shift = number as i32 % 5 - 2;
    let picture = RgbImage::from_fn(width, height, |x, y| {
        let (x, y) = (x as i32 - 20 + shift, y as i32 - 20 - shift);
        let ink = match class % 4 {
            0 => x * x + y * y < 150,
            1 => y.abs() < 4 || (y - 12).abs() < 3,
            2 => x.abs() < 4,
            _ => (x - y).abs() < 5 || (x + y).abs() < 3,
        };
        if ink { Rgb([20, 10, 30 * number as u8]) } else { Rgb([250, 250, 240]) }
    });
    fs_err::create_dir_all(path.parent().expect("a path below a folder")).unwrap();
    picture.save(path).unwrap();
}

/// Draws `FOLDER/CLASS/NUMBER.png` for the named classes; returns the paths below `folder`.
pub(crate) fn draw_classes(folder: &Path, classes: &[&str], images: usize) -> Vec<String> {
    let mut names = Vec::new();
    for (class, name) in classes.iter().enumerate() {
        for number in 0..images {
            names.push(format!("{name}/{number}.png"));
            draw(&folder.join(names.last().expect("just pushed")), class, number);
        }
    }
    names
}

/// A file that is called an image and is none.
pub(crate) fn spoil(path: PathBuf) {
    fs_err::write(path, b"this is no picture").unwrap();
}

/// The records of a CSV text, the header among them.
pub(crate) fn records(text: &str) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(text.as_bytes());
    let record = |record: Result<csv::StringRecord, _>| record.unwrap();
    reader.records().map(record).map(|row| row.iter().map(str::to_owned).collect()).collect()
}

/// Cosine of two rows of length 1.
pub(crate) fn cosine(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}
