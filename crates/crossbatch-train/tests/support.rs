//! Tiny runs on a few glyphs.

use std::{
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbatch_train::{
    Error, Evaluation, Observer, Outcome, Phase, Recipe, RunConfig, StepEvent, Summary, run,
};

/// A recipe of a few seconds' work, with `settings` laid over it.
pub(crate) fn recipe(settings: &[&str]) -> Recipe {
    let text = "
        steps = 8
        [data]
        image-size = 16
        glyphs.train-classes = 30
        glyphs.test-classes = 12
        glyphs.family = 3
        glyphs.seed = 5
        [model]
        embedding-size = 16
        [batch]
        classes = 4
        images = 2
        [memory]
        size = 20
        start = 2
        [evaluation]
        every = 0
        [train]
        checkpoint-every = 0
    ";
    let settings: Vec<String> = settings.iter().map(|&setting| setting.to_owned()).collect();
    Recipe::from_sources(Some((text, "tiny.toml")), &settings).unwrap()
}

/// Keeps what it hears, and asks to stop after a step.
#[derive(Default)]
pub(crate) struct Listener {
    pub(crate) stop_at: Option<u64>,
    pub(crate) steps: Mutex<Vec<(Phase, StepEvent)>>,
    pub(crate) evaluations: Mutex<Vec<Evaluation>>,
    pub(crate) warnings: Mutex<Vec<String>>,
    pub(crate) last: AtomicU64,
}

impl Observer for Listener {
    fn warn(&self, text: &str) {
        self.warnings.lock().unwrap().push(text.to_owned());
    }

    fn step(&self, phase: Phase, event: &StepEvent) {
        self.last.store(event.step, Ordering::SeqCst);
        self.steps.lock().unwrap().push((phase, event.clone()));
    }

    fn evaluated(&self, _phase: Phase, evaluation: &Evaluation) {
        self.evaluations.lock().unwrap().push(evaluation.clone());
    }

    fn stop(&self) -> bool {
        self.stop_at.is_some_and(|step| self.last.load(Ordering::SeqCst) >= step)
    }
}

pub(crate) fn start(
    recipe: &Recipe,
    folder: &Path,
    resume: bool,
    listener: &Listener,
) -> Result<Outcome, Error> {
    let config = RunConfig {
        recipe: recipe.clone(),
        folder: folder.to_owned(),
        resume,
        command: vec!["test".to_owned()],
        threads: 1,
    };
    run(config, listener)
}

pub(crate) fn finish(recipe: &Recipe, folder: &Path) -> Summary {
    match start(recipe, folder, false, &Listener::default()).unwrap() {
        Outcome::Finished(summary) => *summary,
        stopped => panic!("expected the run to finish, got {stopped:?}"),
    }
}
