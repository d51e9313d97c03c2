//! `crossbatch eval`

mod compare;
mod extras;
mod groups;
mod measure;
mod post;
mod report;
mod subject;

use std::{path::Path, process::ExitCode, time::Instant};

use anyhow::bail;
use crossbatch_retrieval::Error;
use crossbatch_train::{Observer, RunFolder};

pub(crate) use self::post::Step;
use self::{
    measure::{Measured, bootstrap, measure},
    report::Report,
    subject::Subject,
};
use super::{stop_on_ctrl_c, use_threads};
use crate::{
    args::{Common, EvalArgs, Format},
    output::Output,
    printer::Printer,
    sheet::{Frame, Layout, SIDE, Tile},
    target,
};

pub(crate) fn run(args: &EvalArgs, common: &Common, printer: &Printer) -> anyhow::Result<ExitCode> {
    check(args)?;
    let threads = use_threads(threads(args, common)?)?;
    stop_on_ctrl_c(printer)?;
    let mut saved = None;
    match all(args, common, threads, printer, &mut saved) {
        Err(error) if matches!(error.downcast_ref(), Some(Error::Cancelled)) => {
            printer.always(&match saved {
                None => "stopped; nothing was written".to_owned(),
                Some(place) => format!("stopped; only the embeddings were written, to {place}"),
            });
            Ok(ExitCode::from(130))
        }
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}

/// Refuses before the work what cannot end well.
fn check(args: &EvalArgs) -> anyhow::Result<()> {
    if args.recall.contains(&0) {
        bail!("cannot use `--recall 0`; give numbers of at least 1");
    }
    let counts =
        [("--worst", args.worst), ("--confused", args.confused), ("--restarts", args.restarts)];
    for (option, count) in counts {
        if count == Some(0) {
            bail!("cannot use `{option} 0`; give a number of at least 1");
        }
    }
    let files = args.inputs.iter().filter(|path| subject::is_file(path)).chain(&args.embeddings);
    let files = files.chain(&args.labels).chain(&args.query_labels).chain(&args.gallery_labels);
    let sides = args.query.iter().chain(&args.gallery).filter(|_| args.embeddings.is_none());
    if let Some(path) = files.chain(sides).chain(&args.learn_from).find(|path| !path.exists()) {
        bail!("there is no file {}", path.display());
    }
    if args.learn_from.is_some() && !args.post.iter().any(|step| matches!(step, Step::Pca(_))) {
        bail!(
            "`--learn-from` is what `pca` and `whiten` learn from, and --post has neither; add one of them, or leave --learn-from out"
        );
    }
    let others = [args.worst.is_some(), args.confused.is_some()];
    let lists = groups::names(args).count() + others.iter().filter(|given| **given).count();
    if args.format == Format::Csv && lists > 1 {
        bail!(
            "a CSV is one table; ask for one of --per-class, --per, --worst and --confused, or for --format json"
        );
    }
    let subjects = args.inputs.len() + usize::from(args.embeddings.is_some());
    let one = [
        ("--sheet", args.sheet.is_some()),
        ("--save-embeddings", args.save_embeddings.is_some()),
        ("--per-class", args.per_class),
        ("--per", !args.per.is_empty()),
        ("--worst", args.worst.is_some()),
        ("--confused", args.confused.is_some()),
    ];
    if let Some((option, _)) = one.iter().find(|(_, given)| *given && subjects > 1) {
        bail!("`{option}` is of one run or file; give one, not {subjects}");
    }
    if let Some(sheet) = &args.sheet {
        target::check_png(sheet)?;
        if args.worst.is_none() {
            bail!("`--sheet` draws the worst queries; say how many with --worst N");
        }
    }
    let runs = args.inputs.iter().any(|path| !subject::is_file(path));
    let of_runs = [
        ("--data", args.data.is_some()),
        ("--set", !args.set.is_empty()),
        ("--weights", args.weights.is_some()),
        ("--sheet", args.sheet.is_some()),
    ];
    if let Some((option, _)) = of_runs.iter().find(|(_, given)| *given && !runs) {
        bail!("`{option}` is of a run; files of embeddings have no images and no network");
    }
    check_settings(args)?;
    if let Some(path) = &args.save_embeddings {
        Output::new(path)?;
    }
    Ok(())
}

/// Refuses settings that could change nothing of what is measured.
fn check_settings(args: &EvalArgs) -> anyhow::Result<()> {
    for setting in &args.set {
        let key = setting.split_once('=').map_or(&**setting, |(key, _)| key).trim();
        match key {
            "data.image-size" | "data.channels" | "data.invert" => bail!(
                "cannot use `--set {setting}`: the network sees images as it was trained on them; leave it out"
            ),
            "data.path" if args.data.is_some() => {
                bail!("cannot use `--set {setting}` and --data; give one of them")
            }
            _ if !key.starts_with("data.") => {
                bail!("cannot use `--set {setting}`: only keys of [data] may differ from the run's")
            }
            _ => {}
        }
    }
    Ok(())
}

/// The number asked for, else that of the first run's recipe, else all.
fn threads(args: &EvalArgs, common: &Common) -> anyhow::Result<usize> {
    match (common.threads, args.inputs.iter().find(|path| !subject::is_file(path))) {
        (Some(threads), None) => Ok(threads),
        (None, None) => Ok(0),
        (_, Some(run)) => Ok(RunFolder::open(run)?.recipe(&common.settings())?.threads),
    }
}

/// `saved` becomes the place of the embeddings once they are written.
fn all(
    args: &EvalArgs,
    common: &Common,
    threads: usize,
    printer: &Printer,
    saved: &mut Option<String>,
) -> anyhow::Result<()> {
    let stop = printer.stop_flag();
    let mut measured: Vec<(Subject, Measured, f64)> = Vec::new();
    for open in subject::all(args, common, printer) {
        let start = Instant::now();
        let mut subject = open()?;
        printer.note(&format!("measuring {}", report::description(&subject)?));
        if let Some(path) = &args.save_embeddings {
            let place = Output::new(path)?.write(&subject.queries)?;
            printer.note(&format!("embeddings in {place}"));
            *saved = Some(place);
        }
        let found = measure(&mut subject, args, common.seed, printer, &stop)?;
        let seconds = start.elapsed().as_secs_f64();
        printer.note(&format!("{seconds:.1} s, {threads} threads"));
        measured.push((subject, found, seconds));
    }
    let reports: Vec<Report<'_>> = measured
        .iter()
        .map(|(subject, measured, seconds)| Report { subject, measured, seconds: *seconds })
        .collect();
    let text = match &reports[..] {
        [report] => report.text(args)?,
        _ => compare::text(&reports, args, &bootstrap(common.seed), printer)?,
    };
    printer.result(&text)?;
    match (&args.sheet, &measured[..]) {
        (Some(path), [(subject, measured, _)]) => draw(path, subject, measured, printer),
        _ => Ok(()),
    }
}

/// A row a worst query: itself, then its nearest neighbours.
fn draw(
    path: &Path,
    subject: &Subject,
    measured: &Measured,
    printer: &Printer,
) -> anyhow::Result<()> {
    let Some(images) = &subject.images else {
        bail!("`--sheet` needs images; embeddings from a file have none: measure a run");
    };
    let worst = measured.worst.as_deref().unwrap_or_default();
    let longest = measured.neighbours.iter().map(Vec::len).max().unwrap_or(0);
    let layout = Layout { rows: worst.len(), columns: longest + 1, lead: true };
    let pixels = |samples: &[usize], row: u32| {
        crossbatch_data::decode_rgb(&images.dataset, samples[row as usize], SIDE).ok()
    };
    let gallery = images.gallery.as_ref().unwrap_or(&images.samples);
    layout.write(path, printer, &|row, column| {
        let query = worst[row].query;
        let Some(place) = column.checked_sub(1) else {
            return Some(Tile { frame: Frame::Query, pixels: pixels(&images.samples, query) });
        };
        let item = *measured.neighbours[row].get(place)?;
        let right = measured.query_codes[query as usize] == measured.gallery_codes[item as usize];
        let frame = if right { Frame::Right } else { Frame::Wrong };
        Some(Tile { frame, pixels: pixels(gallery, item) })
    })
}
