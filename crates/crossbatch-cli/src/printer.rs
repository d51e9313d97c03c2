//! The one place that writes to the terminal: results to stdout, progress and notes to stderr.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use crossbatch_train::{DriftEvent, Evaluation, Observer, Phase, StepEvent};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Common;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Quiet,
    Normal,
    Verbose,
}

/// Writes what a command has to say.
pub(crate) struct Printer {
    level: Level,
    /// Whether stderr is a terminal that can redraw a line.
    live: bool,
    bar: Mutex<Option<(String, ProgressBar)>>,
    stop: Arc<AtomicBool>,
    at_once: Arc<AtomicBool>,
    steps: AtomicU64,
    slots: AtomicU64,
}

impl Printer {
    pub(crate) fn new(common: &Common) -> Self {
        let level = match (common.quiet, common.verbose) {
            (true, _) => Level::Quiet,
            (_, true) => Level::Verbose,
            _ => Level::Normal,
        };
        let live = io::stderr().is_terminal() && level == Level::Normal;
        Self {
            level,
            live,
            bar: Mutex::new(None),
            stop: Arc::default(),
            at_once: Arc::default(),
            steps: AtomicU64::new(0),
            slots: AtomicU64::new(0),
        }
    }

    /// Writes a result to stdout.
    pub(crate) fn result(&self, text: &str) -> io::Result<()> {
        self.finish_bar();
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Lets a result that may be long be written to stdout in pieces.
    pub(crate) fn write(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        self.finish_bar();
        let mut out = io::BufWriter::with_capacity(1 << 16, io::stdout().lock());
        write(&mut out)?;
        out.flush()
    }

    /// Writes an error with its causes. A `hint:` is part of the message that has one.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        self.finish_bar();
        self.line(&format!("error: {error}"));
        let mut last = error.to_string();
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            // Transparent wrappers repeat their source.
            if !last.contains(&cause) {
                self.line(&format!("cause: {cause}"));
            }
            last = cause;
        }
    }

    /// Writes a line that is no result but must be seen, also where `--quiet` asks for silence.
    pub(crate) fn always(&self, text: &str) {
        self.finish_bar();
        self.line(text);
    }

    /// Set it to ask a training in progress to stop after its step.
    pub(crate) fn stop_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.stop)
    }

    /// Whether a stop may end the program at once.
    pub(crate) fn at_once_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.at_once)
    }

    /// Does what asks nobody whether to stop and leaves no file half written, such as reading: Ctrl-C ends the program
    /// at once.
    pub(crate) fn interruptible<R>(&self, step: impl FnOnce() -> R) -> R {
        self.at_once.store(true, Ordering::SeqCst);
        if self.stop() {
            std::process::exit(130);
        }
        let done = step();
        self.at_once.store(false, Ordering::SeqCst);
        done
    }

    fn line(&self, text: &str) {
        let bar = self.bar.lock().expect("no panic while a bar is held");
        match &*bar {
            Some((_, bar)) if self.live => bar.println(text),
            _ => {
                // Nothing is left to do where stderr itself is gone.
                let _ = writeln!(io::stderr().lock(), "{text}");
            }
        }
    }

    fn finish_bar(&self) {
        if let Some((_, bar)) = self.bar.lock().expect("no panic while a bar is held").take() {
            bar.finish_and_clear();
        }
    }

    /// The bar for a stage, made anew where another stage begins.
    fn with_bar(&self, stage: &str, total: u64, template: &str, act: impl FnOnce(&ProgressBar)) {
        if !self.live {
            return;
        }
        let mut held = self.bar.lock().expect("no panic while a bar is held");
        if held.as_ref().is_none_or(|(name, _)| name != stage) {
            if let Some((_, old)) = held.take() {
                old.finish_and_clear();
            }
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(template).expect("templates are constants");
            bar.set_style(style.progress_chars("━━─"));
            bar.enable_steady_tick(Duration::from_millis(250));
            *held = Some((stage.to_owned(), bar));
        }
        if let Some((_, bar)) = &*held {
            act(bar);
        }
    }
}

/// Shows what our libraries warn of in the log; other ones' warnings are about what nobody here can change.
pub(crate) fn show_warnings(printer: Arc<Printer>) {
    // One for as long as the program runs.
    if log::set_logger(Box::leak(Box::new(Warnings(printer)))).is_ok() {
        log::set_max_level(log::LevelFilter::Warn);
    }
}

struct Warnings(Arc<Printer>);

impl log::Log for Warnings {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Warn && metadata.target().starts_with("crossbatch")
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.warn(&record.args().to_string());
        }
    }

    fn flush(&self) {}
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::WithoutMemory => "without memory",
        Phase::Main => "training",
    }
}

/// `12345` as `12.3k`.
fn short(value: f32) -> String {
    match value {
        value if value >= 1e6 => format!("{:.1}M", value / 1e6),
        value if value >= 1e4 => format!("{:.1}k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

/// Loss terms, active pairs, speed and memory fill of a step.
fn describe(event: &StepEvent, slots: u64, speed: f64) -> String {
    let mut text = format!("loss {:.3}", event.loss);
    if let Some(memory) = event.memory_loss {
        text += &format!(" = batch {:.3} + memory {memory:.3}", event.batch_loss);
    }
    let positives = event.batch_positives + event.memory_positives.unwrap_or(0.0);
    let negatives = event.batch_active_negatives + event.memory_active_negatives.unwrap_or(0.0);
    text += &format!(" · pairs +{} −{}", short(positives), short(negatives));
    if event.memory_filled > 0 {
        text += &format!(" · memory {}/{slots}", event.memory_filled);
    }
    text + &format!(" · {speed:.0} images/s")
}

impl Observer for Printer {
    fn note(&self, text: &str) {
        if self.level != Level::Quiet {
            self.line(text);
        }
    }

    fn warn(&self, text: &str) {
        self.line(&format!("warning: {text}"));
    }

    fn progress(&self, stage: &str, done: usize, total: usize) {
        let template = "{msg:32} {bar:24} {pos}/{len} · {eta} left";
        self.with_bar(stage, total as u64, template, |bar| {
            bar.set_message(stage.to_owned());
            bar.set_position(done as u64);
        });
        if done >= total {
            self.finish_bar();
        }
    }

    fn training(&self, phase: Phase, slots: usize, done: u64, total: u64) {
        self.steps.store(total, Ordering::Relaxed);
        self.slots.store(slots as u64, Ordering::Relaxed);
        let memory = match slots {
            0 => "memory off".to_owned(),
            slots => format!("memory of {slots}"),
        };
        let from = if done > 0 { format!("from step {done} ") } else { String::new() };
        self.note(&format!("{}: {total} steps {from}with {memory}", phase_name(phase)));
    }

    fn step(&self, phase: Phase, event: &StepEvent) {
        let speed = event.images as f64 * event.step as f64 / event.seconds.max(1e-9);
        let text = describe(event, self.slots.load(Ordering::Relaxed), speed);
        if self.level == Level::Verbose {
            self.line(&format!("step {} · {text}", event.step));
        }
        let stage = phase_name(phase);
        let template = "{prefix} {bar:16} {pos}/{len} · {msg}";
        let total = self.steps.load(Ordering::Relaxed);
        // Measurements interrupt the bar, so the time left is told from the steps' own seconds.
        let left = event.seconds / event.step as f64 * total.saturating_sub(event.step) as f64;
        let left = HumanDuration(Duration::from_secs_f64(left.max(0.0)));
        self.with_bar(stage, total, template, |bar| {
            bar.set_prefix(stage);
            bar.set_position(event.step);
            bar.set_message(format!("{text} · {left:#} left"));
        });
    }

    fn evaluated(&self, phase: Phase, evaluation: &Evaluation) {
        let metrics = &evaluation.metrics;
        let best = if evaluation.best { " · best so far" } else { "" };
        self.note(&format!(
            "{} · step {}: R@1 {:.2}, MAP@R {:.2} on the {} classes{best}",
            phase_name(phase),
            evaluation.step,
            metrics.recall(1) * 100.0,
            metrics.map_at_r * 100.0,
            evaluation.split,
        ));
    }

    fn drifted(&self, phase: Phase, event: &DriftEvent) {
        let spans = event.training.iter().zip(&event.inference).map(|(training, inference)| {
            let (span, training, inference) =
                (training.span, training.mean_squared, inference.mean_squared);
            format!("{training:.4} over {span} steps ({inference:.4} in inference mode)")
        });
        let spans = spans.collect::<Vec<_>>().join(", ");
        let drift = if spans.is_empty() { "nothing to compare with yet".to_owned() } else { spans };
        let gradient = event.gradient.as_ref().map_or_else(String::new, |error| {
            format!(
                "; stale entries change the memory's gradient by {:.1} % (cosine {:.3})",
                error.relative * 100.0,
                error.cosine
            )
        });
        self.note(&format!("{} · step {}: drift {drift}{gradient}", phase_name(phase), event.step));
    }

    fn stop(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> StepEvent {
        StepEvent {
            step: 7,
            epoch: 0,
            lr: 1e-3,
            loss: 1.5,
            batch_loss: 0.5,
            memory_loss: None,
            batch_positives: 192.0,
            batch_active_negatives: 40.0,
            memory_positives: None,
            memory_active_negatives: None,
            memory_hardest_negative: None,
            memory_mean_positive: None,
            memory_mean_negative: None,
            memory_filled: 0,
            images: 64,
            seconds: 1.0,
        }
    }

    #[test]
    fn a_step_tells_its_loss_terms_pairs_memory_and_speed() {
        assert_eq!(describe(&event(), 0, 448.4), "loss 1.500 · pairs +192 −40 · 448 images/s");
        let event = StepEvent {
            memory_loss: Some(1.0),
            memory_positives: Some(8.0),
            memory_active_negatives: Some(12_300.0),
            memory_hardest_negative: Some(0.25),
            memory_mean_positive: Some(0.25),
            memory_mean_negative: Some(0.25),
            memory_filled: 640,
            ..event()
        };
        assert_eq!(
            describe(&event, 9640, 448.4),
            "loss 1.500 = batch 0.500 + memory 1.000 · pairs +200 −12.3k · memory 640/9640 · 448 images/s"
        );
    }
}
