//! Embeddings of many images, and the metrics of those.

use burn::{
    module::Module,
    tensor::{Device, Tensor, TensorData},
};
use crossbatch_data::{ImageSpec, Images};
use crossbatch_models::{Embedder, Mode};
use crossbatch_retrieval::protocol::{Trial, evaluate_trials, one_gallery_row};
use crossbatch_retrieval::{Exclude, MetricsConfig, Options, Similarity, Vectors, evaluate_self};

use crate::{
    data::{LoadedSplit, Search},
    error::Error,
    summary::Metrics,
};

/// Embeddings `[N, D]` of all images, in inference mode, row-major.
///
/// # Errors
///
/// If an image has become unreadable since it was loaded.
pub fn embed(
    embedder: &Embedder,
    images: &Images,
    batch: usize,
    progress: &dyn Fn(usize, usize),
) -> Result<Vec<f32>, Error> {
    let embedder = embedder.valid();
    let device = embedder.device();
    let positions: Vec<usize> = (0..images.len()).collect();
    let mut embeddings = Vec::new();
    let mut done = 0;
    progress(done, images.len());
    for positions in positions.chunks(batch.max(1)) {
        embeddings.extend(forward(&embedder, image_tensor(images, positions, &device)?));
        done += positions.len();
        progress(done, images.len());
    }
    Ok(embeddings)
}

/// Embeddings `[count, D]` of one batch of decoded images `[count, C, S, S]`, values as
/// [`Images::write_f32`] makes them, in inference mode.
///
/// # Panics
///
/// If there are not as many pixels as `count` and `spec` say.
pub fn embed_pixels(
    embedder: &Embedder,
    pixels: Vec<f32>,
    count: usize,
    spec: ImageSpec,
) -> Vec<f32> {
    let embedder = embedder.valid();
    let images = pixel_tensor(pixels, count, spec, &embedder.device());
    forward(&embedder, images)
}

fn forward(embedder: &Embedder, images: Tensor<4>) -> Vec<f32> {
    let rows = embedder.forward(images, Mode::Inference);
    rows.into_data().try_to_vec().expect("embeddings are f32")
}

/// Some images as a tensor `[B, C, S, S]`.
pub(crate) fn image_tensor(
    images: &Images,
    positions: &[usize],
    device: &Device,
) -> Result<Tensor<4>, Error> {
    let spec = images.spec();
    let mut pixels = Vec::new();
    images.write_f32(positions, &mut pixels)?;
    Ok(pixel_tensor(pixels, positions.len(), spec, device))
}

/// Normalised pixels as a tensor `[count, C, S, S]`.
pub(crate) fn pixel_tensor(
    pixels: Vec<f32>,
    count: usize,
    spec: ImageSpec,
    device: &Device,
) -> Tensor<4> {
    let shape = [count, spec.channels, spec.size, spec.size];
    Tensor::from_data(TensorData::new(pixels, shape), device)
}

/// Metrics of a network on a split, searched as [`LoadedSplit::search`] says.
///
/// # Errors
///
/// If the embeddings are not finite or no class has two images.
pub fn evaluate_model(
    embedder: &Embedder,
    split: &LoadedSplit,
    batch: usize,
    recall: &[usize],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Metrics, Error> {
    let embeddings = embed(embedder, &split.images, batch, progress)?;
    let dim = embeddings.len() / split.images.len();
    evaluate(embeddings, dim, split, recall, &|_, _| {})
}

/// Metrics of raw pixels at the network's input size, the training images' mean removed, by cosine:
/// the floor that anything trained must beat.
///
/// # Errors
///
/// As [`evaluate_model`].
pub fn evaluate_raw(
    train: &Images,
    test: &LoadedSplit,
    recall: &[usize],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Metrics, Error> {
    let spec = train.spec();
    let dim = spec.channels * spec.size * spec.size;
    let mut sums = vec![0.0f64; dim];
    let mut pixels = Vec::new();
    for position in 0..train.len() {
        progress(position, train.len());
        train.write_f32(&[position], &mut pixels)?;
        sums.iter_mut().zip(&pixels).for_each(|(sum, &value)| *sum += f64::from(value));
    }
    let mean: Vec<f32> = sums.iter().map(|sum| (sum / train.len() as f64) as f32).collect();

    let positions: Vec<usize> = (0..test.images.len()).collect();
    let mut rows = Vec::new();
    test.images.write_f32(&positions, &mut rows)?;
    for row in rows.chunks_mut(dim) {
        row.iter_mut().zip(&mean).for_each(|(value, mean)| *value -= mean);
    }
    evaluate(rows, dim, test, recall, progress)
}

/// Draws of a gallery, as VehicleID's protocol is usually averaged.
const DRAWS: usize = 10;

fn evaluate(
    rows: Vec<f32>,
    dim: usize,
    split: &LoadedSplit,
    recall: &[usize],
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Metrics, Error> {
    let rows = Vectors::new(rows, dim, Similarity::Cosine)?;
    let config = MetricsConfig { recall_at: Metrics::cuts(recall) };
    let (labels, options) = (&split.labels, Options::default());
    let trials = match &split.search {
        Search::All => return Ok(evaluate_self(&rows, labels, &config, progress)?.into()),
        Search::QueryGallery { queries, gallery } => vec![Trial {
            queries: queries.clone(),
            gallery: gallery.clone(),
            exclude: Exclude::Nothing,
        }],
        Search::OneGallery { seed } => one_gallery_row(labels, DRAWS, *seed),
    };
    Ok(evaluate_trials(&rows, labels, &trials, &config, &options)?.mean.into())
}
