//! Training steps and inference of a network on random images.

use std::time::Instant;

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use crossbatch::{LossKind, Objective, ObjectiveConfig, PairTerm, Rows};
use crossbatch_models::{Embedder, Mode};
use crossbatch_train::{Batch, Error, Recipe, Step, optimizer};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    measure::median,
    pages::{Change, Pages},
};
use crate::ALLOCATOR;

/// Images of a class in a batch.
pub(crate) const IMAGES: usize = 4;

/// First steps, which fill caches and buffers and are not timed; it is during these that memory is counted.
const WARM_UP: usize = 3;

/// What was measured of a network.
pub(crate) struct Measured {
    /// Seconds of a step or a batch, the median.
    pub(crate) median: f64,
    /// Most bytes in use at once, network included.
    pub(crate) peak_bytes: usize,
    /// What the timed steps or batches, all of them, did to the process's memory; where the system tells.
    pub(crate) pages: Option<Change>,
    /// Numbers that training changes.
    pub(crate) parameters: usize,
    /// Loss of the first and the last step; none of inference.
    pub(crate) losses: Option<[f32; 2]>,
}

/// Times `steps` training steps of the recipe's network and optimiser, with the batch's contrastive loss.
pub(crate) fn train(recipe: &Recipe, batch: usize, steps: usize) -> Result<Measured, Error> {
    ALLOCATOR.start();
    let device = Device::flex().autodiff();
    let embedder = Embedder::new(&recipe.embedder_config(), recipe.seed, &device);
    let parameters = embedder.trainable();
    let term = PairTerm::shared(LossKind::Contrastive.config().build());
    let mut step = Step {
        embedder,
        optimizer: optimizer(&recipe.optimizer),
        objective: Objective::new([term], ObjectiveConfig::default()),
        parameter_lrs: Vec::new(),
        memory: None,
        twin: None,
    };
    let images = images(recipe, batch, &device);
    let labels: Vec<u32> = (0..batch).map(|image| (image / IMAGES) as u32).collect();
    let ids: Vec<u32> = (0..batch as u32).collect();

    let (mut seconds, mut losses, mut peak_bytes) = (Vec::with_capacity(steps), Vec::new(), 0);
    let mut pages = None;
    for number in 0..WARM_UP + steps {
        if number == WARM_UP {
            peak_bytes = ALLOCATOR.stop();
            pages = Pages::now();
        }
        let start = Instant::now();
        let rows = Rows { labels: &labels, ids: &ids };
        let batch = Batch { images: images.clone(), rows };
        step.run(batch, number as u64 + 1, recipe.optimizer.lr, false, |output| {
            losses.push(output.total.clone().into_scalar::<f32>());
            Ok(())
        })?;
        if number >= WARM_UP {
            seconds.push(start.elapsed().as_secs_f64());
        }
    }
    let pages = pages.and_then(|before| Some(Pages::now()?.since(before)));
    let losses = [losses[0], losses[losses.len() - 1]];
    Ok(Measured { median: median(seconds), peak_bytes, pages, parameters, losses: Some(losses) })
}

/// Times `batches` batches from images to embeddings.
pub(crate) fn infer(recipe: &Recipe, batch: usize, batches: usize) -> Measured {
    ALLOCATOR.start();
    let embedder =
        Embedder::new(&recipe.embedder_config(), recipe.seed, &Device::flex().autodiff());
    let parameters = embedder.trainable();
    let embedder = embedder.valid();
    let images = images(recipe, batch, &Device::flex());
    let (mut seconds, mut peak_bytes, mut pages) = (Vec::with_capacity(batches), 0, None);
    for number in 0..WARM_UP + batches {
        if number == WARM_UP {
            peak_bytes = ALLOCATOR.stop();
            pages = Pages::now();
        }
        let start = Instant::now();
        let rows = embedder.forward(images.clone(), Mode::Inference).into_data();
        if number >= WARM_UP {
            seconds.push(start.elapsed().as_secs_f64());
        }
        drop(rows);
    }
    let pages = pages.and_then(|before| Some(Pages::now()?.since(before)));
    Measured { median: median(seconds), peak_bytes, pages, parameters, losses: None }
}

/// Random images `[B, C, S, S]` with values from −1 to 1; those of a class share half of each value.
fn images(recipe: &Recipe, batch: usize, device: &Device) -> Tensor<4> {
    let config = recipe.embedder_config();
    let shape = [batch, config.channels, config.size, config.size];
    let pixels = shape[1..].iter().product();
    let mut rng = ChaCha8Rng::seed_from_u64(recipe.seed);
    let mut draw = || -> Vec<f32> { (0..pixels).map(|_| rng.random_range(-1.0f32..1.0)).collect() };
    let (mut values, mut class) = (Vec::with_capacity(batch * pixels), Vec::new());
    for image in 0..batch {
        if image % IMAGES == 0 {
            class = draw();
        }
        values.extend(class.iter().zip(draw()).map(|(class, own)| 0.5 * (class + own)));
    }
    Tensor::from_data(TensorData::new(values, shape), device)
}
