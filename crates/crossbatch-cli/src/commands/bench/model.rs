//! `crossbatch bench step` and `crossbatch bench infer`

use anyhow::bail;
use crossbatch_models::BackboneKind;
use crossbatch_train::{DeviceChoice, Recipe};
use serde::Serialize;

use super::csv;
use crate::{
    args::{BenchModelArgs, Common, Format},
    bench::network::{self, IMAGES, Measured},
    commands::use_threads,
    printer::Printer,
    table,
};

/// What is told of a network: flat.
#[derive(Serialize)]
struct Report {
    format_version: u32,
    /// `step` or `infer`.
    measured: &'static str,
    model: String,
    batch: usize,
    size: usize,
    channels: usize,
    threads: usize,
    seed: u64,
    steps: usize,
    median_seconds: f64,
    images_per_second: f64,
    peak_bytes: usize,
    /// Of the timed steps, whose memory the first ones have left behind; Linux only.
    #[serde(skip_serializing_if = "Option::is_none")]
    page_faults_per_step: Option<f64>,
    /// Bytes that the process holds more after the timed steps than before them; Linux only.
    #[serde(skip_serializing_if = "Option::is_none")]
    resident_growth_bytes: Option<i64>,
    parameters: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_loss: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_loss: Option<f32>,
}

pub(crate) fn step(
    args: &BenchModelArgs,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<()> {
    if args.batch < 2 * IMAGES || !args.batch.is_multiple_of(IMAGES) {
        bail!(
            "cannot train on `--batch {}`: give a multiple of {IMAGES} of at least {}, so that every image has a positive and a negative",
            args.batch,
            2 * IMAGES
        );
    }
    let (recipe, threads) = prepare(args, common)?;
    let steps = steps(args)?;
    let measured = network::train(&recipe, args.batch, steps)?;
    print(&report("step", args, &recipe, threads, steps, &measured), args.format, printer)
}

pub(crate) fn infer(
    args: &BenchModelArgs,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<()> {
    if args.batch == 0 {
        bail!("cannot embed `--batch 0`; give at least 1");
    }
    let (recipe, threads) = prepare(args, common)?;
    let steps = steps(args)?;
    let measured = network::infer(&recipe, args.batch, steps);
    print(&report("infer", args, &recipe, threads, steps, &measured), args.format, printer)
}

/// A recipe of this network, checked, and the threads set.
fn prepare(args: &BenchModelArgs, common: &Common) -> anyhow::Result<(Recipe, usize)> {
    let small = args.model == BackboneKind::Conv4;
    let size = args.size.unwrap_or(if small { 28 } else { 224 });
    let channels = args.channels.unwrap_or(if small { 1 } else { 3 });
    let mut settings = common.settings();
    settings.extend([
        format!("model.backbone=\"{}\"", args.model),
        format!("data.image-size={size}"),
        format!("data.channels={channels}"),
    ]);
    let recipe = Recipe::from_sources(None, &settings)?;
    recipe.check()?;
    if recipe.device != DeviceChoice::Cpu {
        bail!("cannot measure `--device {}`: this command measures the CPU", recipe.device.name());
    }
    let threads = use_threads(recipe.threads)?;
    Ok((recipe, threads))
}

fn steps(args: &BenchModelArgs) -> anyhow::Result<usize> {
    let steps = args.steps.unwrap_or(if args.model == BackboneKind::Conv4 { 20 } else { 5 });
    if steps == 0 {
        bail!("cannot use `--steps 0`; give at least 1");
    }
    Ok(steps)
}

fn report(
    measured_what: &'static str,
    args: &BenchModelArgs,
    recipe: &Recipe,
    threads: usize,
    steps: usize,
    measured: &Measured,
) -> Report {
    let config = recipe.embedder_config();
    Report {
        format_version: 1,
        measured: measured_what,
        model: args.model.to_string(),
        batch: args.batch,
        size: config.size,
        channels: config.channels,
        threads,
        seed: recipe.seed,
        steps,
        median_seconds: measured.median,
        images_per_second: args.batch as f64 / measured.median,
        peak_bytes: measured.peak_bytes,
        page_faults_per_step: measured.pages.map(|pages| pages.faults as f64 / steps as f64),
        resident_growth_bytes: measured.pages.map(|pages| pages.resident),
        parameters: measured.parameters,
        first_loss: measured.losses.map(|[first, _]| first),
        last_loss: measured.losses.map(|[_, last]| last),
    }
}

fn print(report: &Report, format: Format, printer: &Printer) -> anyhow::Result<()> {
    let text = match format {
        Format::Json => serde_json::to_string_pretty(report)? + "\n",
        Format::Csv => csv(std::slice::from_ref(report))?,
        Format::Table => {
            let mut header = vec!["", "ms", "images/s", "peak MB", "parameters"];
            let mut row = vec![
                report.measured.to_owned(),
                format!("{:.2}", report.median_seconds * 1e3),
                format!("{:.1}", report.images_per_second),
                format!("{:.1}", report.peak_bytes as f64 / 1e6),
                report.parameters.to_string(),
            ];
            if let Some(faults) = report.page_faults_per_step {
                header.push("page faults");
                row.push(format!("{faults:.0}"));
            }
            if let (Some(first), Some(last)) = (report.first_loss, report.last_loss) {
                header.extend(["first loss", "last loss"]);
                row.extend([format!("{first:.6}"), format!("{last:.6}")]);
            }
            let header = header.into_iter().map(str::to_owned).collect();
            format!(
                "\n {} · {} images of {} x {} x {} · {} threads · median of {}\n\n{}\n",
                report.model,
                report.batch,
                report.channels,
                report.size,
                report.size,
                report.threads,
                report.steps,
                table::aligned(&[header, row])
            )
        }
    };
    Ok(printer.result(&text)?)
}
