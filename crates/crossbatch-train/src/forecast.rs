//! What a run will take, known before it starts.

use burn::tensor::Device;
use crossbatch::Policy;
use crossbatch_data::{EpochPlan, Sampler, Split};
use serde::Serialize;

use crate::recipe::DeviceChoice;
use crate::{
    data::{TrainingData, dense, image_spec},
    error::Error,
    events::Observer,
    recipe::{OptimizerKind, OptimizerRecipe, Recipe},
    run::warn_of,
    trainer::{check, initial_embedder},
};

/// Sizes, work and pairs of a recipe's run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Forecast {
    /// What the data were recognised as, and how much of them there is.
    pub data: String,
    /// Classes to train on.
    pub training_classes: usize,
    /// Images of them.
    pub training_images: usize,
    /// Input of the network: channels, height, width.
    pub input: [usize; 3],
    /// Numbers in an embedding.
    pub embedding: usize,
    /// Numbers that training changes.
    pub parameters: usize,
    /// Images in a batch.
    pub batch: usize,
    /// Slots of the memory, 0 without one.
    pub slots: usize,
    /// Slots that are ever filled: in a keyed memory no more than there are images.
    pub filled: usize,
    /// Steps of the run.
    pub steps: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Steps since the oldest entry of the full memory was written, at most; none if there is no bound.
    pub oldest_age: Option<u64>,
    /// Positives of an anchor in its batch.
    pub batch_positives: f64,
    /// Negatives of an anchor in its batch.
    pub batch_negatives: f64,
    /// Positives of an anchor in the full memory, expected from the sizes of the classes.
    pub memory_positives: f64,
    /// Negatives of an anchor in the full memory, expected from the sizes of the classes.
    pub memory_negatives: f64,
    /// Main memory.
    pub bytes: Bytes,
    /// Arithmetic of a step.
    pub flops: Flops,
}

/// Bytes that a run needs besides the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bytes {
    /// Weights and running statistics, those of a momentum twin too.
    pub weights: u64,
    /// Gradients of the weights.
    pub gradients: u64,
    /// What the optimiser keeps.
    pub optimizer: u64,
    /// The cross-batch memory.
    pub memory: u64,
    /// Decoded images that are kept.
    pub images: u64,
    /// A batch as the network takes it.
    pub batch: u64,
    /// Batches that are read ahead, and pictures kept for them; 0 where all images are kept as the network takes them.
    pub loader: u64,
    /// What the backward pass waits for, and the gradients on their way through it: an estimate from the layers' shapes.
    pub activations: u64,
    /// All of it.
    pub total: u64,
}

/// Floating-point operations of a step. A product is two: a multiplication and an addition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Flops {
    /// Forward pass of the network, a momentum twin's too.
    pub forward: u64,
    /// Backward pass of the network.
    pub backward: u64,
    /// Similarities within the batch, and their gradients.
    pub batch_pairs: u64,
    /// Similarities with the full memory and the gradient of the anchors, at most: where no pair counts, less is done.
    pub memory_pairs: u64,
    /// All of it.
    pub total: u64,
}

/// Works out what a run of `recipe` will take. Opens the data set but reads no image; images that are missing are
/// a warning, so that a run can be planned from a data set's lists.
///
/// # Errors
///
/// What would keep the run from starting: data that cannot be opened, classes that do not allow the batches, a memory
/// that a batch does not fit into or that does not fit this machine.
pub fn forecast(recipe: &Recipe, observer: &dyn Observer) -> Result<Forecast, Error> {
    let dataset = TrainingData::open_lists(recipe, observer)?;
    let spec = image_spec(recipe, dataset.kind);
    let mut recipe = recipe.clone();
    recipe.data.channels = Some(spec.channels);
    let indices = dataset.indices(Split::Train);
    let classes: Vec<u32> = indices.iter().map(|&index| dataset.samples[index].class).collect();
    let (labels, classes) = dense(&classes);
    let (plan, slots) = check(&recipe, &labels)?;
    warn_of(&plan, slots, &recipe, observer);

    let (embedder, _) = initial_embedder(&recipe, &Device::flex().autodiff())?;
    let parameters = embedder.trainable();
    let cost = embedder.cost(spec.channels, spec.size);
    let (batch, dim) = (recipe.batch.classes * recipe.batch.images, recipe.model.embedding_size);
    let filled = match recipe.memory.policy {
        Policy::Fifo => slots,
        Policy::Keyed => slots.min(labels.len()),
    };
    let oldest_age = oldest_age(&recipe, filled, plan.batches.len());
    let pairs = Pairs::expected(&recipe, &plan, &labels, filled);
    // Weights of the network, and of the twin whose embeddings a memory takes.
    let copies = 1 + u64::from(recipe.memory.momentum.is_some() && slots > 0);

    let state = embedder.state_dict();
    let numbers: u64 = state.values().map(|tensor| tensor.values.len() as u64).sum();
    let images = Split::ALL.map(|split| {
        let bytes = dataset.indices(split).len() as u64 * spec.len() as u64;
        bytes.min((recipe.data.cache_mib as u64).saturating_mul(1 << 20))
    });
    let memory = recipe.memory.config(slots, dim);
    let codes = match recipe.device {
        DeviceChoice::Cpu => memory.screen_bytes(),
        DeviceChoice::Gpu => 0,
    };
    let memory = memory.device_bytes().map_or(u64::MAX, |bytes| bytes.saturating_add(codes));
    let mut bytes = Bytes {
        weights: 4 * numbers * copies,
        gradients: 4 * parameters as u64,
        optimizer: 4 * parameters as u64 * moments(&recipe.optimizer),
        memory: if slots > 0 { memory } else { 0 },
        images: images.iter().sum(),
        batch: product(&[4, batch, spec.len()]),
        loader: loader_bytes(
            &recipe,
            product(&[4, batch, spec.len()]),
            images[0],
            labels.len() * spec.len(),
        ),
        activations: product(&[batch]).saturating_mul(cost.kept_bytes + 2 * cost.largest_bytes),
        total: 0,
    };
    let Bytes { weights, gradients, optimizer, memory, images, loader, activations, .. } = bytes;
    bytes.total = [weights, gradients, optimizer, memory, images, bytes.batch, loader, activations]
        .into_iter()
        .fold(0, u64::saturating_add);

    let terms = recipe.loss.all().count();
    let mut flops = Flops {
        forward: (batch as u64).saturating_mul(cost.forward_flops * copies),
        backward: (batch as u64).saturating_mul(cost.backward_flops),
        // Similarities, and the gradients of both sides.
        batch_pairs: product(&[6, terms, batch, batch, dim]),
        // Similarities, and the gradient of the anchors.
        memory_pairs: product(&[4, terms, batch, filled, dim]),
        total: 0,
    };
    flops.total = [flops.forward, flops.backward, flops.batch_pairs, flops.memory_pairs]
        .into_iter()
        .fold(0, u64::saturating_add);

    Ok(Forecast {
        data: dataset.description,
        training_classes: classes,
        training_images: labels.len(),
        input: [spec.channels, spec.size, spec.size],
        embedding: dim,
        parameters,
        batch,
        slots,
        filled,
        steps: recipe.steps,
        steps_per_epoch: plan.batches.len(),
        oldest_age,
        batch_positives: pairs.batch[0],
        batch_negatives: pairs.batch[1],
        memory_positives: pairs.memory[0],
        memory_negatives: pairs.memory[1],
        bytes,
        flops,
    })
}

/// What reading ahead takes: batches finished and in the making, and the cache at most.
fn loader_bytes(recipe: &Recipe, batch: u64, kept: u64, all: usize) -> u64 {
    let augment = recipe.images.augment();
    if !augment.is_on() && kept == all as u64 {
        return 0;
    }
    let loader = recipe.images.loader(recipe.seed, recipe.threads);
    batch.saturating_mul(loader.ahead as u64).saturating_add(loader.cache_bytes as u64)
}

/// Numbers that an optimiser keeps for each parameter.
fn moments(recipe: &OptimizerRecipe) -> u64 {
    match recipe.kind {
        OptimizerKind::Adam | OptimizerKind::Adamw => 2,
        OptimizerKind::Sgd => u64::from(recipe.momentum > 0.0),
    }
}

/// Largest age of an entry in the full memory. The batch of the step itself has age 0.
fn oldest_age(recipe: &Recipe, filled: usize, epoch: usize) -> Option<u64> {
    let batch = recipe.batch.classes * recipe.batch.images;
    match (recipe.memory.policy, recipe.batch.sampler) {
        _ if filled == 0 => None,
        (Policy::Fifo, _) => Some(filled.div_ceil(batch) as u64 - 1),
        // At worst first in its epoch and last in the next one.
        (Policy::Keyed, Sampler::Cover) => Some(2 * epoch as u64 - 1),
        (Policy::Keyed, Sampler::Random) => None,
    }
}

/// Positives and negatives of an anchor.
struct Pairs {
    batch: [f64; 2],
    memory: [f64; 2],
}

impl Pairs {
    /// Expected over the anchors, for batches of different classes with as many images of each.
    ///
    /// The newest entries of the memory are the anchors' own batch. The others are taken for independent draws, each of
    /// an anchor's class as often as that class comes at all; in a keyed memory for draws of different images.
    fn expected(recipe: &Recipe, plan: &EpochPlan, labels: &[u32], filled: usize) -> Self {
        let images = recipe.batch.images as f64;
        let batch = recipe.batch.classes as f64 * images;
        let in_batch = [images - 1.0, batch - images];
        if filled == 0 {
            return Self { batch: in_batch, memory: [0.0; 2] };
        }
        let sizes = class_counts(labels, labels.iter().copied());
        let drawn = plan.batches.iter().flatten().map(|&position| labels[position as usize]);
        let shares: Vec<f64> = match recipe.batch.sampler {
            Sampler::Cover => {
                let counts = class_counts(labels, drawn);
                let all = counts.iter().sum::<u64>() as f64;
                counts.iter().map(|&count| count as f64 / all).collect()
            }
            // Every class as often as any other, whatever this one epoch drew.
            Sampler::Random => vec![1.0 / sizes.len() as f64; sizes.len()],
        };
        let older = (filled as f64 - batch).max(0.0);
        let same = match recipe.memory.policy {
            Policy::Fifo => shares.iter().map(|share| share * share).sum::<f64>() * older,
            Policy::Keyed => {
                // Of the images that are not in the batch, those of the anchor's class.
                let of_class: f64 =
                    shares.iter().zip(&sizes).map(|(share, &size)| share * size as f64).sum();
                let others = (labels.len() as f64 - batch).max(1.0);
                (of_class - images).max(0.0) * (older / others).min(1.0)
            }
        };
        Self { batch: in_batch, memory: [in_batch[0] + same, in_batch[1] + older - same] }
    }
}

/// How often each class of `labels` comes in `drawn`.
fn class_counts(labels: &[u32], drawn: impl Iterator<Item = u32>) -> Vec<u64> {
    let mut counts = vec![0; labels.iter().max().map_or(0, |&most| most as usize + 1)];
    drawn.for_each(|class| counts[class as usize] += 1);
    counts
}

fn product(sizes: &[usize]) -> u64 {
    sizes.iter().fold(1, |product: u64, &size| product.saturating_mul(size as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Silent, trainer::batches};
    use burn::tensor::Tensor;
    use crossbatch::{MemoryConfig, Rows};

    fn recipe(settings: &[&str]) -> Recipe {
        let small =
            ["data.glyphs.train-classes=30", "data.glyphs.test-classes=12", "batch.classes=5"];
        let all = small.iter().chain(settings).map(|&setting| setting.to_owned());
        Recipe::from_sources(None, &all.collect::<Vec<_>>()).unwrap()
    }

    /// Fills a real memory with the recipe's batches; oldest age, positives and negatives of an anchor, averaged over
    /// the steps of a later epoch.
    fn simulated(recipe: &Recipe, labels: &[u32], slots: usize) -> (u64, f64, f64) {
        let device = Device::flex();
        let mut memory =
            MemoryConfig { policy: recipe.memory.policy, ..MemoryConfig::new(slots, 1) }
                .init(&device);
        let (mut oldest, mut positives, mut negatives, mut anchors, mut step) = (0, 0, 0, 0, 0);
        for epoch in 0..6 {
            for ids in batches(recipe, labels, epoch).unwrap().batches {
                step += 1;
                let of: Vec<u32> = ids.iter().map(|&id| labels[id as usize]).collect();
                let rows = Rows { labels: &of, ids: &ids };
                memory.enqueue(Tensor::zeros([ids.len(), 1], &device), rows, step).unwrap();
                if epoch > 1 {
                    oldest = oldest.max(memory.ages().max().unwrap());
                    for label in &of {
                        let same =
                            memory.columns().labels.iter().filter(|other| *other == label).count();
                        positives += same - 1;
                        negatives += memory.len() - same;
                        anchors += 1;
                    }
                }
            }
        }
        let mean = |count: usize| count as f64 / anchors as f64;
        (oldest, mean(positives), mean(negatives))
    }

    #[test]
    fn age_and_pairs_are_those_of_a_memory_that_is_filled() {
        // 30 classes of 5 images, batches of 5 classes x 4 or 2 images.
        for (settings, exact) in [
            (["memory.size=101", "batch.images=4", "batch.sampler=random"], true),
            (["memory.size=100", "batch.images=2", "batch.sampler=random"], true),
            (["memory.size=64", "batch.images=2", "batch.sampler=cover"], true),
            (["memory.size=500", "memory.policy=keyed", "batch.images=2"], false),
        ] {
            let recipe = recipe(&settings);
            let forecast = forecast(&recipe, &Silent).unwrap();
            let labels: Vec<u32> = (0..150).map(|image| image / 5).collect();
            let (oldest, positives, negatives) = simulated(&recipe, &labels, forecast.slots);
            let bound = forecast.oldest_age.unwrap();
            assert!(oldest == bound || !exact && oldest < bound, "{settings:?}: {oldest}, {bound}");
            let all = forecast.memory_positives + forecast.memory_negatives;
            assert!((all - (forecast.filled - 1) as f64).abs() < 1e-9, "{settings:?}");
            // Under `cover` a class that has just come is less likely to come again soon.
            let tolerance = 0.35 * positives.max(1.0);
            assert!(
                (forecast.memory_positives - positives).abs() < tolerance
                    && (forecast.memory_negatives - negatives).abs() < tolerance,
                "{settings:?}: {forecast:?}, found {positives} and {negatives}"
            );
        }
    }

    #[test]
    fn options_of_the_memory_and_the_optimiser_are_counted() {
        let bytes = |settings: &[&str]| forecast(&recipe(settings), &Silent).unwrap().bytes;
        let adam = bytes(&["memory.size=100"]);
        assert_eq!(adam.optimizer, 2 * adam.gradients);
        let memory = crossbatch::MemoryConfig::new(100, 128);
        assert_eq!(memory.device_bytes(), Some(100 * (128 * 4 + 8)));
        assert_eq!(adam.memory, memory.device_bytes().unwrap() + memory.screen_bytes());
        assert_eq!(adam.images, (150 + 60) * 28 * 28);
        let parts = [adam.weights, adam.gradients, adam.optimizer, adam.memory];
        let rest = [adam.images, adam.batch, adam.activations];
        assert_eq!(adam.total, parts.iter().chain(&rest).sum::<u64>());

        let other = bytes(&[
            "memory.size=100",
            "memory.storage=f16",
            "memory.momentum=0.9",
            "optimizer.kind=sgd",
            "data.cache-mib=0",
        ]);
        assert_eq!(other.memory, 100 * (128 * 2 + 8) + memory.screen_bytes());
        assert_eq!(other.optimizer, other.gradients);
        assert_eq!(other.weights, 2 * adam.weights);
        assert_eq!(other.images, 0);
        let plain = bytes(&["optimizer.kind=sgd", "optimizer.momentum=0"]);
        assert_eq!((plain.optimizer, plain.memory), (0, 0));
    }

    #[test]
    fn work_grows_with_what_is_compared() {
        let flops = |settings: &[&str]| forecast(&recipe(settings), &Silent).unwrap().flops;
        let one = flops(&["memory.size=100"]);
        // 5 classes x 4 images, 128 numbers.
        assert_eq!(one.memory_pairs, 4 * 20 * 100 * 128);
        assert_eq!(one.batch_pairs, 6 * 20 * 20 * 128);
        assert_eq!(flops(&[]).memory_pairs, 0);
        let twin = flops(&["memory.size=100", "memory.momentum=0.9"]);
        assert_eq!((twin.forward, twin.backward), (2 * one.forward, one.backward));
    }

    #[test]
    fn what_train_refuses_is_refused() {
        let error =
            |settings: &[&str]| forecast(&recipe(settings), &Silent).unwrap_err().to_string();
        assert!(error(&["memory.size=19"]).contains("at least 20"));
        assert!(error(&["memory.size=10000000000000"]).contains("GiB"));
        assert!(error(&["batch.classes=31"]).contains("batch.classes = 31"));
        assert!(error(&["data.path=nowhere"]).contains("nowhere"));
    }
}
