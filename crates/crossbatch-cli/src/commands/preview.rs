//! `crossbatch data preview`

use anyhow::{Context, bail};
use crossbatch_data::{Corrupt, Images, Loader, LoaderConfig, Split, plan_epoch};
use crossbatch_train::{Observer, TrainingData, image_spec};

use super::{recipe, use_threads};
use crate::{
    args::{Common, DataPreviewArgs},
    printer::Printer,
    sheet::{Frame, Layout, SIDE, Tile},
    table, target,
};

pub(crate) fn run(
    args: &DataPreviewArgs,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<()> {
    target::check_png(&args.sheet)?;
    let settings = recipe::settings(&args.set, args.data.as_deref(), common)?;
    let recipe = recipe::read(args.recipe.as_deref(), &settings)?;
    use_threads(recipe.threads)?;
    let dataset = TrainingData::open(&recipe, printer)?;
    let spec = image_spec(&recipe, dataset.kind);
    let images = Images::unread(&dataset, &dataset.indices(Split::Train), spec)?;

    let batch = &recipe.batch;
    let (classes, each) = (batch.classes, batch.images);
    let labels = images.labels();
    let plan = plan_epoch(batch.sampler, &labels, classes, each, recipe.seed, args.epoch)?;
    let count = plan.batches.len();
    if args.batch >= count {
        bail!("cannot use `--batch {}`: an epoch has {count} batches, from 0", args.batch);
    }
    // Only this one is wanted, and a sheet with a replaced image is better than none.
    let config = LoaderConfig {
        corrupt: Corrupt::Skip,
        workers: 1,
        ..recipe.images.loader(recipe.seed, recipe.threads)
    };
    let loader = Loader::new(&images, config)?;
    let mut stream = loader.stream(args.epoch, plan.batches, args.batch);
    let made = stream.next().context("the plan has no such batch")??;
    drop(stream);
    for image in loader.skipped() {
        printer.warn(&format!("skipped {}: {}", image.name, image.reason));
    }

    let name = |row: usize| dataset.classes[made.labels[row * each] as usize].clone();
    let rows: Vec<Vec<String>> =
        (0..classes).map(|row| vec![format!("row {}", row + 1), name(row)]).collect();
    printer.result(&format!("\n{}\n", table::aligned(&rows)))?;
    let layout = Layout { rows: classes, columns: each, lead: false };
    layout.write(&args.sheet, printer, &|row, column| {
        let start = (row * each + column) * spec.len();
        let pixels = spec.thumbnail(&made.pixels[start..start + spec.len()], SIDE);
        Some(Tile { frame: Frame::Plain, pixels: Some(pixels) })
    })
}
