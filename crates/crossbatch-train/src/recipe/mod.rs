//! A recipe: everything that fixes a run.
//!
//! A recipe file may leave out any key; `merge` lays file and `--set` over the defaults and refuses
//! what it does not know; the resolved recipe is written into the run folder.

mod drift;
mod images;
mod loss;
mod memory;
mod merge;
mod size;

pub use drift::DriftRecipe;
pub use images::{CropKind, ImagesRecipe, Preset};
pub use loss::LossRecipe;
pub use memory::{CorrectionKind, Fill, MemoryRecipe};
pub use merge::{RecipeError, Source};
pub use size::MemorySize;

use std::path::PathBuf;

use burn::tensor::Device;
use crossbatch_data::{Columns, Expected, GlyphsConfig, Kind, Protocol, Sampler, Subset};
use crossbatch_models::{BackboneKind, Pooling};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// Version of the recipe format; a file of another version is refused.
pub const FORMAT_VERSION: u32 = 1;

/// Everything that fixes a run. Keys are kebab-case (`memory.same-image`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Recipe {
    /// Version of this format. Always 1.
    pub format_version: u32,
    /// Name of the run folder. Default: the recipe file's name.
    pub name: String,
    /// Seed of the initial weights and the batches. Default 0.
    pub seed: u64,
    /// Training steps. Default 2000.
    pub steps: u64,
    /// `"cpu"`, or `"gpu"` in a program that was built with a GPU feature. Default `"cpu"`.
    pub device: DeviceChoice,
    /// Threads; 0 uses every core. Default 0.
    pub threads: usize,
    /// Also train the same recipe with the memory switched off, first. Default false.
    pub compare_without_memory: bool,
    /// Where the images come from.
    pub data: DataRecipe,
    /// What happens between a file and the network.
    pub images: ImagesRecipe,
    /// The network.
    pub model: ModelRecipe,
    /// What a batch is made of.
    pub batch: BatchRecipe,
    /// How weights are updated.
    pub optimizer: OptimizerRecipe,
    /// What is minimised.
    pub loss: LossRecipe,
    /// The cross-batch memory.
    pub memory: MemoryRecipe,
    /// What is measured of stale features.
    pub drift: DriftRecipe,
    /// What is kept of a run.
    pub train: TrainRecipe,
    /// When and how to measure.
    pub evaluation: EvaluationRecipe,
}

impl Default for Recipe {
    fn default() -> Self {
        Self {
            format_version: FORMAT_VERSION,
            name: "run".to_owned(),
            seed: 0,
            steps: 2000,
            device: DeviceChoice::Cpu,
            threads: 0,
            compare_without_memory: false,
            data: DataRecipe::default(),
            images: ImagesRecipe::default(),
            model: ModelRecipe::default(),
            batch: BatchRecipe::default(),
            optimizer: OptimizerRecipe::default(),
            loss: LossRecipe::default(),
            memory: MemoryRecipe::default(),
            drift: DriftRecipe::default(),
            train: TrainRecipe::default(),
            evaluation: EvaluationRecipe::default(),
        }
    }
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The processor's cores.
    Cpu,
    /// The GPU that [`crossbatch::gpu`] finds.
    Gpu,
}

impl DeviceChoice {
    /// As in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }

    /// The device, without autodiff.
    ///
    /// # Errors
    ///
    /// If a GPU is asked for and there is none.
    pub fn open(self) -> Result<Device, Error> {
        match self {
            Self::Cpu => Ok(Device::flex()),
            Self::Gpu => crossbatch::gpu().ok_or(Error::NoGpu),
        }
    }
}

/// `[data]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct DataRecipe {
    /// Folder, list file or archive folder. Left out: the built-in data set `glyphs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// One of [`Kind::ALL`]. Left out: recognised from what lies at the path, in that order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// List of training images, with `test-list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub train_list: Option<PathBuf>,
    /// List of test images; its classes must not be in `train-list`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_list: Option<PathBuf>,
    /// Share of the classes that is kept for testing, where the data has no split of its own.
    /// Default 0.5.
    pub test_fraction: f64,
    /// Share of the *training* classes that is held out for validation. Default 0.
    pub validation: f64,
    /// Parts into which the training classes are cut for cross-validation; 0 for none. Default 0.
    pub folds: usize,
    /// The part that validates, from 0. Default 0.
    pub fold: usize,
    /// `"all"`, `"query-gallery"` or `"one-gallery"`: who searches whom among the test images. Left out: what
    /// the data set's own list says, else `"all"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Which test list of VehicleID: `"small"`, `"medium"` or `"large"`. Default `"small"`.
    pub subset: Subset,
    /// Whether Omniglot's training characters turned by 90, 180 and 270 degrees are further classes. Default false.
    pub rotations: bool,
    /// Seed of the class-disjoint splits. Default 0.
    pub split_seed: u64,
    /// Side of the square images that the network sees, in pixels. Default 28.
    pub image_size: usize,
    /// 1 (grey) or 3 (colour). Left out: 1 for `glyphs` and `omniglot`, else 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Whether dark becomes 1 and light 0. Left out: true for `glyphs` and `omniglot` (ink on paper).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invert: Option<bool>,
    /// Decoded images are kept in memory up to this many MiB; beyond, they are decoded again for
    /// each batch. Default 2048.
    pub cache_mib: usize,
    /// Columns of lists that are not `path,label`.
    pub columns: Columns,
    /// What the data set must hold.
    pub expected: Expected,
    /// The built-in data set.
    pub glyphs: GlyphsConfig,
}

impl Default for DataRecipe {
    fn default() -> Self {
        Self {
            path: None,
            kind: None,
            train_list: None,
            test_list: None,
            test_fraction: 0.5,
            validation: 0.0,
            folds: 0,
            fold: 0,
            protocol: None,
            subset: Subset::Small,
            rotations: false,
            split_seed: 0,
            image_size: 28,
            channels: None,
            invert: None,
            cache_mib: 2048,
            columns: Columns::default(),
            expected: Expected::default(),
            glyphs: GlyphsConfig::default(),
        }
    }
}

/// `[model]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ModelRecipe {
    /// A name that [`BackboneKind`] knows. Default `"conv4"`.
    pub backbone: BackboneKind,
    /// Numbers in an embedding. Default 128.
    pub embedding_size: usize,
    /// How features become a row. Left out: `"flatten"` for `conv4`, else `"average"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pooling: Option<Pooling>,
    /// Stride of a residual network's last layer, 1 or 2. Default 2.
    pub last_stride: usize,
    /// Whether a layer normalisation comes before the linear layer. Default false.
    pub head_norm: bool,
    /// Whether batch normalisations keep their statistics, scales and shifts. Default false.
    pub freeze_norm: bool,
    /// Stages of the backbone that are not trained, from the input on. Default 0.
    pub freeze_stages: usize,
    /// Weights that the backbone starts from: a PyTorch or safetensors file. Left out: random ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Whether a network for one channel takes the sum over the three of `weights`. Default false.
    pub grey_from_colour: bool,
}

impl Default for ModelRecipe {
    fn default() -> Self {
        Self {
            backbone: BackboneKind::Conv4,
            embedding_size: 128,
            pooling: None,
            last_stride: 2,
            head_norm: false,
            freeze_norm: false,
            freeze_stages: 0,
            weights: None,
            grey_from_colour: false,
        }
    }
}

/// `[batch]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct BatchRecipe {
    /// Classes in a batch (P). Default 16.
    pub classes: usize,
    /// Images of each class (K). Default 4.
    pub images: usize,
    /// `"cover"` (every image once before any is repeated) or `"random"`. Default `"cover"`.
    pub sampler: Sampler,
}

impl Default for BatchRecipe {
    fn default() -> Self {
        Self { classes: 16, images: 4, sampler: Sampler::Cover }
    }
}

/// `[optimizer]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct OptimizerRecipe {
    /// `"adam"` (weight decay joins the gradient), `"adamw"` (decoupled) or `"sgd"`. Default `"adam"`.
    pub kind: OptimizerKind,
    /// Learning rate. Default 0.001.
    pub lr: f64,
    /// Weight decay. Default 0.0005.
    pub weight_decay: f64,
    /// Adam's decay rates of the first and second moment. Default [0.9, 0.999].
    pub betas: [f32; 2],
    /// Adam's epsilon. Default 1e-8, as in PyTorch.
    pub epsilon: f32,
    /// Momentum of `"sgd"`. Default 0.9.
    pub momentum: f64,
    /// `"constant"` or `"cosine"` (down to 0 at the last step). Default `"constant"`.
    pub schedule: Schedule,
    /// Steps over which the learning rate rises from 0. Default 0.
    pub warmup_steps: u64,
}

impl Default for OptimizerRecipe {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::Adam,
            lr: 1e-3,
            weight_decay: 5e-4,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
            momentum: 0.9,
            schedule: Schedule::Constant,
            warmup_steps: 0,
        }
    }
}

/// Which optimiser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// Adam with L2 in the gradient.
    Adam,
    /// Adam with decoupled weight decay.
    Adamw,
    /// Stochastic gradient descent with momentum.
    Sgd,
}

/// How the learning rate changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Always `lr`.
    Constant,
    /// Half a cosine from `lr` to 0.
    Cosine,
}

impl OptimizerRecipe {
    /// Learning rate of a step, counted from 1, of `steps`.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        let warmup = if step <= self.warmup_steps {
            step as f64 / (self.warmup_steps + 1) as f64
        } else {
            1.0
        };
        let done = (step - 1) as f64 / steps.max(1) as f64;
        let factor = match self.schedule {
            Schedule::Constant => 1.0,
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
        };
        self.lr * warmup * factor
    }
}

/// `[train]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct TrainRecipe {
    /// Which weights are measured at the end: the `"last"`, or the `"best"` on the validation
    /// classes (needs `data.validation`). Default `"last"`.
    pub report: Report,
    /// Steps between checkpoints; 0 writes one only at the end or on Ctrl-C. Default 500.
    pub checkpoint_every: u64,
}

impl Default for TrainRecipe {
    fn default() -> Self {
        Self { report: Report::Last, checkpoint_every: 500 }
    }
}

/// Which weights are measured at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Report {
    /// Those of the last step.
    Last,
    /// Those with the highest R@1 on the validation classes.
    Best,
}

/// `[evaluation]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct EvaluationRecipe {
    /// Steps between measurements during training; 0 measures only at the end. They are taken on
    /// the validation classes; without any, on the test classes, where they choose nothing.
    /// Default 500.
    pub every: u64,
    /// The K of Recall@K. 1, 10 and 100 are always among them. Default [1, 10, 100].
    pub recall: Vec<usize>,
    /// Images embedded at a time. Default 256.
    pub batch: usize,
    /// Whether raw pixels are measured too; slow for many large images. Default true.
    pub raw: bool,
}

impl Default for EvaluationRecipe {
    fn default() -> Self {
        Self { every: 500, recall: vec![1, 10, 100], batch: 256, raw: true }
    }
}

impl Recipe {
    /// The built-in recipe: the data set `glyphs`, with and without memory.
    pub const BUILT_IN: &'static str = include_str!("../../../../recipes/glyphs.toml");

    /// The recipe with its memory switched off and nothing to compare with.
    #[must_use]
    pub fn without_memory(&self) -> Self {
        let mut recipe = self.clone();
        recipe.memory.size = MemorySize::Count(0);
        recipe.compare_without_memory = false;
        recipe
    }

    /// As TOML, every key written out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a recipe is plain tables and numbers")
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    ///
    /// If a value is out of its range; the message names the key, the value and the range.
    pub fn check(&self) -> Result<(), RecipeError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let fraction = |value: f64| (0.0..1.0).contains(&value);
        let rule = |holds: bool, key: &'static str, value: String, expected: &'static str| {
            if holds { Ok(()) } else { Err(RecipeError::Range { key, value, expected }) }
        };
        let text = |value: &dyn ToString| value.to_string();
        rule(
            self.format_version == FORMAT_VERSION,
            "format-version",
            text(&self.format_version),
            "1, the only version this program knows",
        )?;
        rule(
            !self.name.is_empty() && !self.name.contains(['/', '\\']) && self.name != "..",
            "name",
            format!("{:?}", self.name),
            "the name of a folder, without slashes",
        )?;
        rule(self.steps > 0, "steps", text(&self.steps), "at least 1")?;
        rule(
            fraction(self.data.test_fraction) && self.data.test_fraction > 0.0,
            "data.test-fraction",
            text(&self.data.test_fraction),
            "a share between 0 and 1",
        )?;
        rule(
            fraction(self.data.validation),
            "data.validation",
            text(&self.data.validation),
            "a share from 0 to below 1",
        )?;
        let smallest = self.model.backbone.smallest_image();
        rule(
            (smallest..=1024).contains(&self.data.image_size),
            "data.image-size",
            text(&self.data.image_size),
            "from 8 to 1024 pixels",
        )?;
        rule(
            matches!(self.data.channels, None | Some(1 | 3)),
            "data.channels",
            text(&self.data.channels.unwrap_or(0)),
            "1 (grey) or 3 (colour)",
        )?;
        rule(
            (1..=65_536).contains(&self.model.embedding_size),
            "model.embedding-size",
            text(&self.model.embedding_size),
            "from 1 to 65536",
        )?;
        self.embedder_config().check().map_err(RecipeError::Model)?;
        rule(
            self.batch.classes >= 2,
            "batch.classes",
            text(&self.batch.classes),
            "at least 2, or no pair is negative",
        )?;
        rule(
            self.batch.images >= 2,
            "batch.images",
            text(&self.batch.images),
            "at least 2, or no pair is positive",
        )?;
        rule(
            positive(self.optimizer.lr),
            "optimizer.lr",
            text(&self.optimizer.lr),
            "a number above 0",
        )?;
        rule(
            self.optimizer.weight_decay.is_finite() && self.optimizer.weight_decay >= 0.0,
            "optimizer.weight-decay",
            text(&self.optimizer.weight_decay),
            "0 or more",
        )?;
        rule(
            self.optimizer.betas.iter().all(|beta| (0.0..1.0).contains(beta)),
            "optimizer.betas",
            format!("{:?}", self.optimizer.betas),
            "two numbers from 0 to below 1",
        )?;
        rule(
            positive(self.optimizer.epsilon.into()),
            "optimizer.epsilon",
            text(&self.optimizer.epsilon),
            "a number above 0",
        )?;
        rule(
            (0.0..1.0).contains(&self.optimizer.momentum),
            "optimizer.momentum",
            text(&self.optimizer.momentum),
            "from 0 to below 1",
        )?;
        rule(
            self.memory.weight.is_finite() && self.memory.weight >= 0.0,
            "memory.weight",
            text(&self.memory.weight),
            "0 or more",
        )?;
        rule(
            self.memory.half_life.is_none_or(positive),
            "memory.half-life",
            text(&self.memory.half_life.unwrap_or_default()),
            "a number of steps above 0",
        )?;
        rule(
            self.memory.momentum.is_none_or(|momentum| (0.0..1.0).contains(&momentum)),
            "memory.momentum",
            text(&self.memory.momentum.unwrap_or_default()),
            "from 0 to below 1, such as 0.999",
        )?;
        rule(
            !self.drift.spans.is_empty() && !self.drift.spans.contains(&0),
            "drift.spans",
            format!("{:?}", self.drift.spans),
            "one or more numbers of steps, each at least 1",
        )?;
        rule(self.drift.probes >= 2, "drift.probes", text(&self.drift.probes), "at least 2")?;
        self.loss.check().map_err(RecipeError::Loss)?;
        rule(
            self.evaluation.batch > 0,
            "evaluation.batch",
            text(&self.evaluation.batch),
            "at least 1",
        )?;
        rule(
            !self.evaluation.recall.contains(&0),
            "evaluation.recall",
            format!("{:?}", self.evaluation.recall),
            "numbers of at least 1",
        )?;
        // The data crate knows these ranges, and names the keys.
        crossbatch_data::check_images(
            &crate::data::image_spec(self, crossbatch_data::Kind::Folder),
            &self.images.loader(self.seed, self.threads),
        )
        .map_err(|error| RecipeError::Images(error.to_string()))?;
        let can_choose =
            self.train.report == Report::Last || self.data.validation > 0.0 || self.data.folds > 0;
        rule(
            can_choose,
            "train.report",
            "best".to_owned(),
            "\"last\", or a share of classes in data.validation to choose by",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_follow_the_schedule() {
        let mut optimizer = OptimizerRecipe { lr: 1.0, ..Default::default() };
        assert_eq!(optimizer.rate(1, 100), 1.0);
        optimizer.schedule = Schedule::Cosine;
        assert_eq!(optimizer.rate(1, 100), 1.0);
        assert!((optimizer.rate(51, 100) - 0.5).abs() < 1e-12);
        assert!(optimizer.rate(100, 100) < 0.001);
        optimizer.warmup_steps = 4;
        assert!((optimizer.rate(1, 1_000_000) - 0.2).abs() < 1e-6);
    }

    #[test]
    fn the_default_and_the_built_in_recipe_pass_their_checks() {
        Recipe::default().check().unwrap();
        let recipe = Recipe::from_sources(Some((Recipe::BUILT_IN, "glyphs")), &[]).unwrap();
        assert!(recipe.compare_without_memory);
    }

    #[test]
    fn what_is_written_reads_back() {
        let recipe = Recipe::default();
        let text = recipe.to_toml();
        assert_eq!(Recipe::from_sources(Some((&text, "again")), &[]).unwrap(), recipe);
    }
}
