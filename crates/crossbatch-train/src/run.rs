//! The whole of `crossbatch train`.

use std::path::PathBuf;

use crossbatch_data::EpochPlan;
use crossbatch_models::Embedder;

use crate::{
    checkpoint,
    data::{LoadedSplit, TrainingData, image_spec},
    error::Error,
    events::{Evaluation, Observer, Phase},
    extract::{evaluate_model, evaluate_raw},
    folder::RunFolder,
    recipe::{FORMAT_VERSION, Recipe, Report},
    sinks::{Record, Sinks},
    summary::{MetricSet, Metrics, Summary},
    trainer::{Trainer, available_bytes, initial_embedder},
    write_atomically,
};

/// What [`run`] is asked to do.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The recipe; for a continued run its settings.
    pub recipe: Recipe,
    /// The run folder.
    pub folder: PathBuf,
    /// Continue the run in that folder.
    pub resume: bool,
    /// The command line, for the record.
    pub command: Vec<String>,
    /// Threads in use, for the record.
    pub threads: usize,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Everything is done and written.
    Finished(Box<Summary>),
    /// It was asked to stop; everything up to this step is saved.
    Stopped {
        /// The network that was being trained.
        phase: Phase,
        /// Its steps done.
        step: u64,
    },
}

/// Measures raw pixels and the untrained network, trains, measures, and writes the run folder.
///
/// # Errors
///
/// See [`Error`]. What was written before stays readable.
pub fn run(config: RunConfig, observer: &dyn Observer) -> Result<Outcome, Error> {
    let mut recipe = config.recipe;
    let existing = if config.resume { Some(RunFolder::open(&config.folder)?) } else { None };
    // A folder in use is refused before minutes are spent on reading images.
    if existing.is_none() {
        RunFolder::check_free(&config.folder)?;
    }
    // So is a device that is not there.
    recipe.device.open()?;

    let data = TrainingData::load(&recipe, observer)?;
    let spec = image_spec(&recipe, data.dataset.kind);
    recipe.data.kind = Some(data.dataset.kind);
    recipe.data.channels = Some(spec.channels);
    recipe.data.invert = Some(spec.invert);
    make_absolute(&mut recipe)?;
    // Fails early, before anything is measured or written.
    let trainer = Trainer::new(&recipe, &data.train)?;
    let slots = trainer.slots();
    warn_of(trainer.plan(), slots, &recipe, observer);
    drop(trainer);

    let folder = match existing {
        Some(folder) => {
            check_resumable(&folder, &recipe, &data.train)?;
            folder.write_recipe(&recipe)?;
            folder
        }
        None => RunFolder::create(&config.folder, &recipe)?,
    };
    observer.note(&format!("run folder: {}", folder.path().display()));
    record_command(&folder, &recipe, &config.command, config.threads)?;

    let run = Run { recipe: &recipe, data: &data, folder: &folder, observer };
    let raw = run.raw_pixels()?;
    let (untrained, report) = initial_embedder(&recipe, &recipe.device.open()?)?;
    if let Some(report) = report {
        observer.note(&format!("weights: {report}"));
    }
    let untrained = run.measure(&untrained, &data.test, "measuring the untrained network")?;

    let mut without_memory = None;
    if recipe.compare_without_memory && recipe.memory.size.is_on() {
        let plain = recipe.without_memory();
        match (Run { recipe: &plain, ..run }).train(Phase::WithoutMemory)? {
            Trained::Finished { metrics, seconds } => without_memory = Some((metrics, seconds)),
            Trained::Stopped { step } => {
                return Ok(Outcome::Stopped { phase: Phase::WithoutMemory, step });
            }
        }
    }
    let (trained, train_seconds) = match run.train(Phase::Main)? {
        Trained::Finished { metrics, seconds } => (metrics, seconds),
        Trained::Stopped { step } => return Ok(Outcome::Stopped { phase: Phase::Main, step }),
    };

    let (without_memory, without_memory_train_seconds) = without_memory.unzip();
    let summary = Summary {
        format_version: FORMAT_VERSION,
        recipe: recipe.name.clone(),
        data: data.dataset.description.clone(),
        report: recipe.train.report,
        metrics: MetricSet { raw, untrained, without_memory, trained },
        steps: recipe.steps,
        memory_slots: slots,
        train_seconds,
        without_memory_train_seconds,
        seed: recipe.seed,
        device: recipe.device.name().to_owned(),
        threads: config.threads,
        crossbatch: env!("CARGO_PKG_VERSION").to_owned(),
    };
    folder.write_summary(&summary)?;
    Ok(Outcome::Finished(Box::new(summary)))
}

/// What a user should know before minutes are spent.
pub(crate) fn warn_of(plan: &EpochPlan, slots: usize, recipe: &Recipe, observer: &dyn Observer) {
    let (refilled, single) = (plan.refilled_classes, plan.single_classes);
    let images = recipe.batch.images;
    if refilled > 0 {
        observer.warn(&format!(
            "{refilled} training classes have fewer than `batch.images = {images}` images; theirs repeat within a batch"
        ));
    }
    if single > 0 {
        observer.warn(&format!(
            "{single} training classes have a single image; a batch takes it {images} times, so that its only positives are itself"
        ));
    }
    if slots > 0 && recipe.memory.start >= recipe.steps {
        observer.warn(&format!(
            "the memory is never used: `memory.start = {}`, but there are only {} steps",
            recipe.memory.start, recipe.steps
        ));
    }
}

/// A run can be used from any folder.
fn make_absolute(recipe: &mut Recipe) -> Result<(), Error> {
    let paths = [
        &mut recipe.data.path,
        &mut recipe.data.train_list,
        &mut recipe.data.test_list,
        &mut recipe.model.weights,
        &mut recipe.images.cache_dir,
    ];
    for path in paths.into_iter().flatten() {
        let absolute = std::path::absolute(&path)?;
        // A recipe is text; below a folder whose name is none, the path stays as it was written.
        if absolute.to_str().is_some() {
            *path = absolute;
        }
    }
    Ok(())
}

/// Refuses to continue a run with fewer steps than it has done, or on other images.
fn check_resumable(folder: &RunFolder, recipe: &Recipe, data: &LoadedSplit) -> Result<(), Error> {
    for phase in [Phase::WithoutMemory, Phase::Main] {
        let Some(position) = checkpoint::position(&folder.phase(phase))? else { continue };
        if position.step > recipe.steps {
            return Err(Error::FewerSteps { steps: recipe.steps, done: position.step });
        }
        if position.data != data.fingerprint {
            return Err(Error::DataChanged);
        }
    }
    Ok(())
}

/// Adds this command to `command.json`: a run that is continued keeps its first.
fn record_command(
    folder: &RunFolder,
    recipe: &Recipe,
    command: &[String],
    threads: usize,
) -> Result<(), Error> {
    let path = folder.path().join("command.json");
    let old: serde_json::Value = match fs_err::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_default(),
        Err(_) => serde_json::Value::Null,
    };
    let mut commands = old["commands"].as_array().cloned().unwrap_or_default();
    commands.push(serde_json::json!({
        "command": command,
        "crossbatch": env!("CARGO_PKG_VERSION"),
        "device": recipe.device,
        "threads": threads,
    }));
    let text = serde_json::json!({ "format_version": FORMAT_VERSION, "commands": commands });
    Ok(write_atomically(&path, format!("{text:#}\n").as_bytes())?)
}

#[derive(Clone, Copy)]
struct Run<'a> {
    recipe: &'a Recipe,
    data: &'a TrainingData,
    folder: &'a RunFolder,
    observer: &'a dyn Observer,
}

enum Trained {
    Finished { metrics: Metrics, seconds: f64 },
    Stopped { step: u64 },
}

impl Run<'_> {
    /// Trains one network, from its checkpoint where there is one, and measures it on the test
    /// classes.
    fn train(self, phase: Phase) -> Result<Trained, Error> {
        let Self { recipe, data, folder, observer } = self;
        let path = folder.phase(phase);
        fs_err::create_dir_all(&path)?;
        let mut trainer = Trainer::new(recipe, &data.train)?;
        if checkpoint::path(&path).exists() {
            trainer.restore(&path)?;
        }
        let mut sinks = Sinks::open(&path, trainer.done())?;
        observer.training(phase, trainer.slots(), trainer.done(), recipe.steps);

        while trainer.done() < recipe.steps {
            if observer.stop() {
                trainer.save(&path)?;
                return Ok(Trained::Stopped { step: trainer.done() });
            }
            let event = trainer.step()?;
            for image in trainer.skipped() {
                observer.warn(&format!(
                    "skipped {} and took another of its class: {}",
                    image.name, image.reason
                ));
            }
            if let Some(fault) = trainer.cache_fault() {
                observer.warn(&format!(
                    "the disk cache takes no more pictures; what it cannot read is decoded again: {fault}"
                ));
            }
            observer.step(phase, &event);
            let done = event.step;
            let drift = trainer.drift()?;
            let last = done == recipe.steps;
            sinks.write(&Record::Step(event))?;
            if let Some(event) = drift {
                observer.drifted(phase, &event);
                sinks.write(&Record::Drift(event))?;
            }
            let is_saved = is_due(done, recipe.train.checkpoint_every) || last;
            let is_measured = is_due(done, recipe.evaluation.every) || last;
            if is_saved || is_measured {
                trainer.check_finite()?;
            }
            // The last step is measured on the test classes anyway.
            let has_validation = data.validation.is_some();
            if is_measured && (!last || has_validation) {
                let evaluation = self.evaluate(phase, &mut trainer)?;
                observer.evaluated(phase, &evaluation);
                sinks.write(&Record::Evaluation(evaluation))?;
            }
            if is_saved {
                trainer.save(&path)?;
            }
        }

        let config = recipe.embedder_config();
        folder.write_weights(phase, Report::Last, trainer.embedder(), &config, trainer.done())?;
        let embedder = match recipe.train.report {
            Report::Last => trainer.embedder().clone(),
            Report::Best => folder.load_weights(phase, Report::Best, recipe)?,
        };
        let metrics = self.measure(&embedder, &data.test, "measuring the trained network")?;
        Ok(Trained::Finished { metrics, seconds: trainer.seconds() })
    }

    /// Measures on the validation classes, keeping the best weights; without any, on the test
    /// classes, which choose nothing.
    fn evaluate(self, phase: Phase, trainer: &mut Trainer<'_>) -> Result<Evaluation, Error> {
        let (split, name) = match &self.data.validation {
            Some(validation) => (validation, "validation"),
            None => (&self.data.test, "test"),
        };
        let metrics =
            self.measure(trainer.embedder(), split, &format!("measuring {name} classes"))?;
        let step = trainer.done();
        let best = self.data.validation.is_some() && trainer.improves(metrics.recall(1));
        if best {
            let config = self.recipe.embedder_config();
            self.folder.write_weights(phase, Report::Best, trainer.embedder(), &config, step)?;
        }
        Ok(Evaluation { step, split: name.to_owned(), metrics, best })
    }

    /// The floor, where the images' pixels fit this machine's memory.
    fn raw_pixels(self) -> Result<Option<Metrics>, Error> {
        let Self { recipe, data, observer, .. } = self;
        if !recipe.evaluation.raw {
            return Ok(None);
        }
        let spec = data.test.images.spec();
        let bytes = data.test.images.len() as u64 * (spec.len() * size_of::<f32>()) as u64;
        if available_bytes().is_some_and(|available| bytes > available / 2) {
            let gib = bytes >> 30;
            observer.warn(&format!(
                "raw pixels are not measured: those of the test images take {gib} GiB"
            ));
            return Ok(None);
        }
        let progress = |done, total| observer.progress("measuring raw pixels", done, total);
        evaluate_raw(&data.train.images, &data.test, &recipe.evaluation.recall, &progress).map(Some)
    }

    fn measure(
        self,
        embedder: &Embedder,
        split: &LoadedSplit,
        stage: &str,
    ) -> Result<Metrics, Error> {
        let evaluation = &self.recipe.evaluation;
        let progress = |done, total| self.observer.progress(stage, done, total);
        evaluate_model(embedder, split, evaluation.batch, &evaluation.recall, &progress)
    }
}

fn is_due(step: u64, every: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_a_recipe_becomes_absolute() {
        let keys =
            ["data.path", "data.train-list", "data.test-list", "model.weights", "images.cache-dir"];
        let settings: Vec<String> = keys.iter().map(|key| format!("{key}={key}")).collect();
        let mut recipe = Recipe::from_sources(None, &settings).unwrap();
        make_absolute(&mut recipe).unwrap();
        let found = [
            recipe.data.path,
            recipe.data.train_list,
            recipe.data.test_list,
            recipe.model.weights,
            recipe.images.cache_dir,
        ];
        let folder = std::env::current_dir().unwrap();
        assert_eq!(found, keys.map(|key| Some(folder.join(key))));
    }
}
