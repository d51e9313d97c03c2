//! `crossbatch plan`

use std::process::ExitCode;

use crossbatch_train::{Forecast, Observer, Recipe, available_bytes, forecast};
use serde::Serialize;
use serde_json::{Map, Value};

use super::recipe;
use crate::{
    args::{Common, Format, PlanArgs},
    printer::Printer,
    table::{self, Align},
};

/// The result as JSON.
#[derive(Serialize)]
struct Outcome<'a> {
    format_version: u32,
    recipe: &'a str,
    /// Whether the bytes in all are free on this machine, as far as it says.
    fits: bool,
    available_bytes: Option<u64>,
    #[serde(flatten)]
    forecast: &'a Forecast,
}

pub(crate) fn run(args: &PlanArgs, common: &Common, printer: &Printer) -> anyhow::Result<ExitCode> {
    let settings = recipe::settings(&args.set, args.data.as_deref(), common)?;
    let recipe = recipe::read(args.recipe.as_deref(), &settings)?;
    let forecast = forecast(&recipe, printer)?;
    let total = forecast.bytes.total;
    let available_bytes = available_bytes();
    let fits = available_bytes.is_none_or(|available| total <= available);
    let outcome = Outcome {
        format_version: 1,
        recipe: &recipe.name,
        fits,
        available_bytes,
        forecast: &forecast,
    };
    let text = match args.format {
        Format::Table => text_table(&recipe, &forecast),
        Format::Json => serde_json::to_string_pretty(&outcome)? + "\n",
        Format::Csv => csv(&outcome)?,
    };
    printer.result(&text)?;
    if fits {
        return Ok(ExitCode::SUCCESS);
    }
    printer.warn(&format!(
        "this run does not fit: it takes about {}, and {} are free on this machine; make the batch, the images or the memory smaller",
        size(total),
        size(available_bytes.unwrap_or_default())
    ));
    // The answer is no.
    Ok(ExitCode::FAILURE)
}

fn text_table(recipe: &Recipe, forecast: &Forecast) -> String {
    let Forecast { bytes, flops, batch, steps_per_epoch, .. } = forecast;
    let [channels, height, width] = forecast.input;
    let epochs = recipe.steps as f64 / *steps_per_epoch as f64;
    let mut rows = vec![
        ("parameters", forecast.parameters.to_string()),
        ("memory", memory(recipe, forecast)),
        ("", String::new()),
        (
            "epoch",
            format!("{steps_per_epoch} steps; {} steps are {epochs:.1} epochs", recipe.steps),
        ),
        (
            "negatives of an anchor",
            against(forecast.batch_negatives, forecast.memory_negatives, forecast.slots),
        ),
        (
            "positives of an anchor",
            against(forecast.batch_positives, forecast.memory_positives, forecast.slots),
        ),
    ];
    if forecast.slots > 0 {
        rows.push((
            "oldest entry",
            forecast.oldest_age.map_or("any age".to_owned(), |age| format!("{age} steps at most")),
        ));
    }
    rows.extend([
        ("", String::new()),
        ("arithmetic of a step", format!("{} FLOP", short(flops.total))),
        ("  network forward", short(flops.forward)),
        ("  network backward", short(flops.backward)),
        ("  pairs of the batch", short(flops.batch_pairs)),
        ("  pairs with the memory", format!("{} at most", short(flops.memory_pairs))),
        ("", String::new()),
        ("bytes", format!("{} in all, an estimate", size(bytes.total))),
        ("  weights and gradients", size(bytes.weights + bytes.gradients)),
        ("  optimiser", size(bytes.optimizer)),
        ("  memory", size(bytes.memory)),
        ("  decoded images", size(bytes.images)),
        ("  a batch of images", size(bytes.batch)),
        ("  batches read ahead", size(bytes.loader)),
        (
            "  activations",
            format!("{}, estimated from the layers' shapes", size(bytes.activations)),
        ),
    ]);
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    let both = if recipe.compare_without_memory && forecast.slots > 0 {
        " · trained twice, without the memory first"
    } else {
        ""
    };
    format!(
        "\n {} · {} of {channels} x {height} x {width} to {}-d · {} x {} = {batch} images a batch{both}\n {}\n\n{}\n",
        recipe.name,
        recipe.model.backbone,
        forecast.embedding,
        recipe.batch.classes,
        recipe.batch.images,
        forecast.data,
        table::columns(&rows, &[Align::Left, Align::Left])
    )
}

fn memory(recipe: &Recipe, forecast: &Forecast) -> String {
    if forecast.slots == 0 {
        return "off".to_owned();
    }
    let share = forecast.slots as f64 / forecast.training_images as f64 * 100.0;
    format!(
        "{} slots, {share:.0} % of {} training images, from step {} on",
        forecast.slots,
        forecast.training_images,
        recipe.memory.start + 1
    )
}

/// How many of something an anchor meets.
fn against(batch: f64, memory: f64, slots: usize) -> String {
    match slots {
        0 => format!("{batch:.0} in the batch"),
        _ => format!("{batch:.0} in the batch, {memory:.1} in the full memory (expected)"),
    }
}

/// `12345678` as `12.3 M`.
fn short(count: u64) -> String {
    let count = count as f64;
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let unit = units.into_iter().find(|(factor, _)| count >= *factor);
    unit.map_or_else(
        || format!("{count}"),
        |(factor, name)| format!("{:.2} {name}", count / factor),
    )
}

/// Bytes in the largest unit that they fill.
fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >> shift > 0);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(shift, name)| format!("{:.1} {name}", bytes as f64 / (1u64 << shift) as f64),
    )
}

/// The JSON's keys as a header, those of its tables joined by dots, and its values as a row.
fn csv(outcome: &Outcome<'_>) -> anyhow::Result<String> {
    let fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(outcome)?)?;
    let (mut header, mut row) = (Vec::new(), Vec::new());
    for (key, value) in fields {
        match value {
            Value::Object(inner) => {
                for (name, value) in inner {
                    header.push(format!("{key}.{name}"));
                    row.push(value.to_string());
                }
            }
            Value::Array(sizes) => {
                header.push(key);
                row.push(sizes.iter().map(Value::to_string).collect::<Vec<_>>().join("x"));
            }
            value => {
                header.push(key);
                row.push(value.as_str().map_or_else(|| value.to_string(), str::to_owned));
            }
        }
    }
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(header)?;
    writer.write_record(row)?;
    Ok(String::from_utf8(writer.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!([short(999), short(12_345), short(2_500_000)], ["999", "12.35 k", "2.50 M"]);
        assert_eq!([size(1023), size(1536), size(3 << 30)], ["1023 B", "1.5 KiB", "3.0 GiB"]);
        assert_eq!(against(60.0, 54_936.2, 0), "60 in the batch");
    }
}
