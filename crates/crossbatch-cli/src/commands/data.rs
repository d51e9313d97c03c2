//! `crossbatch data list` and `crossbatch data show`

use std::path::Path;

use anyhow::{Context, bail};
use crossbatch_data::{Dataset, Kind, Split, decode_rgb};
use crossbatch_train::{Observer, Recipe, Silent, TrainingData};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::use_threads;
use crate::{
    args::{Common, DataListArgs, DataShowArgs, Format},
    census::{Census, classes, spread},
    printer::Printer,
    sheet::{Frame, Layout, SIDE, Tile},
    table::{self, Align},
    target,
};

/// A data set as `data list` shows it.
#[derive(Serialize)]
struct Entry {
    name: String,
    kind: Kind,
    description: String,
    train: Option<Census>,
    test: Option<Census>,
    warnings: Vec<String>,
}

pub(crate) fn list(args: &DataListArgs, common: &Common, printer: &Printer) -> anyhow::Result<()> {
    let mut entries = vec![entry(Path::new("glyphs"), common)?];
    let mut failed = 0;
    for path in &args.paths {
        match entry(path, common) {
            Ok(entry) => entries.push(entry),
            Err(error) if args.paths.len() == 1 => return Err(error),
            // The others are still worth listing.
            Err(error) => {
                printer.warn(&format!("{error:#}"));
                failed += 1;
            }
        }
    }
    let warned = |entry: &&Entry| !entry.warnings.is_empty();
    for entry in entries.iter().filter(warned) {
        printer.note(&format!(
            "{}: {} warning(s); `crossbatch data show` prints them",
            entry.name,
            entry.warnings.len()
        ));
    }
    printer.result(&match args.format {
        Format::Table => list_table(&entries),
        Format::Json => list_json(&entries)?,
        Format::Csv => list_csv(&entries)?,
    })?;
    match failed {
        0 => Ok(()),
        failed => {
            bail!("{failed} of {} paths hold no data set; see the warnings", args.paths.len())
        }
    }
}

pub(crate) fn show(args: &DataShowArgs, common: &Common, printer: &Printer) -> anyhow::Result<()> {
    for (option, value) in [("--classes", args.classes), ("--images", args.images)] {
        if value == 0 {
            bail!("cannot use `{option} 0`; give at least 1");
        }
    }
    if let Some(sheet) = &args.sheet {
        target::check_png(sheet)?;
    }
    use_threads(recipe(common)?.threads)?;
    let dataset = open(&args.name, common)?;
    for warning in &dataset.warnings {
        printer.warn(warning);
    }
    printer.result(&show_table(&dataset))?;
    match &args.sheet {
        Some(path) => draw(path, &dataset, args, printer),
        None => Ok(()),
    }
}

/// The recipe that `crossbatch train` would use: its glyphs are the ones to show.
fn recipe(common: &Common) -> anyhow::Result<Recipe> {
    Ok(Recipe::from_sources(Some((Recipe::BUILT_IN, "built-in recipe")), &common.settings())?)
}

fn open(name: &Path, common: &Common) -> anyhow::Result<Dataset> {
    let mut recipe = recipe(common)?;
    // Which training classes are held out is a matter of recipes, not of data.
    recipe.data.validation = 0.0;
    recipe.data.folds = 0;
    if name != Path::new("glyphs") {
        recipe.data.kind = None;
        recipe.data.path = Some(name.to_owned());
        if !name.exists() {
            bail!(
                "there is no data set {}; give `glyphs`, which is built in, or the path of a folder or list (`crossbatch data list` says what they look like)",
                name.display()
            );
        }
    }
    // Silent: this command prints description and warnings itself.
    Ok(TrainingData::open(&recipe, &Silent)?)
}

fn entry(name: &Path, common: &Common) -> anyhow::Result<Entry> {
    let dataset = open(name, common)?;
    Ok(Entry {
        name: name.display().to_string(),
        kind: dataset.kind,
        train: Census::of(&dataset, Split::Train),
        test: Census::of(&dataset, Split::Test),
        description: dataset.description,
        warnings: dataset.warnings,
    })
}

/// Classes and images of the training and the test half.
fn counts(entry: &Entry) -> [usize; 4] {
    let count = |census: &Option<Census>| census.as_ref().map_or((0, 0), |c| (c.classes, c.images));
    let ((train_classes, train_images), (test_classes, test_images)) =
        (count(&entry.train), count(&entry.test));
    [train_classes, train_images, test_classes, test_images]
}

fn list_table(entries: &[Entry]) -> String {
    let kinds = Kind::ALL.map(|kind| vec![kind.to_string(), kind.layout().to_owned()]);
    let header = ["", "kind", "classes to train on", "images", "to test on", "images"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for entry in entries {
        let mut row = vec![entry.name.clone(), entry.kind.to_string()];
        row.extend(counts(entry).map(|count| count.to_string()));
        rows.push(row);
    }
    let left = [Align::Left, Align::Left];
    format!("\n{}\n{}\n", table::columns(&kinds, &left), table::columns(&rows, &left))
}

fn list_json(entries: &[Entry]) -> anyhow::Result<String> {
    let kinds: Map<String, Value> =
        Kind::ALL.into_iter().map(|kind| (kind.to_string(), kind.layout().into())).collect();
    let value = json!({ "format_version": 1, "kinds": kinds, "data": entries });
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn list_csv(entries: &[Entry]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let header = ["name", "kind", "train_classes", "train_images", "test_classes", "test_images"];
    writer.write_record(header)?;
    for entry in entries {
        let counts = counts(entry).map(|count| count.to_string());
        writer.write_record([entry.name.clone(), entry.kind.to_string()].iter().chain(&counts))?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

fn show_table(dataset: &Dataset) -> String {
    let header = ["", "classes", "images", "fewest a class", "median", "most"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for split in Split::ALL {
        if let Some(census) = Census::of(dataset, split) {
            let Census { classes, images, fewest, median, most } = census;
            let numbers = [classes, images, fewest, median, most].map(|number| number.to_string());
            rows.push([vec![split.to_string()], numbers.to_vec()].concat());
        }
    }
    format!("\n {}\n\n{}\n", dataset.description, table::aligned(&rows))
}

/// A row a class, spread evenly over the test classes; without any, over the training classes.
fn draw(
    path: &Path,
    dataset: &Dataset,
    args: &DataShowArgs,
    printer: &Printer,
) -> anyhow::Result<()> {
    let order = [Split::Test, Split::Train, Split::Validation];
    let of_split = |split| (split, classes(dataset, split));
    let found = order.into_iter().map(of_split).find(|(_, classes)| !classes.is_empty());
    let (split, classes) = found.context("the data set has no class")?;
    let rows: Vec<Vec<&usize>> = spread(&classes, args.classes)
        .into_iter()
        .map(|(_, images)| spread(images, args.images))
        .collect();
    printer.note(&format!("on the sheet: {} of {} {split} classes", rows.len(), classes.len()));
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let layout = Layout { rows: rows.len(), columns, lead: false };
    layout.write(path, printer, &|row, column| {
        let &&index = rows[row].get(column)?;
        let pixels = decode_rgb(dataset, index, SIDE);
        if let Err(error) = &pixels {
            printer.warn(&error.to_string());
        }
        Some(Tile { frame: Frame::Plain, pixels: pixels.ok() })
    })
}
