//! What lies in a run folder, and reading it back.
//!
//! ```text
//! RUN/
//!   recipe.toml             the resolved recipe
//!   command.json            command line, version, device, threads
//!   metrics.jsonl, .csv     a row a step and a row a measurement
//!   last.safetensors        weights of the last step, in PyTorch's names
//!   best.safetensors        weights that were best on the validation classes, where there are any
//!   checkpoint.safetensors  everything that training needs to go on
//!   summary.json            the outcome
//!   without-memory/         the same of the comparison without memory
//! ```

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use crossbatch_data::ImageSpec;
use crossbatch_models::{Embedder, EmbedderConfig, StateDict, from_safetensors, to_safetensors};
use fs_err as fs;

use crate::{
    data::image_spec,
    error::Error,
    events::Phase,
    recipe::{FORMAT_VERSION, Recipe, Report},
    summary::Summary,
    write_atomically,
};

/// Metadata key of the format version in safetensors files.
const VERSION_KEY: &str = "crossbatch_format_version";

/// A folder that holds a run.
#[derive(Debug, Clone)]
pub struct RunFolder {
    path: PathBuf,
}

/// A run's network, ready to embed images as it was trained on.
#[derive(Debug)]
pub struct TrainedModel {
    /// The run's recipe.
    pub recipe: Recipe,
    /// The network.
    pub embedder: Embedder,
    /// How images become its input.
    pub spec: ImageSpec,
}

impl RunFolder {
    /// Whether a new run may be written to `path`.
    ///
    /// # Errors
    ///
    /// If there is a file, or a folder that is not empty.
    pub fn check_free(path: &Path) -> Result<(), Error> {
        let in_use = path.exists() && (!path.is_dir() || fs::read_dir(path)?.next().is_some());
        if in_use { Err(Error::FolderInUse(path.to_owned())) } else { Ok(()) }
    }

    /// Makes the folder for a new run and writes its recipe.
    ///
    /// # Errors
    ///
    /// If it exists and is not empty, or cannot be written.
    pub fn create(path: &Path, recipe: &Recipe) -> Result<Self, Error> {
        Self::check_free(path)?;
        fs::create_dir_all(path)?;
        let folder = Self { path: path.to_owned() };
        folder.write_recipe(recipe)?;
        Ok(folder)
    }

    /// An existing run folder.
    ///
    /// # Errors
    ///
    /// If it holds no recipe.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if !path.join("recipe.toml").is_file() {
            return Err(Error::NotARun(path.to_owned()));
        }
        Ok(Self { path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder of one of its networks.
    pub(crate) fn phase(&self, phase: Phase) -> PathBuf {
        match phase {
            Phase::Main => self.path.clone(),
            Phase::WithoutMemory => self.path.join("without-memory"),
        }
    }

    pub(crate) fn write_recipe(&self, recipe: &Recipe) -> Result<(), Error> {
        let text = format!("# The resolved recipe of this run.\n{}", recipe.to_toml());
        Ok(write_atomically(&self.path.join("recipe.toml"), text.as_bytes())?)
    }

    /// The run's recipe, with `settings` laid over it.
    ///
    /// # Errors
    ///
    /// If it is damaged or of another version, or a setting does not fit.
    pub fn recipe(&self, settings: &[String]) -> Result<Recipe, Error> {
        let path = self.path.join("recipe.toml");
        let text = fs::read_to_string(&path)?;
        if let Ok(table) = text.parse::<toml::Table>() {
            let found = table.get("format-version").map(ToString::to_string);
            check_version(&path, found.as_deref())?;
        }
        Ok(Recipe::from_sources(Some((&text, &path.to_string_lossy())), settings)?)
    }

    /// Writes `summary.json`.
    pub(crate) fn write_summary(&self, summary: &Summary) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(summary).expect("a summary is plain data");
        Ok(write_atomically(&self.path.join("summary.json"), (text + "\n").as_bytes())?)
    }

    /// Reads `summary.json`.
    ///
    /// # Errors
    ///
    /// If it is missing, damaged or of another version.
    pub fn summary(&self) -> Result<Summary, Error> {
        let path = self.path.join("summary.json");
        let wrong = |error: serde_json::Error| Error::RunFile {
            path: path.clone(),
            reason: error.to_string(),
        };
        let value: serde_json::Value = serde_json::from_slice(&fs::read(&path)?).map_err(wrong)?;
        check_version(&path, value.get("format_version").map(ToString::to_string).as_deref())?;
        serde_json::from_value(value).map_err(wrong)
    }

    /// The run's trained network.
    ///
    /// # Errors
    ///
    /// If the weights asked for are missing, damaged, of another version or another network.
    pub fn model(&self, report: Report) -> Result<TrainedModel, Error> {
        let recipe = self.recipe(&[])?;
        let kind = recipe.data.kind.ok_or_else(|| Error::RunFile {
            path: self.path.join("recipe.toml"),
            reason: "it does not say `data.kind`; only resolved recipes lie in run folders"
                .to_owned(),
        })?;
        let spec = image_spec(&recipe, kind);
        let embedder = self.load_weights(Phase::Main, report, &recipe)?;
        Ok(TrainedModel { recipe, embedder, spec })
    }

    pub(crate) fn write_weights(
        &self,
        phase: Phase,
        report: Report,
        embedder: &Embedder,
        config: &EmbedderConfig,
        step: u64,
    ) -> Result<(), Error> {
        let path = self.phase(phase).join(weights_file(report));
        let mut metadata = versioned();
        metadata.insert("format".to_owned(), "pt".to_owned());
        metadata.insert("step".to_owned(), step.to_string());
        let config = serde_json::to_string(config).expect("a config is plain data");
        metadata.insert("embedder".to_owned(), config);
        let bytes = to_safetensors(&embedder.state_dict(), metadata)
            .map_err(|source| Error::Weights { path: path.clone(), source })?;
        Ok(write_atomically(&path, &bytes)?)
    }

    pub(crate) fn load_weights(
        &self,
        phase: Phase,
        report: Report,
        recipe: &Recipe,
    ) -> Result<Embedder, Error> {
        let file = weights_file(report);
        let path = self.phase(phase).join(file);
        if !path.exists() && report == Report::Best && recipe.data.validation == 0.0 {
            return Err(Error::NoBest(self.path.clone()));
        }
        if !path.exists() {
            return Err(Error::NoWeights { run: self.path.clone(), file: file.to_owned() });
        }
        let (state, _) = read_state(&path, "")?;
        let config = recipe.embedder_config();
        Embedder::new(&config, 0, &recipe.device.open()?)
            .load_state_dict(&state)
            .map_err(|source| Error::Weights { path, source })
    }
}

fn weights_file(report: Report) -> &'static str {
    match report {
        Report::Last => "last.safetensors",
        Report::Best => "best.safetensors",
    }
}

/// Metadata that states the format version.
pub(crate) fn versioned() -> HashMap<String, String> {
    HashMap::from([(VERSION_KEY.to_owned(), FORMAT_VERSION.to_string())])
}

/// Tensors and metadata of a safetensors file of this version; `prefix` as in [`from_safetensors`].
pub(crate) fn read_state(
    path: &Path,
    prefix: &str,
) -> Result<(StateDict, HashMap<String, String>), Error> {
    let (state, metadata) = from_safetensors(&fs::read(path)?, prefix)
        .map_err(|source| Error::Weights { path: path.to_owned(), source })?;
    check_version(path, metadata.get(VERSION_KEY).map(String::as_str))?;
    Ok((state, metadata))
}

pub(crate) fn check_version(path: &Path, found: Option<&str>) -> Result<(), Error> {
    if found == Some(FORMAT_VERSION.to_string().as_str()) {
        return Ok(());
    }
    Err(Error::Version {
        path: path.to_owned(),
        found: found.unwrap_or("none").to_owned(),
        expected: FORMAT_VERSION,
    })
}
