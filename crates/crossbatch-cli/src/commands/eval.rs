//! `crossbatch eval`

use std::time::Instant;

use anyhow::bail;
use crossbatch_data::Split;
use crossbatch_train::{
    LoadedSplit, Metrics, Observer, Recipe, Report, TrainingData, evaluate_model,
};
use serde::Serialize;
use serde_json::{Map, Value};

use super::open_model;
use crate::{
    args::{Common, EvalArgs, Format},
    images::identity,
    printer::Printer,
    table,
};

/// The result as JSON: the metrics, flat, and two more keys.
#[derive(Serialize)]
struct Outcome {
    format_version: u32,
    #[serde(flatten)]
    metrics: Map<String, Value>,
    /// Of reading, embedding and measuring.
    seconds: f64,
}

pub(crate) fn run(args: &EvalArgs, common: &Common, printer: &Printer) -> anyhow::Result<()> {
    if args.recall.contains(&0) {
        bail!("cannot use `--recall 0`; give numbers of at least 1");
    }
    let (mut recipe, model, threads) = open_model(&args.run, args.weights, common)?;
    use_data(&mut recipe, args);
    // Classes held out of training don't matter here, and other data may have too few to hold out.
    recipe.data.validation = 0.0;
    let mut recall = recipe.evaluation.recall.clone();
    recall.extend(&args.recall);

    let start = Instant::now();
    let dataset = TrainingData::open(&recipe, printer)?;
    let test =
        LoadedSplit::load(&dataset, Split::Test, model.spec, recipe.data.cache_mib, printer)?;
    let batch = recipe.evaluation.batch;
    let progress = |done, total| printer.progress("embedding test images", done, total);
    let metrics = evaluate_model(&model.embedder, &test, batch, &recall, &progress)?;
    let seconds = start.elapsed().as_secs_f64();
    printer.note(&format!("{seconds:.1} s, {threads} threads"));

    let weights = match super::report(args.weights, &recipe) {
        Report::Last => "last weights",
        Report::Best => "best weights",
    };
    let text = match args.format {
        Format::Table => {
            let title = format!(
                "{} test · {} images · {} classes · {}-d · cosine",
                dataset.kind,
                test.images.len(),
                test.classes,
                recipe.model.embedding_size
            );
            text_table(&title, weights, &metrics)
        }
        Format::Json => serde_json::to_string_pretty(&outcome(&metrics, seconds)?)? + "\n",
        Format::Csv => csv(&outcome(&metrics, seconds)?)?,
    };
    Ok(printer.result(&text)?)
}

/// Lets the recipe read `--data` instead of its own data, unless that is what it reads anyway.
fn use_data(recipe: &mut Recipe, args: &EvalArgs) {
    let Some(path) = &args.data else { return };
    let same = recipe.data.path.as_ref().is_some_and(|own| identity(own) == identity(path));
    if !same {
        recipe.data.kind = None;
        recipe.data.train_list = None;
        recipe.data.test_list = None;
    }
    recipe.data.path = Some(path.clone());
}

fn outcome(metrics: &Metrics, seconds: f64) -> anyhow::Result<Outcome> {
    let metrics = serde_json::from_value(serde_json::to_value(metrics)?)?;
    Ok(Outcome { format_version: 1, metrics, seconds })
}

fn text_table(title: &str, weights: &str, metrics: &Metrics) -> String {
    let left_out = match metrics.left_out {
        0 => String::new(),
        count => format!(" · {count} without a match left out"),
    };
    format!(
        "\n {title}\n {} queries{left_out}; per cent\n\n{}\n",
        metrics.queries,
        table::metrics(&[(weights, metrics)])
    )
}

/// The JSON's keys as a header, its values as a row.
fn csv(outcome: &Outcome) -> anyhow::Result<String> {
    let fields: Map<String, Value> = serde_json::from_value(serde_json::to_value(outcome)?)?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(fields.keys())?;
    writer.write_record(fields.values().map(Value::to_string))?;
    Ok(String::from_utf8(writer.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_has_the_keys_of_the_json() {
        let metrics = Metrics {
            recall_at: vec![(1, 0.5), (10, 0.75), (100, 1.0)],
            map_at_r: 0.25,
            r_precision: 0.3,
            mean_average_precision: 0.4,
            queries: 8,
            left_out: 1,
        };
        let text = csv(&outcome(&metrics, 1.5).unwrap()).unwrap();
        assert_eq!(
            text,
            "format_version,recall_at_1,recall_at_10,recall_at_100,map_at_r,r_precision,mean_average_precision,queries,left_out,seconds\n\
             1,0.5,0.75,1.0,0.25,0.3,0.4,8,1,1.5\n"
        );
        assert!(text_table("x test", "last weights", &metrics).contains("8 queries · 1 without"));
    }
}
