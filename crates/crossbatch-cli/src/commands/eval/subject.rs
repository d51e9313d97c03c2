//! What is measured: vectors with labels, from a run's network or from files.

use std::path::Path;

use anyhow::bail;
use crossbatch_data::{Dataset, Expected, Split};
use crossbatch_retrieval::protocol::one_gallery_row;
use crossbatch_retrieval::{Embeddings, FileFormat, FileRows, Labels, RowSource, Similarity};
use crossbatch_train::{
    LoadedSplit, Observer, Recipe, Report, RunFolder, Search, TrainingData, embed,
};

use crate::{
    args::{Common, EvalArgs, SimilarityArg},
    commands::report,
    images::identity,
    memory::{Budget, Rows},
    printer::Printer,
};

/// Queries and their gallery, with labels.
pub(super) struct Subject {
    /// What it is called beside others.
    pub(super) name: String,
    /// What its row in a table of its own is called.
    pub(super) row: String,
    /// Where the vectors come from.
    pub(super) title: String,
    pub(super) queries: Embeddings,
    /// `None` where the queries search each other.
    pub(super) gallery: Option<Embeddings>,
    /// The vectors of queries and gallery that stay in their files.
    pub(super) files: [Option<FileRows>; 2],
    pub(super) similarity: Similarity,
    pub(super) images: Option<RunImages>,
}

/// The images of a run's rows.
pub(super) struct RunImages {
    pub(super) dataset: Dataset,
    /// Index into the data set of each query.
    pub(super) samples: Vec<usize>,
    /// The same of the gallery, where it is not the queries.
    pub(super) gallery: Option<Vec<usize>>,
}

impl Subject {
    pub(super) fn labels(&self) -> anyhow::Result<&Labels> {
        labels(&self.queries)
    }

    /// Whether vectors stay in their files.
    pub(super) fn streams(&self) -> bool {
        self.files.iter().any(Option::is_some)
    }

    /// The vectors of queries and gallery as they are stored.
    pub(super) fn sources(&self) -> [&dyn RowSource; 2] {
        fn side<'a>(file: &'a Option<FileRows>, rows: &'a Embeddings) -> &'a dyn RowSource {
            match file {
                Some(file) => file,
                None => rows,
            }
        }
        let queries = side(&self.files[0], &self.queries);
        [queries, self.gallery.as_ref().map_or(queries, |rows| side(&self.files[1], rows))]
    }

    /// The gallery, which may be the queries themselves.
    pub(super) fn gallery(&self) -> &Embeddings {
        self.gallery.as_ref().unwrap_or(&self.queries)
    }

    /// A column of the queries.
    pub(super) fn of_queries(&self, name: &str) -> anyhow::Result<&Labels> {
        column(&self.queries, name)
    }

    /// The value of each query and each gallery item in a column, under one numbering.
    pub(super) fn column(&self, name: &str) -> anyhow::Result<[Vec<u32>; 2]> {
        let of = |side| column(side, name);
        Ok(Labels::shared_codes(of(&self.queries)?, of(self.gallery())?))
    }
}

/// The labels of some rows, each of which must have one.
fn labels(rows: &Embeddings) -> anyhow::Result<&Labels> {
    let origin = origin(rows);
    let Some(labels) = rows.labels() else {
        let others: Vec<&str> = rows.columns().collect();
        let others = match others[..] {
            [] => String::new(),
            _ => format!(", or --label-column with one of its columns ({})", others.join(", ")),
        };
        bail!("{origin} has no labels; give --labels FILE{others}");
    };
    match labels.values().position(str::is_empty) {
        Some(row) => {
            bail!("{} in {origin} has no label; give it one, or leave it out", rows.name(row))
        }
        None => Ok(labels),
    }
}

fn origin(rows: &Embeddings) -> String {
    rows.origin().map_or_else(|| "the run".to_owned(), |(path, _)| path.display().to_string())
}

/// A column by its name; `label` is one.
fn column<'a>(rows: &'a Embeddings, name: &str) -> anyhow::Result<&'a Labels> {
    if ["label", "labels"].contains(&name) {
        return labels(rows);
    }
    rows.column(name).ok_or_else(|| {
        let columns: Vec<&str> = ["label"].into_iter().chain(rows.columns()).collect();
        anyhow::anyhow!("{} has no column `{name}`; it has {}", origin(rows), columns.join(", "))
    })
}

/// Opens one subject.
pub(super) type Open<'a> = Box<dyn Fn() -> anyhow::Result<Subject> + 'a>;

/// Whether a path is of a file of embeddings; runs are folders.
pub(super) fn is_file(path: &Path) -> bool {
    path.is_file() || FileFormat::of(path).is_some() && !path.is_dir()
}

/// All that is to be measured, in the order typed. Each is opened when its turn comes.
pub(super) fn all<'a>(
    args: &'a EvalArgs,
    common: &'a Common,
    printer: &'a Printer,
) -> Vec<Open<'a>> {
    let mut subjects: Vec<Open<'a>> = Vec::new();
    if let (Some(query), Some(gallery), None) = (&args.query, &args.gallery, &args.embeddings) {
        subjects.push(Box::new(move || {
            printer.interruptible(|| two_files(args, query, gallery, printer))
        }));
    }
    if let Some(path) = &args.embeddings {
        subjects.push(Box::new(move || printer.interruptible(|| one_file(args, path, printer))));
    }
    for path in &args.inputs {
        subjects.push(Box::new(move || {
            if is_file(path) {
                printer.interruptible(|| one_file(args, path, printer))
            } else {
                run(args, path, common, printer)
            }
        }));
    }
    subjects
}

/// A file whose rows search each other, or whose queries and gallery a column tells apart.
fn one_file(args: &EvalArgs, path: &Path, printer: &Printer) -> anyhow::Result<Subject> {
    let streams = streams(&[path], args, printer)?;
    let Rows { known: rows, file } = read(path, args.labels.as_deref(), streams, args)?;
    if file.is_some() && args.query.is_some() {
        bail!("{}", whole("--query COLUMN=VALUE"));
    }
    let (queries, gallery) = match (&args.query, &args.gallery) {
        (Some(query), Some(gallery)) => {
            let [asked, searched] = [part(&rows, query)?, part(&rows, gallery)?];
            // The same rows on both sides are a set that searches itself, each without itself.
            let gallery = (asked != searched).then(|| rows.select(&searched));
            // What is ignored for its columns is always ignored for itself.
            let both = asked.iter().filter(|row| searched.binary_search(row).is_ok()).count();
            if gallery.is_some() && both > 0 && args.ignore_same.is_empty() {
                bail!(
                    "{both} rows are in the queries and in the gallery, where each would find itself; choose values that no row shares, or leave rows out with --ignore-same COLUMN, such as a column of names"
                );
            }
            (rows.select(&asked), gallery)
        }
        _ => (rows, None),
    };
    subject(path, queries, gallery, [file, None], args)
}

fn two_files(
    args: &EvalArgs,
    query: &Path,
    gallery: &Path,
    printer: &Printer,
) -> anyhow::Result<Subject> {
    let same = |a: &Path, b: &Path| {
        a == b
            || matches!((fs_err::canonicalize(a), fs_err::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
    };
    if same(query, gallery) {
        // A set that searches itself, each row without itself.
        if args.query_labels != args.gallery_labels {
            bail!(
                "{} is both the queries and the gallery, with different labels; give the same to --query-labels and --gallery-labels",
                query.display()
            );
        }
        let streams = streams(&[query], args, printer)?;
        let rows = read(query, args.query_labels.as_deref(), streams, args)?;
        return subject(query, rows.known, None, [rows.file, None], args);
    }
    let streams = streams(&[query, gallery], args, printer)?;
    let queries = read(query, args.query_labels.as_deref(), streams, args)?;
    let gallery = read(gallery, args.gallery_labels.as_deref(), streams, args)?;
    let files = [queries.file, gallery.file];
    subject(query, queries.known, Some(gallery.known), files, args)
}

/// Whether vectors stay in these files; an error where what was asked for needs them in memory.
fn streams(files: &[&Path], args: &EvalArgs, printer: &Printer) -> anyhow::Result<bool> {
    let in_place = |path: &&&Path| {
        matches!(FileFormat::of(path), Some(FileFormat::Safetensors | FileFormat::Npy))
    };
    if !files.iter().any(|path| in_place(&path))
        || !Budget::new(args.memory_budget).streams(files, printer)
    {
        return Ok(false);
    }
    let asked = [
        ("--post", !args.post.is_empty()),
        ("--worst", args.worst.is_some()),
        ("--cluster", args.cluster),
        ("--verification", args.verification),
        ("--health", args.health),
        ("--save-embeddings", args.save_embeddings.is_some()),
    ];
    match asked.iter().find(|(_, given)| *given) {
        Some((option, _)) => bail!("{}", whole(option)),
        None => Ok(true),
    }
}

fn whole(option: &str) -> String {
    format!(
        "`{option}` needs all vectors in memory, where they do not fit; leave it out, or give a larger --memory-budget"
    )
}

fn subject(
    path: &Path,
    queries: Embeddings,
    gallery: Option<Embeddings>,
    files: [Option<FileRows>; 2],
    args: &EvalArgs,
) -> anyhow::Result<Subject> {
    let similarity = SimilarityArg::or_of(args.similarity, &queries);
    let name = path.display().to_string();
    let title = match &gallery {
        None => format!("{name} · {} vectors", queries.len()),
        Some(gallery) => {
            format!("{name} · {} queries, {} in the gallery", queries.len(), gallery.len())
        }
    };
    Ok(Subject {
        row: "embeddings".to_owned(),
        name,
        title,
        queries,
        gallery,
        files,
        similarity,
        images: None,
    })
}

fn read(
    path: &Path,
    labels: Option<&Path>,
    streams: bool,
    args: &EvalArgs,
) -> anyhow::Result<Rows> {
    let Rows { known: mut rows, file } = Rows::read(path, streams)?;
    if let Some(file) = labels {
        let labels = Labels::read(file)?;
        if labels.len() != rows.len() {
            bail!(
                "{} has {} labels and {} has {} vectors; give one label a vector, in the same order",
                file.display(),
                labels.len(),
                path.display(),
                rows.len()
            );
        }
        rows = rows.with_labels(labels)?;
    }
    if let Some(name) = &args.label_column {
        let labels = column(&rows, name)?.clone();
        rows = rows.with_labels(labels)?;
    }
    Ok(Rows { known: rows, file })
}

/// The rows that `COLUMN=VALUE` names, in order.
fn part(rows: &Embeddings, rule: &Path) -> anyhow::Result<Vec<u32>> {
    let rule = rule.to_string_lossy();
    let Some((name, value)) = rule.split_once('=') else {
        bail!(
            "cannot use `{rule}` with --embeddings; give a column and a value of it, such as `split=query`"
        );
    };
    let values = column(rows, name)?;
    let chosen = values.values().zip(0u32..).filter(|(own, _)| *own == value);
    let chosen: Vec<u32> = chosen.map(|(_, row)| row).collect();
    if chosen.is_empty() {
        let mut known: Vec<&str> = values.distinct().iter().map(String::as_str).take(8).collect();
        known.sort_unstable();
        bail!("no row of {} has `{rule}`; `{name}` is {} …", origin(rows), known.join(", "));
    }
    Ok(chosen)
}

/// The test images of a run, embedded by its network.
fn run(
    args: &EvalArgs,
    path: &Path,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<Subject> {
    let folder = RunFolder::open(path)?;
    let mut recipe = use_data(folder.recipe(&common.settings())?, args)?;
    if let Some(similarity) = args.similarity.filter(|&asked| asked != SimilarityArg::Cosine) {
        printer.warn(&format!(
            "the network's embeddings have length 1: {similarity:?} ranks them as cosine does"
        ));
    }
    let model = folder.model(report(args.weights, &recipe))?;
    // Classes held out of training don't matter here, and other data may have too few to hold out.
    recipe.data.validation = 0.0;
    recipe.data.folds = 0;
    recipe.data.fold = 0;
    let dataset = TrainingData::open(&recipe, printer)?;
    let test =
        LoadedSplit::load(&dataset, Split::Test, model.spec, recipe.data.cache_mib, printer)?;
    let progress = |done, total| {
        if printer.stop() {
            // Nothing has been written, and nothing is being written.
            std::process::exit(130);
        }
        printer.progress("embedding test images", done, total);
    };
    let rows = embed(&model.embedder, &test.images, recipe.evaluation.batch, &progress)?;
    let dim = recipe.model.embedding_size;
    let samples = test.images.sample_indices().to_vec();
    let names = samples.iter().map(|&index| dataset.samples[index].name.clone()).collect();
    let labels = samples.iter().map(|&index| {
        let class = dataset.samples[index].class;
        &dataset.classes[class as usize]
    });
    let weights = match report(args.weights, &recipe) {
        Report::Last => "last weights",
        Report::Best => "best weights",
    };
    let mut all = Embeddings::new(rows, dim)?
        .with_labels(Labels::from_text(labels))?
        .with_names(names)?
        .with_metadata("similarity", "cosine")
        .with_metadata("model", &path.display().to_string())
        .with_metadata("weights", weights);
    for column in &dataset.columns {
        let values = samples.iter().map(|&index| &column.values[column.codes[index] as usize]);
        all = all.with_column(&column.name, Labels::from_text(values))?;
    }
    let chosen = |rows: &[u32]| rows.iter().map(|&row| samples[row as usize]).collect();
    let parts = match &test.search {
        Search::All => None,
        Search::QueryGallery { queries, gallery } => Some((queries.clone(), gallery.clone(), "")),
        Search::OneGallery { seed } => {
            let draw = one_gallery_row(&test.labels, 1, *seed).swap_remove(0);
            Some((draw.queries, draw.gallery, ", one draw of it"))
        }
    };
    let kind = dataset.kind;
    let (title, queries, gallery, images) = match parts {
        None => {
            let title = format!("{kind} test · {} images", test.images.len());
            (title, all, None, RunImages { dataset, samples, gallery: None })
        }
        Some((queries, gallery, draw)) => {
            let (asked, kept) = (queries.len(), gallery.len());
            let title = format!("{kind} test · {asked} queries, {kept} in the gallery{draw}");
            let images =
                RunImages { dataset, samples: chosen(&queries), gallery: Some(chosen(&gallery)) };
            (title, all.select(&queries), Some(all.select(&gallery)), images)
        }
    };
    Ok(Subject {
        name: path.display().to_string(),
        row: weights.to_owned(),
        title,
        queries,
        gallery,
        files: [None, None],
        similarity: Similarity::Cosine,
        images: Some(images),
    })
}

/// The recipe with `--data` instead of its own data, unless that is what it reads anyway, and with the settings.
fn use_data(mut recipe: Recipe, args: &EvalArgs) -> anyhow::Result<Recipe> {
    if let Some(path) = &args.data {
        let same = recipe.data.path.as_ref().is_some_and(|own| identity(own) == identity(path));
        if !same {
            // What is said of the run's own data does not hold of others.
            recipe.data.kind = None;
            recipe.data.train_list = None;
            recipe.data.test_list = None;
            recipe.data.protocol = None;
            recipe.data.expected = Expected::default();
        }
    }
    let mut recipe =
        Recipe::from_sources(Some((&recipe.to_toml(), "the run's recipe")), &args.set)?;
    if let Some(path) = &args.data {
        recipe.data.path = Some(path.clone());
    }
    Ok(recipe)
}
