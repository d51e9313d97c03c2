//! `crossbatch bench`: what this machine does, in one table to paste into a report.

use std::time::Instant;

use anyhow::bail;
use burn::tensor::{Device, Tensor, TensorData};
use crossbatch::{LossKind, Storage};
use crossbatch_kernels::{ConvOptions, conv2d};
use crossbatch_math::product::shared_rows_times_rows;
use crossbatch_retrieval::{MetricsConfig, Similarity, Vectors, evaluate_self};
use crossbatch_train::{DeviceChoice, Observer, Recipe};
use serde::Serialize;

use super::csv;
use crate::{
    args::{BenchData, Common, Format},
    bench::{
        generate::{Shape, generate},
        measure::{measure, median},
        network,
        step::Step,
    },
    commands::use_threads,
    printer::Printer,
    table,
};

/// Calls of a product or a convolution.
const CALLS: usize = 9;

/// One line of the table.
#[derive(Serialize)]
struct Line {
    work: String,
    median_seconds: f64,
    /// How much of `unit` a second.
    rate: f64,
    unit: &'static str,
}

#[derive(Serialize)]
struct Report {
    format_version: u32,
    version: &'static str,
    processor: String,
    threads: usize,
    lines: Vec<Line>,
}

pub(crate) fn run(format: Format, common: &Common, printer: &Printer) -> anyhow::Result<()> {
    let recipe = Recipe::from_sources(None, &common.settings())?;
    if recipe.device != DeviceChoice::Cpu {
        bail!("cannot measure `--device {}`: this command measures the CPU", recipe.device.name());
    }
    let threads = use_threads(recipe.threads)?;
    let mut lines = Vec::new();
    let mut tell = |line: Line| {
        printer.note(&format!("{}: {:.2} ms", line.work, line.median_seconds * 1e3));
        lines.push(line);
    };
    tell(product());
    tell(convolution());
    tell(training_step(&recipe)?);
    tell(inference(&recipe)?);
    for data in [BenchData::Sparse, BenchData::Dense] {
        tell(memory_step(data, recipe.seed));
    }
    tell(evaluation(recipe.seed)?);
    let report = Report {
        format_version: 1,
        version: env!("CARGO_PKG_VERSION"),
        processor: processor(),
        threads,
        lines,
    };
    let text = match format {
        Format::Json => serde_json::to_string_pretty(&report)? + "\n",
        Format::Csv => csv(&report.lines)?,
        Format::Table => text_table(&report),
    };
    Ok(printer.result(&text)?)
}

fn product() -> Line {
    const SIDE: usize = 1024;
    let rows: Vec<f32> = (0..SIDE * SIDE).map(|index| (index % 17) as f32 - 8.0).collect();
    let mut out = vec![0.0; SIDE * SIDE];
    let seconds = timed(|| shared_rows_times_rows(&rows, &rows, SIDE, &mut out));
    gigaflops(format!("matrix product, {SIDE} x {SIDE} x {SIDE}"), seconds, SIDE.pow(3))
}

fn convolution() -> Line {
    let device = Device::flex();
    let ramp = |shape: [usize; 4]| {
        let values: Vec<f32> =
            (0..shape.iter().product()).map(|index: usize| (index % 13) as f32).collect();
        Tensor::<4>::from_data(TensorData::new(values, shape), &device)
    };
    let (input, weight) = (ramp([32, 64, 28, 28]), ramp([64, 64, 3, 3]));
    let options = ConvOptions { padding: [1, 1], ..ConvOptions::default() };
    let seconds = timed(|| drop(conv2d(input.clone(), weight.clone(), None, options)));
    let work = "convolution 3 x 3, 64 to 64 channels, 32 images of 28 x 28".to_owned();
    gigaflops(work, seconds, 32 * 28 * 28 * 64 * 64 * 9)
}

/// A line about `products` multiplications with an addition each.
fn gigaflops(work: String, median_seconds: f64, products: usize) -> Line {
    let rate = 2.0 * products as f64 / median_seconds / 1e9;
    Line { work, median_seconds, rate, unit: "GFLOP/s" }
}

fn training_step(recipe: &Recipe) -> anyhow::Result<Line> {
    let measured = network::train(&small(recipe)?, 64, 20)?;
    let work = "training step, conv4, 64 images of 1 x 28 x 28".to_owned();
    Ok(Line {
        work,
        median_seconds: measured.median,
        rate: 64.0 / measured.median,
        unit: "images/s",
    })
}

fn inference(recipe: &Recipe) -> anyhow::Result<Line> {
    let measured = network::infer(&small(recipe)?, 256, 10);
    let work = "embedding, conv4, 256 images of 1 x 28 x 28".to_owned();
    Ok(Line {
        work,
        median_seconds: measured.median,
        rate: 256.0 / measured.median,
        unit: "images/s",
    })
}

/// The default recipe for small grey images, with this seed.
fn small(recipe: &Recipe) -> anyhow::Result<Recipe> {
    let settings =
        [format!("seed={}", recipe.seed), "data.image-size=28".into(), "data.channels=1".into()];
    Ok(Recipe::from_sources(None, &settings)?)
}

fn memory_step(data: BenchData, seed: u64) -> Line {
    let shape = Shape { batch: 64, entries: 55_000, dim: 128 };
    let step = Step::new(LossKind::Contrastive, Storage::F32, generate(data, shape, seed));
    let median_seconds = measure(&step, 20).median;
    let data = super::name(data);
    Line {
        work: format!("memory loss and gradient, 64 x 55,000 x 128, {data}"),
        median_seconds,
        rate: (shape.batch * shape.entries) as f64 / median_seconds / 1e6,
        unit: "million pairs/s",
    }
}

fn evaluation(seed: u64) -> anyhow::Result<Line> {
    const ROWS: usize = 20_000;
    let shape = Shape { batch: 4, entries: ROWS, dim: 128 };
    let bank = generate(BenchData::Sparse, shape, seed).bank;
    let rows: Vec<f32> = bank.embeddings.try_into_vec().expect("just made f32");
    let rows = Vectors::new(rows, shape.dim, Similarity::Cosine)?;
    let config = MetricsConfig { recall_at: vec![1, 10, 100, 1000] };
    let start = Instant::now();
    evaluate_self(&rows, &bank.labels, &config, &|_, _| {})?;
    let median_seconds = start.elapsed().as_secs_f64();
    Ok(Line {
        work: "evaluation, 20,000 x 128: R@1/10/100/1000, MAP@R, R-precision".to_owned(),
        median_seconds,
        rate: ROWS as f64 / median_seconds,
        unit: "queries/s",
    })
}

/// The median of some calls, after one that is not counted.
fn timed(mut call: impl FnMut()) -> f64 {
    call();
    let seconds = (0..CALLS).map(|_| {
        let start = Instant::now();
        call();
        start.elapsed().as_secs_f64()
    });
    median(seconds.collect())
}

/// What the system calls its processor (Linux), with the instruction sets that matter here.
fn processor() -> String {
    let text = fs_err::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |key: &str| {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim())
    };
    let name = value("model name").unwrap_or("unknown processor");
    let flags: Vec<&str> = value("flags").unwrap_or_default().split_whitespace().collect();
    let told = ["avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16"];
    let told: Vec<&str> = told.into_iter().filter(|flag| flags.contains(flag)).collect();
    format!(
        "{name} ({})",
        if told.is_empty() { std::env::consts::ARCH.to_owned() } else { told.join(" ") }
    )
}

fn text_table(report: &Report) -> String {
    let mut rows = vec![["", "ms", "rate", ""].map(str::to_owned).to_vec()];
    rows.extend(report.lines.iter().map(|line| {
        let digits = if line.rate < 100.0 { 1 } else { 0 };
        vec![
            line.work.clone(),
            format!("{:.2}", line.median_seconds * 1e3),
            format!("{:.digits$}", line.rate),
            line.unit.to_owned(),
        ]
    }));
    let columns =
        [table::Align::Left, table::Align::Right, table::Align::Right, table::Align::Left];
    format!(
        "\n crossbatch {} · {} · {} threads\n\n{}\n",
        report.version,
        report.processor,
        report.threads,
        table::columns(&rows, &columns)
    )
}
