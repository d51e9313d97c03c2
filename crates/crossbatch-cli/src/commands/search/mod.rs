//! `crossbatch search`

mod files;

use std::{collections::HashMap, path::Path, process::ExitCode};

use anyhow::bail;
use crossbatch_retrieval::{Exclude, Similarity, Vectors, search};
use crossbatch_train::Observer;

use super::open_model;
use crate::{
    answers::{Answer, Answers, Neighbour},
    args::{Common, SearchArgs},
    embedding::{Embedded, embed_items},
    images::{gather, identity},
    printer::Printer,
    sheet::{Frame, Layout, SIDE, Tile},
    target,
};

pub(crate) fn run(
    args: &SearchArgs,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if args.top == 0 {
        bail!("cannot use `--top 0`; give the number of neighbours to show, at least 1");
    }
    match &args.run {
        Some(run) => images(run, args, common, printer).map(|()| ExitCode::SUCCESS),
        None => files::run(args, common, printer),
    }
}

/// Searches by a run's network.
fn images(run: &Path, args: &SearchArgs, common: &Common, printer: &Printer) -> anyhow::Result<()> {
    if let Some(sheet) = &args.sheet {
        target::check_png(sheet)?;
    }
    let (recipe, model, _) = open_model(run, args.weights, common)?;
    let kind = recipe.data.kind;
    let (gallery, queries) = (gather(&args.gallery, kind)?, gather(&args.query, kind)?);
    let embed = |items, what| embed_items(&model, items, what, common.verbose, printer);
    // Queries first: they are few, and a mistake there shows before the gallery's minutes.
    let mut queries = embed(queries, "query images")?;
    let mut gallery = embed(gallery, "gallery images")?;
    let unit = |side: &mut Embedded| {
        Vectors::new(std::mem::take(&mut side.rows), side.dim, Similarity::Cosine)
    };
    let rows = [unit(&mut queries)?, unit(&mut gallery)?];
    let answers = nearest(&rows, &queries, &gallery, args.top, printer)?;

    printer.write(|out| answers.write(args.format, out))?;
    if let Some(path) = &args.sheet {
        draw(path, &answers, &queries, &gallery, printer)?;
    }
    match queries.unreadable {
        0 => Ok(()),
        unreadable => bail!(
            "{unreadable} of {} query images could not be read; the other answers stand",
            unreadable + queries.items.len()
        ),
    }
}

/// Searches the gallery for each query, which is never its own neighbour. `rows` are the embeddings of
/// both.
fn nearest<'a>(
    rows: &[Vectors; 2],
    queries: &'a Embedded,
    gallery: &'a Embedded,
    top: usize,
    printer: &Printer,
) -> anyhow::Result<Answers<'a>> {
    let selves = selves(queries, gallery);
    let hidden = selves.iter().filter(|own| !own.is_empty()).count();
    let most_hidden = selves.iter().map(Vec::len).max().unwrap_or(0);

    // As many more as may have to be taken out again.
    let k = top.saturating_add(most_hidden);
    let progress = |done, total| printer.progress("searching", done, total);
    let found = search(&rows[0], &rows[1], k, Exclude::Nothing, &progress)?;
    let answer = move |place: usize| {
        let (query, own) = (&queries.items[place], &selves[place]);
        let (indices, similarities) = found.row(place);
        let neighbours = indices.iter().map(|&index| index as usize).zip(similarities);
        let neighbours = neighbours.filter(|(index, _)| !own.contains(index)).take(top);
        // An image of the gallery is called there what its neighbours are called.
        let label = own.iter().find_map(|&index| gallery.items[index].label.as_deref());
        Answer {
            name: (&query.name).into(),
            label: label.or(query.label.as_deref()),
            neighbours: neighbours
                .map(|(index, &similarity)| Neighbour {
                    name: (&gallery.items[index].name).into(),
                    label: gallery.items[index].label.as_deref(),
                    similarity: similarity.clamp(-1.0, 1.0),
                    index,
                })
                .collect(),
        }
    };
    let answers = Answers { what: "image", count: queries.items.len(), answer: Box::new(answer) };

    if hidden > 0 {
        printer.note(&format!(
            "{hidden} of {} queries are in the gallery; an image is no neighbour of itself",
            queries.items.len()
        ));
    }
    let fewest = answers.iter().map(|answer| answer.neighbours.len()).min().unwrap_or(0);
    if fewest < top {
        printer.note(&format!(
            "fewer than {top} neighbours: the gallery has {} images",
            gallery.items.len()
        ));
    }
    say_how_good(&answers, printer);
    Ok(answers)
}

/// For each query the gallery images that are the same file.
fn selves(queries: &Embedded, gallery: &Embedded) -> Vec<Vec<usize>> {
    let mut places: HashMap<_, Vec<usize>> = HashMap::new();
    for (index, item) in gallery.items.iter().enumerate() {
        places.entry(identity(&item.listed.path)).or_default().push(index);
    }
    let own = |path: &Path| places.get(&identity(path)).cloned().unwrap_or_default();
    queries.items.iter().map(|item| own(&item.listed.path)).collect()
}

/// How often the nearest neighbour is of the query's class.
fn say_how_good(answers: &Answers<'_>, printer: &Printer) {
    let firsts = answers
        .iter()
        .filter_map(|answer| answer.is_right(answer.neighbours.first()?))
        .collect::<Vec<_>>();
    if !firsts.is_empty() {
        let right = firsts.iter().filter(|&&right| right).count();
        printer.note(&format!(
            "{right} of {} nearest neighbours have the query's label",
            firsts.len()
        ));
    }
}

/// A row a query: itself, then its neighbours.
fn draw(
    path: &Path,
    answers: &Answers<'_>,
    queries: &Embedded,
    gallery: &Embedded,
    printer: &Printer,
) -> anyhow::Result<()> {
    let answers: Vec<Answer<'_>> = answers.iter().collect();
    let longest = answers.iter().map(|answer| answer.neighbours.len()).max().unwrap_or(0);
    let layout = Layout { rows: answers.len(), columns: longest + 1, lead: true };
    layout.write(path, printer, &|row, column| {
        let answer = &answers[row];
        let Some(place) = column.checked_sub(1) else {
            let pixels = queries.items[row].listed.decode_rgb(SIDE).ok();
            return Some(Tile { frame: Frame::Query, pixels });
        };
        let neighbour = answer.neighbours.get(place)?;
        let frame = match answer.is_right(neighbour) {
            Some(true) => Frame::Right,
            Some(false) => Frame::Wrong,
            None => Frame::Plain,
        };
        let pixels = gallery.items[neighbour.index].listed.decode_rgb(SIDE).ok();
        Some(Tile { frame, pixels })
    })
}
