//! What can go wrong in a run.

use std::path::PathBuf;

use crossbatch::MemoryError;
use crossbatch_models::WeightsError;

use crate::recipe::RecipeError;

/// Why a run could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The data.
    #[error(transparent)]
    Data(#[from] crossbatch_data::Error),
    /// The evaluation.
    #[error(transparent)]
    Retrieval(#[from] crossbatch_retrieval::Error),
    /// A file; the message names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Weights of another network, or a damaged file.
    #[error("cannot use the weights in {}: {source}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with them.
        source: WeightsError,
    },
    /// A file of a run folder that is damaged or not what its name says.
    #[error("cannot read {}: {reason}", path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A file written by another version of the format.
    #[error("{} has format version {found}, this program reads version {expected}; use the crossbatch that wrote it, or train again", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it states.
        found: String,
        /// The version this program reads.
        expected: u32,
    },
    /// The folder for a new run holds something already.
    #[error("{} is in use already; name a new folder with --out, or continue the run in it with --resume", .0.display())]
    FolderInUse(PathBuf),
    /// Not a run folder.
    #[error("{} is not a run folder: it has no recipe.toml; `crossbatch train` makes one", .0.display())]
    NotARun(PathBuf),
    /// A run continued with fewer steps than it has done.
    #[error(
        "`steps = {steps}` is less than the {done} steps that the run has done; give a larger number, or start a new run"
    )]
    FewerSteps {
        /// Steps asked for.
        steps: u64,
        /// Steps done.
        done: u64,
    },
    /// A run continued on other images.
    #[error(
        "the training images are not those that this run began with (an image or a class was added, removed, renamed or became unreadable), so what its memory holds would mean something else; put them back, or start a new run"
    )]
    DataChanged,
    /// A run that chose no best weights.
    #[error("{} has no best weights: it held out no classes to choose by (`data.validation = 0`); use --weights last", .0.display())]
    NoBest(PathBuf),
    /// A run without weights.
    #[error("{} has no weights yet: {} is missing; let the training finish (crossbatch train --resume)", run.display(), file)]
    NoWeights {
        /// The run folder.
        run: PathBuf,
        /// The missing file.
        file: String,
    },
    /// More unreadable images than readable ones, or none left.
    #[error("no {split} image of {data} could be read; the first: {first}")]
    NothingReadable {
        /// Which part of the data.
        split: &'static str,
        /// The data.
        data: String,
        /// The first failure.
        first: String,
    },
    /// A GPU is asked for, and there is none.
    #[error(
        "cannot use `device = \"gpu\"`: this program finds no GPU; build it with the feature of yours (`cargo build --release --features wgpu`, or vulkan, metal, cuda, rocm) and look after its driver, or use \"cpu\""
    )]
    NoGpu,
    /// A memory of numbers that the device cannot store.
    #[error(
        "`memory.storage = \"{storage}\"` is a type that this GPU does not compute with; use \"f32\""
    )]
    NoSuchStorage {
        /// As in the recipe.
        storage: String,
    },
    /// A memory that a batch does not fit into.
    #[error(
        "`memory.size = {size}` is {slots} slots, but a batch is {batch} images (`batch.classes` x `batch.images`); give the memory at least {batch}, or 0 to switch it off"
    )]
    MemoryTooSmall {
        /// As in the recipe.
        size: String,
        /// Slots it comes to.
        slots: usize,
        /// Images in a batch.
        batch: usize,
    },
    /// A memory that this machine has no room for.
    #[error(
        "`memory.size = {size}` of embeddings with {dim} numbers takes {gib} GiB, which this machine does not give; make `memory.size` or `model.embedding-size` smaller"
    )]
    MemoryTooLarge {
        /// As in the recipe.
        size: String,
        /// Numbers in an embedding.
        dim: usize,
        /// What it would take.
        gib: u64,
    },
    /// The memory refused a batch or a saved state.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// The loss is no number any more.
    #[error("the loss became {value} in step {step} (batch {batch_loss}, memory {memory_loss}); {}. Start a new run with a lower `optimizer.lr` (here {lr}), with `optimizer.warmup-steps`, or with `loss.reduction = \"pair-mean\"`", what_is_kept(.kept))]
    NotFinite {
        /// The step.
        step: u64,
        /// The loss.
        value: f32,
        /// The batch's term.
        batch_loss: f32,
        /// The memory's term, 0 without one.
        memory_loss: f32,
        /// The step of the last checkpoint.
        kept: Option<u64>,
        /// The learning rate.
        lr: f64,
    },
    /// A weight is no number any more, though the loss still was one.
    #[error("weights became infinite or NaN in step {step}; {}. Start a new run with a lower `optimizer.lr` (here {lr}) or with `optimizer.warmup-steps`", what_is_kept(.kept))]
    WeightsNotFinite {
        /// The step.
        step: u64,
        /// The step of the last checkpoint.
        kept: Option<u64>,
        /// The learning rate.
        lr: f64,
    },
    /// A setting that a run in progress cannot change.
    #[error(
        "`{key}` cannot change in a run that is continued; start a new one. These can: {allowed}"
    )]
    FixedSetting {
        /// The key.
        key: String,
        /// The keys that can.
        allowed: String,
    },
}

fn what_is_kept(step: &Option<u64>) -> String {
    step.map_or_else(
        || "there was no checkpoint yet".to_owned(),
        |step| format!("the checkpoint of step {step} is kept"),
    )
}
