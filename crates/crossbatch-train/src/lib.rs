//! What happens in a run: recipe, training step, loop, checkpoint, evaluation.
//!
//! [`run`] is the whole of `crossbatch train`: it opens the data, measures raw pixels and the
//! untrained network, trains (first without memory, where the recipe asks to compare), measures, and
//! writes the run folder. [`RunFolder`] reads one back. [`Trainer`] is the loop alone, [`Step`] its
//! middle.

mod checkpoint;
mod data;
mod drift;
mod error;
mod events;
mod extract;
mod fill;
mod folder;
mod forecast;
mod optimizer;
mod recipe;
mod run;
mod sinks;
mod step;
mod summary;
mod trainer;

pub use crossbatch_retrieval::write_atomically;
pub use data::{LoadedSplit, Search, TrainingData, class_names, data_config, image_spec};
pub use drift::DriftEvent;
pub use error::Error;
pub use events::{Evaluation, Observer, Phase, Silent, StepEvent};
pub use extract::{embed, embed_pixels, evaluate_model, evaluate_raw};
pub use folder::{RunFolder, TrainedModel};
pub use forecast::{Bytes, Flops, Forecast, forecast};
pub use optimizer::optimizer;
pub use recipe::{
    BatchRecipe, CorrectionKind, CropKind, DataRecipe, DeviceChoice, DriftRecipe, EvaluationRecipe,
    FORMAT_VERSION, Fill, ImagesRecipe, LossRecipe, MemoryRecipe, MemorySize, ModelRecipe,
    OptimizerKind, OptimizerRecipe, Preset, Recipe, RecipeError, Report, Schedule, Source,
    TrainRecipe,
};
pub use run::{Outcome, RunConfig, run};
pub use step::{Batch, Step};
pub use summary::{MetricSet, Metrics, Summary};
pub use trainer::{Trainer, available_bytes};
