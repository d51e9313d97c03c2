//! `crossbatch data verify`

use std::process::ExitCode;

use anyhow::bail;
use crossbatch_data::{DataConfig, Problem, Verification, VerifyConfig, verify};
use crossbatch_train::{Observer, Recipe, data_config};
use serde::Serialize;

use super::use_threads;
use crate::{
    args::{Common, DataVerifyArgs, Format},
    printer::Printer,
    table,
};

/// The result as JSON.
#[derive(Serialize)]
struct Outcome<'a> {
    format_version: u32,
    path: String,
    lists_only: bool,
    sound: bool,
    #[serde(flatten)]
    found: &'a Verification,
}

pub(crate) fn run(
    args: &DataVerifyArgs,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    if args.format == Format::Csv {
        bail!("cannot use `--format csv`; give table or json");
    }
    let settings: Vec<String> = common.settings().into_iter().chain(args.set.clone()).collect();
    let recipe = Recipe::from_sources(None, &settings)?;
    use_threads(recipe.threads)?;
    let data = DataConfig {
        path: Some(args.path.clone()),
        kind: args.kind.or(recipe.data.kind),
        images: !args.lists_only,
        ..data_config(&recipe)
    };
    let progress = |done, total| {
        if printer.stop() {
            // Nothing has been written.
            std::process::exit(130);
        }
        printer.progress("reading images", done, total);
    };
    let found = verify(&VerifyConfig { data }, &progress)?;
    let sound = found.is_sound();
    printer.result(&match args.format {
        Format::Json => {
            let outcome = Outcome {
                format_version: 1,
                path: args.path.display().to_string(),
                lists_only: args.lists_only,
                sound,
                found: &found,
            };
            serde_json::to_string_pretty(&outcome)? + "\n"
        }
        _ => text(&found, args),
    })?;
    // The answer is no.
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn text(found: &Verification, args: &DataVerifyArgs) -> String {
    let header = ["", "classes", "images", "fewest a class", "median", "most"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for part in &found.parts {
        let name = match part.role {
            crossbatch_data::Role::Both => part.split.to_string(),
            role => role.to_string(),
        };
        let numbers = [part.classes, part.images, part.fewest, part.median, part.most];
        rows.push([name].into_iter().chain(numbers.map(|number| number.to_string())).collect());
    }
    let mut text = format!("\n {}\n\n{}\n", found.description, table::aligned(&rows));
    type IsOne = fn(&Problem) -> bool;
    let sorts: [(&str, IsOne); 3] = [
        ("faults in lists and archives", |one| matches!(one, Problem::Fault(_))),
        ("missing images", |one| matches!(one, Problem::Missing(_))),
        ("corrupt images", |one| matches!(one, Problem::Corrupt(_))),
    ];
    for (name, is_one) in sorts {
        let of_sort: Vec<&Problem> = found.problems.iter().filter(|one| is_one(one)).collect();
        if of_sort.is_empty() {
            continue;
        }
        text.push_str(&format!(" {} {name}\n", of_sort.len()));
        for problem in of_sort.iter().take(args.show) {
            text.push_str(&format!("   {}\n", problem.message()));
        }
        if of_sort.len() > args.show {
            text.push_str(&format!("   … and {} more\n", of_sort.len() - args.show));
        }
    }
    for note in &found.notes {
        text.push_str(&format!(" note: {note}\n"));
    }
    let read = match (args.lists_only, found.images_read) {
        (true, _) => "lists and annotations checked, images not looked for".to_owned(),
        (false, read) => format!("lists and annotations checked, {read} images decoded"),
    };
    let verdict = match (found.faults, found.missing, found.corrupt) {
        (0, 0, 0) => "sound".to_owned(),
        (faults, missing, corrupt) => {
            format!("{faults} faults, {missing} missing, {corrupt} corrupt")
        }
    };
    text.push_str(&format!(" {verdict} · {read}\n"));
    text
}
