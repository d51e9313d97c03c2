//! The loop around the step: batches in, events out.

use std::time::Instant;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use crossbatch::{
    Memory, MomentumTwin, Objective, ObjectiveConfig, ObjectiveOutput, PairStatistics, Rows,
};
use crossbatch_data::{EpochPlan, HostBatch, Loader, Skipped, Stream, plan_epoch};
use crossbatch_models::{Embedder, EmbedderConfig, ImportReport, read_weights};

use crate::{
    checkpoint::{self, Position},
    data::LoadedSplit,
    drift::{DriftEvent, DriftWatch},
    error::Error,
    events::StepEvent,
    extract::{image_tensor, pixel_tensor},
    fill::fill,
    optimizer::optimizer,
    recipe::{Fill, Recipe},
    step::{Batch, Step},
};

/// Trains one network on one split, step by step.
pub struct Trainer<'a> {
    recipe: &'a Recipe,
    data: &'a LoadedSplit,
    device: Device,
    step: Step,
    plan: EpochPlan,
    position: Position,
    /// Reads batches ahead, where images change at random or are not all in memory.
    loader: Option<Loader>,
    /// The batches of the current epoch from the next one on, once it was begun.
    stream: Option<Stream>,
    kept: Option<u64>,
    drift: Option<DriftWatch<'a>>,
}

impl<'a> Trainer<'a> {
    /// An untrained network, an empty memory, and the first epoch's plan.
    ///
    /// # Errors
    ///
    /// If the classes do not allow the recipe's batches, or a batch does not fit the memory.
    pub fn new(recipe: &'a Recipe, data: &'a LoadedSplit) -> Result<Self, Error> {
        let device = recipe.device.open()?.autodiff();
        let (plan, slots) = check(recipe, &data.labels)?;
        if slots > 0 && !device.supports_dtype(recipe.memory.storage.dtype()) {
            let storage = format!("{:?}", recipe.memory.storage).to_lowercase();
            return Err(Error::NoSuchStorage { storage });
        }
        let dim = recipe.model.embedding_size;
        let (embedder, _) = initial_embedder(recipe, &device)?;
        let step = Step {
            optimizer: optimizer(&recipe.optimizer),
            objective: objective(recipe, data.classes, &device),
            parameter_lrs: parameter_lrs(recipe),
            memory: (slots > 0).then(|| recipe.memory.config(slots, dim).init(&device)),
            twin: match recipe.memory.momentum {
                Some(momentum) if slots > 0 => Some(MomentumTwin::new(&embedder, momentum)),
                _ => None,
            },
            embedder,
        };
        let drift = (recipe.drift.every > 0).then(|| DriftWatch::new(recipe, data)).transpose()?;
        let position = Position::default();
        let images = &data.images;
        let ahead = recipe.images.augment().is_on() || images.cached() < images.len();
        let loader = recipe.images.loader(recipe.seed, recipe.threads);
        let disk = recipe.images.disk_cache();
        let loader = ahead.then(|| Loader::with_disk_cache(images, loader, &disk)).transpose()?;
        Ok(Self {
            recipe,
            data,
            device,
            step,
            plan,
            position,
            loader,
            stream: None,
            kept: None,
            drift,
        })
    }

    /// The network as it stands.
    pub fn embedder(&self) -> &Embedder {
        &self.step.embedder
    }

    /// Steps done.
    pub fn done(&self) -> u64 {
        self.position.step
    }

    /// Seconds spent in steps.
    pub fn seconds(&self) -> f64 {
        self.position.seconds
    }

    /// Slots of the memory, 0 without one.
    pub fn slots(&self) -> usize {
        self.step.memory.as_ref().map_or(0, Memory::capacity)
    }

    /// The batches of the current epoch.
    pub(crate) fn plan(&self) -> &EpochPlan {
        &self.plan
    }

    /// Refuses weights that are no numbers, so that they are neither measured nor saved.
    pub(crate) fn check_finite(&self) -> Result<(), Error> {
        let state = self.step.embedder.state_dict();
        if state.values().all(|tensor| tensor.values.iter().all(|value| value.is_finite())) {
            return Ok(());
        }
        let step = self.position.step;
        let lr = self.recipe.optimizer.rate(step.max(1), self.recipe.steps);
        Err(Error::WeightsNotFinite { step, kept: self.kept, lr })
    }

    /// What went wrong with the disk cache, once.
    pub(crate) fn cache_fault(&self) -> Option<String> {
        self.loader.as_ref().and_then(Loader::cache_fault)
    }

    /// Images that were skipped since the last call.
    pub(crate) fn skipped(&self) -> Vec<Skipped> {
        self.loader.as_ref().map(Loader::skipped).unwrap_or_default()
    }

    /// Notes a validation R@1; says whether it is the highest so far.
    pub(crate) fn improves(&mut self, recall: f64) -> bool {
        let better = self.position.best.is_none_or(|best| recall > best);
        if better {
            self.position.best = Some(recall);
        }
        better
    }

    /// Saves everything that training needs to go on into `folder`.
    pub(crate) fn save(&mut self, folder: &std::path::Path) -> Result<(), Error> {
        self.position.data.clone_from(&self.data.fingerprint);
        checkpoint::save(folder, &self.step, self.drift.as_ref(), &self.position)?;
        self.kept = Some(self.position.step);
        Ok(())
    }

    /// Goes back to where [`save`](Self::save) was called.
    pub(crate) fn restore(&mut self, folder: &std::path::Path) -> Result<(), Error> {
        self.position = checkpoint::restore(folder, &mut self.step, self.drift.as_mut())?;
        self.plan = batches(self.recipe, &self.data.labels, self.position.epoch)?;
        self.stream = None;
        self.kept = Some(self.position.step);
        Ok(())
    }

    /// One training step.
    ///
    /// # Errors
    ///
    /// If an image has become unreadable or the loss is no number; no weight has changed then.
    pub fn step(&mut self) -> Result<StepEvent, Error> {
        let started = Instant::now();
        while self.position.taken >= self.plan.batches.len() {
            self.position.epoch += 1;
            self.position.taken = 0;
            self.stream = None;
            self.plan = batches(self.recipe, &self.data.labels, self.position.epoch)?;
        }
        if self.position.step >= self.recipe.memory.start {
            self.start_memory(self.position.step)?;
        }
        let (images, ids) = self.read()?;
        let labels: Vec<u32> = ids.iter().map(|&id| self.data.labels[id as usize]).collect();
        let batch = Batch { images, rows: Rows { labels: &labels, ids: &ids } };

        let number = self.position.step + 1;
        let lr = self.recipe.optimizer.rate(number, self.recipe.steps);
        let remember = number > self.recipe.memory.start;
        self.step.objective.set_memory_weight(self.recipe.memory.weight_at(number));
        let kept = self.kept;
        let mut event = None;
        self.step.run(batch, number, lr, remember, |output| {
            event = Some(losses(output, number, lr, kept)?);
            Ok(())
        })?;

        self.position.step = number;
        self.position.taken += 1;
        self.position.seconds += started.elapsed().as_secs_f64();
        Ok(StepEvent {
            epoch: self.position.epoch,
            memory_filled: self.step.memory.as_ref().map_or(0, Memory::len),
            images: ids.len(),
            seconds: self.position.seconds,
            ..event.expect("a step that succeeds was accepted")
        })
    }

    /// The next batch of the plan, and which images it is of. An image that could not be read may have been replaced.
    fn read(&mut self) -> Result<(Tensor<4>, Vec<u32>), Error> {
        let Position { epoch, taken, .. } = self.position;
        let Some(loader) = &self.loader else {
            let ids = &self.plan.batches[taken];
            let positions: Vec<usize> = ids.iter().map(|&id| id as usize).collect();
            return Ok((image_tensor(&self.data.images, &positions, &self.device)?, ids.clone()));
        };
        let start = || loader.stream(epoch, self.plan.batches.clone(), taken);
        let stream = self.stream.get_or_insert_with(start);
        let batch = stream.next().expect("the stream has the plan's batches");
        // After an error a stream is at its end; trying again begins a new one.
        if batch.is_err() {
            self.stream = None;
        }
        let HostBatch { pixels, ids, .. } = batch?;
        let images = pixel_tensor(pixels, ids.len(), self.data.images.spec(), &self.device);
        Ok((images, ids))
    }

    /// Fills a memory that is about to be used for the first time, after `step` steps, where the recipe says so.
    fn start_memory(&mut self, step: u64) -> Result<(), Error> {
        let Some(memory) = &mut self.step.memory else { return Ok(()) };
        if self.recipe.memory.fill == Fill::Empty || !memory.is_empty() {
            return Ok(());
        }
        let network = match &self.step.twin {
            Some(twin) => twin.network().clone(),
            None => self.step.embedder.valid(),
        };
        fill(memory, &network, self.recipe, self.data, step)
    }

    /// Measures the drift, where it is due after this step.
    ///
    /// # Errors
    ///
    /// If an image has become unreadable.
    pub(crate) fn drift(&mut self) -> Result<Option<DriftEvent>, Error> {
        let step = self.position.step;
        match &mut self.drift {
            Some(watch) if step.is_multiple_of(self.recipe.drift.every) => {
                let memory = self.step.memory.as_ref();
                watch.measure(step, &self.step.embedder, memory).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// The network before its first step: random, or with the backbone's published weights, and what was taken of those.
///
/// # Errors
///
/// If the weights cannot be read or belong to another network.
pub(crate) fn initial_embedder(
    recipe: &Recipe,
    device: &Device,
) -> Result<(Embedder, Option<ImportReport>), Error> {
    let config = recipe.embedder_config();
    let embedder = Embedder::new(&config, recipe.seed, device);
    let Some(path) = &recipe.model.weights else { return Ok((embedder, None)) };
    let wrong = |source| Error::Weights { path: path.clone(), source };
    let state = read_weights(path).map_err(wrong)?;
    let (embedder, report) =
        embedder.import_backbone(&config, &state, recipe.model.grey_from_colour).map_err(wrong)?;
    Ok((embedder, Some(report)))
}

/// What is minimised.
fn objective(recipe: &Recipe, classes: usize, device: &Device) -> Objective {
    let config = ObjectiveConfig {
        memory_weight: recipe.memory.weight,
        same_image: recipe.memory.same_image,
    };
    let mut objective = Objective::new(recipe.loss.terms(), config);
    if objective.learns() {
        objective.init_parameters(classes, device);
    }
    objective
}

/// Learning rates of the losses that learn parameters, in their order.
fn parameter_lrs(recipe: &Recipe) -> Vec<f64> {
    let terms = recipe.loss.terms();
    let losses = recipe.loss.all().zip(&terms).filter(|(_, term)| term.learns());
    losses.map(|(loss, _)| loss.parameter_lr).collect()
}

/// The batches of an epoch of images with these dense labels.
pub(crate) fn batches(recipe: &Recipe, labels: &[u32], epoch: u64) -> Result<EpochPlan, Error> {
    let batch = &recipe.batch;
    let (classes, images) = (batch.classes, batch.images);
    Ok(plan_epoch(batch.sampler, labels, classes, images, recipe.seed, epoch)?)
}

/// The first epoch's batches and the memory's slots, where the images' classes and this machine allow them.
pub(crate) fn check(recipe: &Recipe, labels: &[u32]) -> Result<(EpochPlan, usize), Error> {
    // First, so that too many classes are not blamed on the memory.
    let plan = batches(recipe, labels, 0)?;
    let batch = recipe.batch.classes * recipe.batch.images;
    let slots = recipe.memory.size.slots(labels.len());
    if recipe.memory.size.is_on() && slots < batch {
        let size = recipe.memory.size.to_string();
        return Err(Error::MemoryTooSmall { size, slots, batch });
    }
    check_room(recipe, slots)?;
    Ok((plan, slots))
}

/// Refuses a memory that cannot be allocated, or whose slots cannot be numbered.
///
/// An operating system may promise more than it has, so where it says what it has, that counts.
fn check_room(recipe: &Recipe, slots: usize) -> Result<(), Error> {
    let (size, dim) = (&recipe.memory.size, recipe.model.embedding_size);
    let bytes = recipe.memory.config(slots, dim).device_bytes();
    let fits = bytes.is_some_and(|bytes| {
        let numbered = i32::try_from(slots).is_ok();
        let has_room = available_bytes().is_none_or(|available| bytes < available);
        let allocates = usize::try_from(bytes)
            .is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok());
        numbered && has_room && allocates
    });
    if fits {
        return Ok(());
    }
    let gib = ((slots as u128 * dim as u128 * 4) >> 30) as u64;
    Err(Error::MemoryTooLarge { size: size.to_string(), dim, gib })
}

/// Memory that is free for use, where the system says so (Linux).
pub fn available_bytes() -> Option<u64> {
    let text = fs_err::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// The numbers of a step, or an error where they are none.
fn losses(
    output: &ObjectiveOutput,
    step: u64,
    lr: f64,
    kept: Option<u64>,
) -> Result<StepEvent, Error> {
    let number = |tensor: &Tensor<1>| tensor.clone().into_scalar::<f32>();
    let loss = number(&output.total);
    let batch_loss = number(&output.batch);
    let memory_loss = output.memory.as_ref().map(number);
    if !loss.is_finite() {
        let memory_loss = memory_loss.unwrap_or(0.0);
        return Err(Error::NotFinite { step, value: loss, batch_loss, memory_loss, kept, lr });
    }
    // Counts and similarities are those of the first loss.
    let batch = &output.terms[0].batch.statistics;
    let memory = output.terms[0].memory.as_ref().map(|term| &term.statistics);
    let of = |value: fn(&PairStatistics) -> Tensor<1>| memory.map(|memory| number(&value(memory)));
    Ok(StepEvent {
        step,
        epoch: 0,
        lr,
        loss,
        batch_loss,
        memory_loss,
        batch_positives: number(&batch.active_positives()),
        batch_active_negatives: number(&batch.active_negatives()),
        memory_positives: of(PairStatistics::active_positives),
        memory_active_negatives: of(PairStatistics::active_negatives),
        memory_hardest_negative: of(PairStatistics::hardest_negative),
        memory_mean_positive: of(PairStatistics::mean_positive),
        memory_mean_negative: of(PairStatistics::mean_negative),
        memory_filled: 0,
        images: 0,
        seconds: 0.0,
    })
}

impl Recipe {
    /// The network that this recipe trains. Call it on a resolved recipe: `data.channels` left out
    /// means 3 here.
    pub fn embedder_config(&self) -> EmbedderConfig {
        let model = &self.model;
        EmbedderConfig {
            backbone: model.backbone,
            channels: self.data.channels.unwrap_or(3),
            size: self.data.image_size,
            embedding: model.embedding_size,
            pooling: model.pooling.unwrap_or(model.backbone.usual_pooling()),
            last_stride: model.last_stride,
            head_norm: model.head_norm,
            frozen_norm: model.freeze_norm,
            frozen_stages: model.freeze_stages,
        }
    }
}
