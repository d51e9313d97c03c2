//! `crossbatch search` of vectors in files.

use std::{borrow::Cow, path::Path, process::ExitCode};

use anyhow::bail;
use crossbatch_retrieval::{
    Embeddings, Error, FileFormat, Ignore, Neighbours, Options, Similarity, nearest,
    nearest_sources,
};
use crossbatch_train::Observer;

use super::say_how_good;
use crate::{
    answers::{Answer, Answers, Neighbour},
    args::{Common, SearchArgs, SimilarityArg},
    commands::{stop_on_ctrl_c, use_threads},
    images::identity,
    memory::{self, Budget, Rows},
    printer::Printer,
};

pub(super) fn run(
    args: &SearchArgs,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let query = one("--query", &args.query)?;
    let gallery = one("--gallery", &args.gallery)?;
    use_threads(common.threads.unwrap_or(0))?;
    stop_on_ctrl_c(printer)?;
    match search(args, query, gallery, printer) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => {
            printer.always("stopped; nothing was written");
            Ok(ExitCode::from(130))
        }
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}

/// The one file of embeddings that an option names.
fn one<'a>(option: &str, paths: &'a [std::path::PathBuf]) -> anyhow::Result<&'a Path> {
    match paths {
        [path] if FileFormat::of(path).is_some() && !path.is_dir() => Ok(path),
        [path] => bail!(
            "`{option} {}` is no file of embeddings; to search images, name a run first: crossbatch search RUN …",
            path.display()
        ),
        _ => bail!(
            "`{option}` takes one file of embeddings where no run is named, not {}",
            paths.len()
        ),
    }
}

fn search(
    args: &SearchArgs,
    query: &Path,
    gallery: &Path,
    printer: &Printer,
) -> anyhow::Result<()> {
    let within = query.exists() && identity(query) == identity(gallery);
    let files = if within { vec![gallery] } else { vec![query, gallery] };
    let budget = Budget::new(args.memory_budget);
    let streams = budget.streams(&files, printer);
    let read = |path| printer.interruptible(|| Rows::read(path, streams));
    let mut gallery = read(gallery)?;
    let mut query = if within { None } else { Some(read(query)?) };

    let asked = query.as_ref().unwrap_or(&gallery);
    let similarity = SimilarityArg::or_of(args.similarity, &asked.known);
    let queries = asked.known.len();
    let streams = gallery.file.is_some() || asked.file.is_some();
    let rows =
        memory::held(&gallery.known) + query.as_ref().map_or(0, |rows| memory::held(&rows.known));
    // Indices and similarities of all queries, names for one at a time.
    let k = args.top.min(gallery.known.len());
    let held = rows
        .saturating_add(queries.saturating_mul(k).saturating_mul(8))
        .saturating_add(k.saturating_mul(size_of::<Neighbour<'_>>()));
    let stop = printer.stop_flag();
    let progress = |done, total| printer.progress("searching", done, total);
    let options = Options::default().with_cancel(&stop).with_progress(&progress);
    let options = budget.limit(options, held, streams)?;
    let ignore = if within { Ignore::same_index() } else { Ignore::nothing() };
    let found = if streams {
        let asked = query.as_ref().unwrap_or(&gallery);
        nearest_sources(asked.source(), gallery.source(), similarity, args.top, &ignore, &options)
    } else {
        let rows = gallery.known.take_vectors(similarity)?;
        let asked = query.as_mut().map(|rows| rows.known.take_vectors(similarity)).transpose()?;
        nearest(asked.as_ref().unwrap_or(&rows), &rows, args.top, &ignore, &options)
    };
    let found = found.map_err(|error| memory::explained(error, held))?;
    if within {
        printer.note("query and gallery are one file; a row is no neighbour of itself");
    }
    if found.k < args.top {
        printer.note(&format!(
            "fewer than {} neighbours: the gallery has {} rows",
            args.top,
            gallery.known.len()
        ));
    }
    let asked = query.as_ref().unwrap_or(&gallery);
    let answers = answers(&found, &asked.known, &gallery.known, similarity);
    printer.interruptible(|| printer.write(|out| answers.write(args.format, out)))?;
    say_how_good(&answers, printer);
    Ok(())
}

/// Names and labels of what was found.
fn answers<'a>(
    found: &'a Neighbours,
    queries: &'a Embeddings,
    gallery: &'a Embeddings,
    similarity: Similarity,
) -> Answers<'a> {
    // Both are cosines; equal rows can lie a rounding above 1.
    let shown = move |value: f32| match similarity {
        Similarity::Cosine => value.clamp(-1.0, 1.0),
        Similarity::Dot | Similarity::Euclidean => value,
    };
    let answer = move |query: usize| {
        let (indices, similarities) = found.row(query);
        let neighbours = indices.iter().zip(similarities).map(|(&index, &value)| {
            let index = index as usize;
            let (name, label) = known(gallery, index);
            Neighbour { name, label, similarity: shown(value), index }
        });
        let (name, label) = known(queries, query);
        Answer { name, label, neighbours: neighbours.collect() }
    };
    Answers { what: "row", count: queries.len(), answer: Box::new(answer) }
}

/// Name and label of a row; where rows have no names, its number from zero.
fn known(rows: &Embeddings, row: usize) -> (Cow<'_, str>, Option<&str>) {
    let name = match rows.names() {
        Some(names) => Cow::Borrowed(names[row].as_str()),
        None => Cow::Owned(row.to_string()),
    };
    (name, rows.labels().map(|labels| labels.value(row)))
}
