//! `crossbatch train`

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use crossbatch_train::{
    Observer, Outcome, Phase, Recipe, RunConfig, RunFolder, Summary, run as run_recipe,
};

use super::{recipe, stop_on_ctrl_c, use_threads};
use crate::{
    args::{Common, TrainArgs},
    printer::Printer,
    table,
};

/// What may change when a run is continued: nothing that shapes the network, its data or its past.
const RESUMABLE: [&str; 9] = [
    "steps",
    "threads",
    "evaluation.every",
    "train.checkpoint-every",
    "images.workers",
    "images.ahead",
    "images.cache-mib",
    "images.disk-cache-mib",
    "images.cache-dir",
];

pub(crate) fn run(
    args: &TrainArgs,
    common: &Common,
    printer: &Printer,
) -> anyhow::Result<ExitCode> {
    let mut settings = recipe::settings(&args.set, args.data.as_deref(), common)?;
    if let Some(weights) = &args.weights {
        settings.push(recipe::path_setting("model.weights", weights)?);
    }
    let (recipe, folder) = match &args.resume {
        Some(run) => (resumed(run, &settings)?, run.clone()),
        None => {
            let recipe = recipe::read(args.recipe.as_deref(), &settings)?;
            let folder = args.out.clone().unwrap_or_else(|| default_folder(&recipe));
            (recipe, folder)
        }
    };
    let threads = use_threads(recipe.threads)?;
    let own_images = recipe.data.path.is_some() || recipe.data.train_list.is_some();
    let config = RunConfig {
        recipe,
        folder: folder.clone(),
        resume: args.resume.is_some(),
        command: std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect(),
        threads,
    };
    stop_on_ctrl_c(printer)?;
    match run_recipe(config, printer)? {
        Outcome::Finished(summary) => {
            printer.result(&final_table(&summary))?;
            printer.note(&next_steps(&folder, own_images));
            Ok(ExitCode::SUCCESS)
        }
        Outcome::Stopped { phase, step } => {
            let network = match phase {
                Phase::Main => "",
                Phase::WithoutMemory => " of the comparison without memory",
            };
            printer.always(&format!(
                "stopped and saved at step {step}{network}; go on with\n  crossbatch train --resume {}",
                quoted(&folder)
            ));
            // As a shell knows a program that Ctrl-C ended, so that `train && eval` stops here.
            Ok(ExitCode::from(130))
        }
    }
}

fn resumed(run: &Path, settings: &[String]) -> anyhow::Result<Recipe> {
    for setting in settings {
        let key = setting.split('=').next().unwrap_or_default().trim();
        if !RESUMABLE.contains(&key) {
            let error = crossbatch_train::Error::FixedSetting {
                key: key.to_owned(),
                allowed: RESUMABLE.join(", "),
            };
            return Err(error.into());
        }
    }
    Ok(RunFolder::open(run)?.recipe(settings)?)
}

fn default_folder(recipe: &Recipe) -> PathBuf {
    let time = jiff::Timestamp::now().strftime("%Y%m%d-%H%M%S");
    let name = format!("{}-{time}", recipe.name);
    // Two runs may begin in the same second.
    let folder = |number: usize| match number {
        1 => Path::new("runs").join(&name),
        number => Path::new("runs").join(format!("{name}-{number}")),
    };
    (1..).map(folder).find(|folder| !folder.exists()).expect("some number is free")
}

fn final_table(summary: &Summary) -> String {
    let metrics = &summary.metrics;
    let with = match summary.memory_slots {
        0 => "trained".to_owned(),
        slots => format!("trained with memory of {slots}"),
    };
    let mut rows = Vec::new();
    rows.extend(metrics.raw.as_ref().map(|raw| ("raw pixels", raw)));
    rows.push(("untrained network", &metrics.untrained));
    rows.extend(metrics.without_memory.as_ref().map(|without| ("trained without memory", without)));
    rows.push((&with, &metrics.trained));
    let trained = &metrics.trained;
    let left_out = match trained.left_out {
        0 => String::new(),
        count => format!(" ({count} without a match left out)"),
    };
    format!(
        "\n {} · {} steps · {:.0} s of training\n {} queries on unseen classes{left_out}; per cent\n\n{}\n",
        summary.recipe,
        summary.steps,
        summary.train_seconds + summary.without_memory_train_seconds.unwrap_or(0.0),
        trained.queries,
        table::metrics(&rows),
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%,".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn next_steps(folder: &Path, own_images: bool) -> String {
    let folder = quoted(folder);
    let commands = if own_images {
        format!(
            "crossbatch search {folder} --gallery DIR --query IMG --sheet neighbours.png\n  \
             crossbatch embed {folder} IMAGES -o embeddings.safetensors"
        )
    } else {
        // Generated images are not on disk, so there is nothing yet to search in.
        "crossbatch data show glyphs --sheet glyphs.png    # look at the data\n  \
         crossbatch train --data DIR                       # train on your own images"
            .to_owned()
    };
    format!("everything is in {folder}; next, for example\n  {commands}")
}
