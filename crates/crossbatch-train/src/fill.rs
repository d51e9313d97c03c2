//! The memory's first entries: sampled training images, embedded by the network as it is.

use burn::tensor::Tensor;
use crossbatch::{Memory, Rows};
use crossbatch_data::{Sampler, plan_epoch};
use crossbatch_models::{Embedder, Mode};

use crate::{data::LoadedSplit, error::Error, extract::image_tensor, recipe::Recipe};

/// Sets the fill's plan, and the drift probes', apart from the batches' plan.
const PLAN: u64 = 0x6669_6c6c;

/// Different training images, up to `count`, in batches as training has them: P classes, K images of each, every image
/// once.
pub(crate) fn sampled_batches(
    recipe: &Recipe,
    data: &LoadedSplit,
    count: usize,
) -> Result<Vec<Vec<u32>>, Error> {
    let (classes, images) = (recipe.batch.classes, recipe.batch.images);
    let mut seen = vec![false; data.labels.len()];
    let mut batches = Vec::new();
    let (mut found, mut epoch) = (0, 0);
    // An epoch may leave images out; a few more make up for it.
    while found < count.min(data.labels.len()) && epoch < 8 {
        let seed = recipe.seed ^ PLAN;
        let plan = plan_epoch(Sampler::Cover, &data.labels, classes, images, seed, epoch)?;
        for mut batch in plan.batches {
            batch.retain(|&image| !std::mem::replace(&mut seen[image as usize], true));
            batch.truncate(count - found);
            // Statistics of a batch of one would be none.
            if batch.len() >= 2 {
                found += batch.len();
                batches.push(batch);
            }
        }
        epoch += 1;
    }
    Ok(batches)
}

/// Embeddings `[N, D]` of some batches by `embedder`, each normalised by its own statistics as in training; the running
/// ones stay.
pub(crate) fn embed_batches(
    embedder: &Embedder,
    data: &LoadedSplit,
    batches: &[Vec<u32>],
) -> Result<Tensor<2>, Error> {
    let device = embedder.device();
    let rows = batches.iter().map(|batch| {
        let positions: Vec<usize> = batch.iter().map(|&id| id as usize).collect();
        let images = image_tensor(&data.images, &positions, &device)?;
        Ok(embedder.forward(images, Mode::TrainFrozenStatistics))
    });
    Ok(Tensor::cat(rows.collect::<Result<Vec<_>, Error>>()?, 0))
}

/// Fills `memory` as far as there are images. `embedder` has no autodiff.
pub(crate) fn fill(
    memory: &mut Memory,
    embedder: &Embedder,
    recipe: &Recipe,
    data: &LoadedSplit,
    step: u64,
) -> Result<(), Error> {
    let batches = sampled_batches(recipe, data, memory.capacity())?;
    if batches.is_empty() {
        return Ok(());
    }
    let embeddings = Tensor::from_inner(embed_batches(embedder, data, &batches)?);
    let ids = batches.concat();
    let labels: Vec<u32> = ids.iter().map(|&id| data.labels[id as usize]).collect();
    memory.fill(embeddings, Rows { labels: &labels, ids: &ids }, step)?;
    Ok(())
}
