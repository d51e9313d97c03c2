//! `crossbatch bench memory`, and beside it the other measurements.

pub(crate) mod model;
pub(crate) mod overview;

use anyhow::bail;
use clap::ValueEnum;
use crossbatch::Storage;
use crossbatch_train::{DeviceChoice, Observer, Recipe, available_bytes};
use serde::Serialize;
use serde_json::{Map, Value};

use super::use_threads;
use crate::{
    args::{BenchMemoryArgs, BenchStorage, Common, Format},
    bench::{
        Inputs, file,
        generate::{Shape, generate},
        measure::measure,
        step::Step,
    },
    images::identity,
    printer::Printer,
    table, target,
};

/// Fewest calls whose median is worth telling.
const FEWEST_CALLS: usize = 20;

/// What is told of one size: flat, so that it is a row of a table too.
#[derive(Serialize)]
struct Report {
    format_version: u32,
    loss: String,
    /// `sparse`, `dense` or `file`.
    data: String,
    storage: String,
    batch: usize,
    entries: usize,
    dim: usize,
    threads: usize,
    seed: u64,
    calls: usize,
    median_seconds: f64,
    products_seconds: f64,
    value: f32,
    gradient_norm: f64,
    /// Pairs that count, an anchor.
    positives: f64,
    active_negatives: f64,
    peak_extra_bytes: usize,
    memory_bytes: u64,
}

pub(crate) fn memory(
    args: &BenchMemoryArgs,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<()> {
    check(args)?;
    // The seed, threads and device that a run with these options would have.
    let recipe = Recipe::from_sources(None, &common.settings())?;
    if recipe.device != DeviceChoice::Cpu {
        bail!("cannot measure `--device {}`: this command measures the CPU", recipe.device.name());
    }
    let threads = use_threads(recipe.threads)?;
    let mut reports = Vec::new();
    for &entries in &args.entries {
        let inputs = inputs(args, entries, recipe.seed)?;
        let report = one(args, inputs, recipe.seed, threads)?;
        printer.note(&format!(
            "{} entries: {:.3} ms, products {:.3} ms",
            report.entries,
            report.median_seconds * 1e3,
            report.products_seconds * 1e3
        ));
        reports.push(report);
    }
    let text = match args.format {
        Format::Table => text_table(&reports),
        // One size is an object, several are an array of them.
        Format::Json => match &reports[..] {
            [report] => serde_json::to_string_pretty(report)? + "\n",
            reports => serde_json::to_string_pretty(reports)? + "\n",
        },
        Format::Csv => csv(&reports)?,
    };
    Ok(printer.result(&text)?)
}

/// Refuses what cannot be measured before any work.
fn check(args: &BenchMemoryArgs) -> anyhow::Result<()> {
    let smallest = args.entries.iter().copied().min().unwrap_or(0);
    for (option, value) in [("--batch", args.batch), ("--entries", smallest), ("--dim", args.dim)] {
        if value == 0 {
            bail!("cannot use `{option} 0`; give at least 1");
        }
    }
    if args.calls < FEWEST_CALLS {
        bail!("cannot use `--calls {}`; give at least {FEWEST_CALLS}, for a median", args.calls);
    }
    let outputs = [&args.gradient_out, &args.anchors_out, &args.bank_out];
    for path in outputs.into_iter().flatten() {
        if args.entries.len() > 1 {
            bail!(
                "cannot write {} for {} sizes; give one number of --entries",
                path.display(),
                args.entries.len()
            );
        }
        target::check(path)?;
        let inputs = [&args.anchors, &args.bank].into_iter().flatten();
        if inputs.into_iter().any(|input| identity(input) == identity(path)) {
            bail!("cannot write {}: it is read from; give another file", path.display());
        }
    }
    for &entries in args.entries.iter().filter(|_| args.bank.is_none()) {
        // The bank, a copy of it and its similarities for the products; labels are dense i32.
        let numbers = (args.dim as u128 * 2 + args.batch as u128) * entries as u128
            + args.batch as u128 * args.dim as u128 * 8;
        let fits = i32::try_from(entries).is_ok()
            && available_bytes().is_none_or(|bytes| numbers * 4 < u128::from(bytes));
        if !fits {
            bail!(
                "cannot measure {entries} entries of {} numbers with {} anchors: that takes {} GiB, which this machine does not give; make --entries, --dim or --batch smaller",
                args.dim,
                args.batch,
                (numbers * 4) >> 30
            );
        }
    }
    Ok(())
}

fn inputs(args: &BenchMemoryArgs, entries: usize, seed: u64) -> anyhow::Result<Inputs> {
    let inputs = match &args.bank {
        Some(bank) => file::read(args.anchors.as_deref(), bank, args.batch)?,
        None => generate(args.data, Shape { batch: args.batch, entries, dim: args.dim }, seed),
    };
    if let Some(path) = &args.anchors_out {
        file::write_rows(path, &inputs.anchors)?;
    }
    Ok(inputs)
}

fn one(
    args: &BenchMemoryArgs,
    inputs: Inputs,
    seed: u64,
    threads: usize,
) -> anyhow::Result<Report> {
    let storage = match args.storage {
        BenchStorage::F32 => Storage::F32,
        BenchStorage::F16 => Storage::F16,
        BenchStorage::Bf16 => Storage::Bf16,
    };
    let step = Step::new(args.loss, storage, inputs);
    if let Some(path) = &args.bank_out {
        file::write_rows(path, &step.bank())?;
    }
    let [batch, dim] = step.dims();
    let measured = measure(&step, args.calls);
    let output = &measured.output;
    let (value, gradient_norm) = (output.value, output.gradient_norm());
    if !value.is_finite() || !gradient_norm.is_finite() {
        bail!(
            "the loss is {value} and its gradient's length {gradient_norm}; are the embeddings of unit length?"
        );
    }
    if let Some(path) = &args.gradient_out {
        file::write_tensor(path, "gradient", &output.gradient.to_data())?;
    }
    let (positives, active_negatives) = output.pairs();
    Ok(Report {
        format_version: 1,
        loss: args.loss.to_string(),
        data: if args.bank.is_some() { "file".to_owned() } else { name(args.data) },
        storage: name(args.storage),
        batch,
        entries: step.entries(),
        dim,
        threads,
        seed,
        calls: args.calls,
        median_seconds: measured.median,
        products_seconds: measured.products,
        value,
        gradient_norm,
        positives,
        active_negatives,
        peak_extra_bytes: measured.peak_extra_bytes,
        memory_bytes: step.memory_bytes(),
    })
}

/// The name of a choice, as it is typed.
fn name(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn text_table(reports: &[Report]) -> String {
    let Some(first) = reports.first() else { return String::new() };
    let header = [
        "entries",
        "ms",
        "products ms",
        "of their rate",
        "ms a million",
        "extra MB",
        "value",
        "gradient",
        "positives",
        "active negatives",
    ];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    rows.extend(reports.iter().map(|report| {
        let milliseconds = report.median_seconds * 1e3;
        vec![
            report.entries.to_string(),
            format!("{milliseconds:.3}"),
            format!("{:.3}", report.products_seconds * 1e3),
            format!("{:.2}", report.products_seconds / report.median_seconds),
            format!("{:.1}", milliseconds * 1e6 / report.entries as f64),
            format!("{:.2}", report.peak_extra_bytes as f64 / 1e6),
            format!("{:.6}", report.value),
            format!("{:.6}", report.gradient_norm),
            format!("{:.1}", report.positives),
            format!("{:.1}", report.active_negatives),
        ]
    }));
    format!(
        "\n {} · {} data · {} · {} anchors · {}-d · {} threads · medians of {} calls\n\n{}\n",
        first.loss,
        first.data,
        first.storage,
        first.batch,
        first.dim,
        first.threads,
        first.calls,
        table::aligned(&rows)
    )
}

/// The JSON's keys as a header, a row a size.
fn csv(reports: &[impl Serialize]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for (index, report) in reports.iter().enumerate() {
        let fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(report)?)?;
        if index == 0 {
            writer.write_record(fields.keys())?;
        }
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        writer.write_record(fields.values().map(text))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}
