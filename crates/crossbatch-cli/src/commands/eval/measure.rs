//! From vectors and labels to numbers.

use std::{sync::atomic::AtomicBool, time::Instant};

use anyhow::bail;
use crossbatch_retrieval::{
    Bootstrap, Column, Confusion, Error, HardQuery, Ignore, Interval, Metric, MetricsConfig,
    Neighbours, Options, Relation, Scores, Units, Vectors, confusions, measure_sources, nearest,
    nearest_sources, worst_queries,
};
use crossbatch_train::{Metrics, Observer};

use super::{
    extras::{self, Extra, Sides},
    groups::{self, Groups},
    post,
    subject::Subject,
};
use crate::{
    args::EvalArgs,
    memory::{self, Budget},
    printer::Printer,
};

/// Neighbours of a worst query that a sheet shows.
const SHOWN: usize = 10;

/// What was measured of one subject.
pub(super) struct Measured {
    pub(super) scores: Scores,
    pub(super) intervals: Option<Vec<Interval>>,
    /// Of the median rank.
    pub(super) median: Option<Interval>,
    pub(super) groups: Vec<Groups>,
    /// Label of each query, by the numbering that it shares with the gallery.
    pub(super) query_codes: Vec<u32>,
    pub(super) gallery_codes: Vec<u32>,
    pub(super) worst: Option<Vec<HardQuery>>,
    /// The nearest gallery items of each worst query, for a sheet.
    pub(super) neighbours: Vec<Vec<u32>>,
    pub(super) confused: Option<Vec<Confusion>>,
    pub(super) extras: Vec<Extra>,
    /// Of ranking and measuring, without reading and embedding.
    pub(super) seconds: f64,
}

/// How intervals are drawn.
pub(super) fn bootstrap(seed: Option<u64>) -> Bootstrap {
    Bootstrap { seed: seed.unwrap_or(0), ..Bootstrap::default() }
}

/// Measures a subject; its vectors are used up, labels, names and columns stay.
pub(super) fn measure(
    subject: &mut Subject,
    args: &EvalArgs,
    seed: Option<u64>,
    printer: &Printer,
    stop: &AtomicBool,
) -> anyhow::Result<Measured> {
    subject.labels()?;
    for name in groups::names(args) {
        subject.of_queries(name)?;
    }
    post::check(&args.post, subject.gallery.is_none())?;
    // With each metric of each query.
    let held = 200 * subject.queries.len()
        + memory::held(&subject.queries)
        + subject.gallery.as_ref().map_or(0, memory::held);
    let found = measure_within(subject, args, seed, printer, stop, held);
    found.map_err(|error| match error.downcast::<Error>() {
        Ok(error) => memory::explained(error, held),
        Err(error) => error,
    })
}

/// The same, beside `held` bytes.
fn measure_within(
    subject: &mut Subject,
    args: &EvalArgs,
    seed: Option<u64>,
    printer: &Printer,
    stop: &AtomicBool,
    held: usize,
) -> anyhow::Result<Measured> {
    let start = Instant::now();
    let labels = subject.column("label")?;
    let rules = rules(subject, args)?;
    let within = subject.gallery.is_none();
    let silent = Options::default().with_cancel(stop);
    let silent = Budget::new(args.memory_budget).limit(silent, held, subject.streams())?;
    let progress = |done, total| printer.progress("measuring", done, total);
    let config = MetricsConfig { recall_at: Metrics::cuts(&args.recall) };
    if subject.streams() {
        let [queries, gallery] = subject.sources();
        let ignore = ignore(within, &rules);
        let relation = Relation::new(&labels[0], &labels[1]).ignoring(ignore.clone());
        let options = silent.with_progress(&progress);
        let (similarity, metrics) = (subject.similarity, config.metrics());
        let scores = measure_sources(queries, gallery, similarity, &relation, &metrics, &options)?;
        let seconds = start.elapsed().as_secs_f64();
        let first = || {
            shown(printer, "nearest neighbours", &silent, |options| {
                nearest_sources(queries, gallery, subject.similarity, 1, &ignore, options)
            })
        };
        let confused = confused(args, first, &labels)?;
        let (intervals, median) = intervals(args, &scores, &labels[0], seed)?;
        let groups = groups::measure(subject, args, &scores)?;
        let [query_codes, gallery_codes] = labels;
        return Ok(Measured {
            scores,
            intervals,
            median,
            groups,
            query_codes,
            gallery_codes,
            worst: None,
            neighbours: Vec::new(),
            confused,
            extras: Vec::new(),
            seconds,
        });
    }
    let similarity = subject.similarity;
    let sides = post::Sides {
        queries: subject.queries.take_vectors(similarity)?,
        gallery: match &mut subject.gallery {
            Some(gallery) => Some(gallery.take_vectors(similarity)?),
            None => None,
        },
    };
    let ignore = ignore(within, &rules);
    let relation = Relation::new(&labels[0], &labels[1]).ignoring(ignore.clone());
    let before = sides.bytes();
    let sides = shown(printer, "post-processing", &silent, |options| {
        sides.apply(&args.post, args.learn_from.as_deref(), &ignore, options)
    })?;
    let silent = silent.less(sides.bytes().saturating_sub(before))?;
    let options = silent.with_progress(&progress);
    let (queries, gallery) = (&sides.queries, sides.gallery());
    let keep_ranks = args.worst.is_some();
    let (scores, ranking) =
        sides.scores(&args.post, &relation, &config.metrics(), keep_ranks, &options)?;
    let seconds = start.elapsed().as_secs_f64();

    let (intervals, median) = intervals(args, &scores, &labels[0], seed)?;
    let groups = groups::measure(subject, args, &scores)?;
    let worst = args.worst.zip(ranking.as_ref()).map(|(count, ranking)| {
        shown(printer, "worst queries", &silent, |options| {
            worst_queries(queries, gallery, &relation, ranking, count, options)
        })
    });
    let worst = worst.transpose()?;
    // What comes next has its memory.
    drop(ranking);
    let neighbours = match (&args.sheet, &worst) {
        (Some(_), Some(worst)) => neighbours(queries, gallery, within, worst, &rules, &silent)?,
        _ => Vec::new(),
    };
    let first = || {
        shown(printer, "nearest neighbours", &silent, |options| {
            nearest(queries, gallery, 1, &ignore, options)
        })
    };
    let confused = confused(args, first, &labels)?;
    // Expanded queries have the rows that they were as their gallery, also where a set searches itself.
    let both = Sides { queries, gallery: sides.gallery.as_ref(), relation: &relation };
    let extras = extras::measure(&both, args, seed.unwrap_or(0), &silent, printer)?;
    let [query_codes, gallery_codes] = labels;
    Ok(Measured {
        scores,
        intervals,
        median,
        groups,
        query_codes,
        gallery_codes,
        worst,
        neighbours,
        confused,
        extras,
        seconds,
    })
}

/// Does a step, and shows under its name how far it is.
pub(super) fn shown<R>(
    printer: &Printer,
    name: &str,
    options: &Options<'_>,
    step: impl FnOnce(&Options<'_>) -> R,
) -> R {
    let progress = |done, total| printer.progress(name, done, total);
    let found = step(&options.with_progress(&progress));
    printer.progress(name, 1, 1);
    found
}

/// The intervals of the means and of the median rank, where they are asked for.
fn intervals(
    args: &EvalArgs,
    scores: &Scores,
    labels: &[u32],
    seed: Option<u64>,
) -> Result<(Option<Vec<Interval>>, Option<Interval>), Error> {
    if !args.ci {
        return Ok((None, None));
    }
    let (units, bootstrap) = (Units::Classes(labels), bootstrap(seed));
    let median = scores.median_interval(Metric::MeanRank, units, &bootstrap)?;
    Ok((Some(scores.intervals(units, &bootstrap)?), median))
}

/// The classes taken for others most often by the `first` neighbours, where they are asked for.
fn confused(
    args: &EvalArgs,
    first: impl Fn() -> Result<Neighbours, Error>,
    labels: &[Vec<u32>; 2],
) -> Result<Option<Vec<Confusion>>, Error> {
    let Some(count) = args.confused else { return Ok(None) };
    let mut found = confusions(&first()?, &labels[0], &labels[1])?;
    found.truncate(count);
    Ok(Some(found))
}

/// A rule: columns that must all agree for an item to be left out.
type Rule = Vec<[Vec<u32>; 2]>;

/// The rules of `--ignore-same`.
fn rules(subject: &Subject, args: &EvalArgs) -> anyhow::Result<Vec<Rule>> {
    let rule = |text: &String| {
        let names = text.split(',').map(str::trim);
        let rule: Rule = names.map(|name| subject.column(name)).collect::<Result<_, _>>()?;
        if text.trim() == "label" {
            bail!("`--ignore-same label` leaves out every match; add a column, as in label,camera");
        }
        Ok(rule)
    };
    args.ignore_same.iter().map(rule).collect()
}

fn ignore<'a>(within: bool, rules: &'a [Rule]) -> Ignore<'a> {
    let none = if within { Ignore::same_index() } else { Ignore::nothing() };
    rules.iter().fold(none, |ignore, rule| {
        let columns: Vec<Column<'_>> =
            rule.iter().map(|[queries, gallery]| Column::new(queries, gallery)).collect();
        ignore.same(&columns)
    })
}

/// What the worst queries find first, by the same rules.
fn neighbours(
    queries: &Vectors,
    gallery: &Vectors,
    within: bool,
    worst: &[HardQuery],
    rules: &[Rule],
    options: &Options<'_>,
) -> anyhow::Result<Vec<Vec<u32>>> {
    let rows: Vec<u32> = worst.iter().map(|hard| hard.query).collect();
    let few = |values: &[u32]| rows.iter().map(|&row| values[row as usize]).collect::<Vec<u32>>();
    let mut rules: Vec<Rule> = rules
        .iter()
        .map(|rule| rule.iter().map(|[own, gallery]| [few(own), gallery.clone()]).collect())
        .collect();
    if within {
        // A row among others is told by its number, no longer by its place.
        rules.push(vec![[rows.clone(), (0..gallery.len() as u32).collect()]]);
    }
    let ignore = ignore(false, &rules);
    let found = nearest(&queries.select(&rows), gallery, SHOWN, &ignore, options)?;
    Ok((0..rows.len()).map(|row| found.row(row).0.to_vec()).collect())
}
