//! Events as JSON lines and CSV.

use std::{io::Write, path::Path};

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::{
    drift::DriftEvent,
    error::Error,
    events::{Evaluation, StepEvent},
    folder::check_version,
    recipe::FORMAT_VERSION,
    write_atomically,
};

/// A row of `metrics.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Record {
    Step(StepEvent),
    Evaluation(Evaluation),
    Drift(DriftEvent),
}

#[derive(Serialize, Deserialize)]
struct Line {
    format_version: u32,
    #[serde(flatten)]
    record: Record,
}

impl Record {
    fn step(&self) -> u64 {
        match self {
            Self::Step(event) => event.step,
            Self::Evaluation(event) => event.step,
            Self::Drift(event) => event.step,
        }
    }
}

/// Appends events to `metrics.jsonl` and `metrics.csv` of a folder.
#[derive(Debug)]
pub(crate) struct Sinks {
    lines: fs::File,
    table: csv::Writer<fs::File>,
}

/// One row of `metrics.csv`; a step fills the first columns, a measurement the last.
#[derive(Debug, Default, Serialize)]
struct Row {
    format_version: u32,
    event: &'static str,
    step: u64,
    epoch: Option<u64>,
    lr: Option<f64>,
    loss: Option<f32>,
    batch_loss: Option<f32>,
    memory_loss: Option<f32>,
    batch_positives: Option<f32>,
    batch_active_negatives: Option<f32>,
    memory_positives: Option<f32>,
    memory_active_negatives: Option<f32>,
    memory_hardest_negative: Option<f32>,
    memory_mean_positive: Option<f32>,
    memory_mean_negative: Option<f32>,
    memory_filled: Option<usize>,
    images: Option<usize>,
    seconds: Option<f64>,
    split: Option<String>,
    recall_at_1: Option<f64>,
    recall_at_10: Option<f64>,
    recall_at_100: Option<f64>,
    map_at_r: Option<f64>,
    r_precision: Option<f64>,
    /// Drift in training mode over the first span that was asked for and has something to compare with.
    drift_span: Option<u64>,
    drift: Option<f64>,
    drift_inference: Option<f64>,
    gradient_error: Option<f64>,
}

impl From<&Record> for Row {
    fn from(record: &Record) -> Self {
        let row = Row { format_version: FORMAT_VERSION, step: record.step(), ..Row::default() };
        match record {
            Record::Step(event) => Row {
                event: "step",
                epoch: Some(event.epoch),
                lr: Some(event.lr),
                loss: Some(event.loss),
                batch_loss: Some(event.batch_loss),
                memory_loss: event.memory_loss,
                batch_positives: Some(event.batch_positives),
                batch_active_negatives: Some(event.batch_active_negatives),
                memory_positives: event.memory_positives,
                memory_active_negatives: event.memory_active_negatives,
                memory_hardest_negative: event.memory_hardest_negative,
                memory_mean_positive: event.memory_mean_positive,
                memory_mean_negative: event.memory_mean_negative,
                memory_filled: Some(event.memory_filled),
                images: Some(event.images),
                seconds: Some(event.seconds),
                ..row
            },
            Record::Evaluation(event) => Row {
                event: "evaluation",
                split: Some(event.split.clone()),
                recall_at_1: Some(event.metrics.recall(1)),
                recall_at_10: Some(event.metrics.recall(10)),
                recall_at_100: Some(event.metrics.recall(100)),
                map_at_r: Some(event.metrics.map_at_r),
                r_precision: Some(event.metrics.r_precision),
                ..row
            },
            // Every span, the ages and the cosine are in `metrics.jsonl`.
            Record::Drift(event) => Row {
                event: "drift",
                drift_span: event.training.first().map(|drift| drift.span),
                drift: event.training.first().map(|drift| drift.mean_squared),
                drift_inference: event.inference.first().map(|drift| drift.mean_squared),
                gradient_error: event.gradient.as_ref().map(|error| error.relative),
                ..row
            },
        }
    }
}

impl Sinks {
    /// Opens both files, keeping what they say of steps up to `done` and dropping the rest: what a
    /// stopped run wrote after its last checkpoint will be written again.
    pub(crate) fn open(folder: &Path, done: u64) -> Result<Self, Error> {
        let lines_path = folder.join("metrics.jsonl");
        let mut kept = Vec::new();
        if done > 0 && lines_path.exists() {
            for line in String::from_utf8_lossy(&fs::read(&lines_path)?).lines() {
                // A half-written last line belongs to a step after the checkpoint.
                let Ok(line) = serde_json::from_str::<Line>(line) else { continue };
                check_version(&lines_path, Some(&line.format_version.to_string()))?;
                if line.record.step() <= done {
                    kept.push(line.record);
                }
            }
        }
        let mut text = Vec::new();
        let mut table = csv::Writer::from_writer(Vec::new());
        for record in &kept {
            text.extend(json_line(record));
            table.serialize(Row::from(record)).map_err(csv_error)?;
        }
        let has_headers = kept.is_empty();
        write_atomically(&lines_path, &text)?;
        let table_path = folder.join("metrics.csv");
        let table = table.into_inner().map_err(|error| error.into_error())?;
        write_atomically(&table_path, &table)?;

        let append = |path: &Path| fs::OpenOptions::new().append(true).open(path);
        let table =
            csv::WriterBuilder::new().has_headers(has_headers).from_writer(append(&table_path)?);
        Ok(Self { lines: append(&lines_path)?, table })
    }

    pub(crate) fn write(&mut self, record: &Record) -> Result<(), Error> {
        self.lines.write_all(&json_line(record))?;
        self.table.serialize(Row::from(record)).map_err(csv_error)?;
        Ok(self.table.flush()?)
    }
}

fn json_line(record: &Record) -> Vec<u8> {
    let line = Line { format_version: FORMAT_VERSION, record: record.clone() };
    let mut line = serde_json::to_vec(&line).expect("events are plain data");
    line.push(b'\n');
    line
}

fn csv_error(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}
