//! One file a command.

mod bench;
mod data;
mod embed;
pub(crate) mod eval;
mod export;
pub(crate) mod losses;
mod models;
mod plan;
mod preview;
mod recipe;
mod search;
mod train;
mod verify;
mod weights;

use std::{path::Path, process::ExitCode, sync::atomic::Ordering};

use anyhow::{Context, bail};
use crossbatch_train::{Recipe, Report, RunFolder, TrainedModel};

use crate::{
    args::{Args, BenchCommand, Command, Common, DataCommand, Weights, WeightsCommand},
    printer::Printer,
};

pub(crate) fn run(args: Args, printer: &Printer) -> anyhow::Result<ExitCode> {
    let common = &args.common;
    match &args.command {
        Command::Train(args) => return train::run(args, common, printer),
        Command::Plan(args) => return plan::run(args, common, printer),
        Command::Eval(args) => return eval::run(args, common, printer),
        Command::Search(args) => return search::run(args, common, printer),
        Command::Data(DataCommand::Verify(args)) => return verify::run(args, common, printer),
        Command::Embed(args) => embed::run(args, common, printer),
        Command::Data(DataCommand::List(args)) => data::list(args, common, printer),
        Command::Data(DataCommand::Show(args)) => data::show(args, common, printer),
        Command::Data(DataCommand::Preview(args)) => preview::run(args, common, printer),
        Command::Losses(args) => losses::run(args, printer),
        Command::Models(args) => models::run(args, printer),
        Command::Weights(WeightsCommand::List(args)) => weights::list(args, printer),
        Command::Weights(WeightsCommand::Fetch(args)) => weights::fetch(args, printer),
        Command::Export(args) => export::run(args, common, printer),
        Command::Bench(bench) => match &bench.command {
            None => bench::overview::run(bench.format, common, printer),
            Some(BenchCommand::Memory(args)) => bench::memory(args, common, printer),
            Some(BenchCommand::Step(args)) => bench::model::step(args, common, printer),
            Some(BenchCommand::Infer(args)) => bench::model::infer(args, common, printer),
        },
    }?;
    Ok(ExitCode::SUCCESS)
}

impl Common {
    /// `--seed`, `--threads` and `--device` as settings of a recipe.
    fn settings(&self) -> Vec<String> {
        let seed = self.seed.map(|seed| format!("seed={seed}"));
        let threads = self.threads.map(|threads| format!("threads={threads}"));
        let device = self.device.as_ref().map(|device| format!("device=\"{device}\""));
        seed.into_iter().chain(threads).chain(device).collect()
    }
}

/// Sets the number of threads that everything computes with, 0 for every core; returns it.
fn use_threads(threads: usize) -> anyhow::Result<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if threads > 16 * cores {
        bail!(
            "cannot use `threads = {threads}` on {cores} cores; give a smaller number, or 0 for all"
        );
    }
    let threads = if threads == 0 { cores } else { threads };
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .with_context(|| format!("cannot start {threads} threads"))?;
    Ok(threads)
}

/// Lets Ctrl-C ask for a stop where nothing is half done; a second one ends the program at once, as does the first in a
/// step that is interruptible.
fn stop_on_ctrl_c(printer: &Printer) -> anyhow::Result<()> {
    let (stop, at_once) = (printer.stop_flag(), printer.at_once_flag());
    ctrlc::set_handler(move || {
        if stop.swap(true, Ordering::SeqCst) || at_once.load(Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .context("cannot listen for Ctrl-C")
}

/// The weights asked for, else those that the recipe reports.
fn report(weights: Option<Weights>, recipe: &Recipe) -> Report {
    match weights {
        None => recipe.train.report,
        Some(Weights::Last) => Report::Last,
        Some(Weights::Best) => Report::Best,
    }
}

/// A run's recipe under the common options and its network; sets the threads and returns their number.
fn open_model(
    run: &Path,
    weights: Option<Weights>,
    common: &Common,
) -> anyhow::Result<(Recipe, TrainedModel, usize)> {
    let folder = RunFolder::open(run)?;
    let recipe = folder.recipe(&common.settings())?;
    let threads = use_threads(recipe.threads)?;
    let model = folder.model(report(weights, &recipe))?;
    Ok((recipe, model, threads))
}
