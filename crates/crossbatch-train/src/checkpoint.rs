//! Everything that training needs to go on, in one file that is replaced atomically.
//!
//! `checkpoint.safetensors`: `model.*` (the weights), `optimizer` (Burn's optimiser record, bytes),
//! `memory.*` (embeddings, labels, ids, births) and, in the metadata, where training stands.

use std::path::{Path, PathBuf};

use burn::tensor::Bytes;
use crossbatch::MemoryColumns;
use fs_err as fs;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};

use crate::{
    error::Error,
    files::write_atomically,
    folder::{read_state, versioned},
    step::Step,
};

/// Where training stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Steps done.
    pub(crate) step: u64,
    /// Epoch of the next batch.
    pub(crate) epoch: u64,
    /// Batches of that epoch already taken.
    pub(crate) taken: usize,
    /// Seconds spent training so far.
    pub(crate) seconds: f64,
    /// Highest validation R@1 so far.
    pub(crate) best: Option<f64>,
    /// The memory's write cursor.
    pub(crate) cursor: usize,
}

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

pub(crate) fn save(folder: &Path, step: &Step, position: &Position) -> Result<(), Error> {
    let path = path(folder);
    let wrong = |reason: String| Error::RunFile { path: path.clone(), reason };

    let state = step.embedder.state_dict();
    let optimizer = step.optimizer.into_bytes().map_err(|error| wrong(error.to_string()))?;
    let embeddings: Vec<f32> = match &step.memory {
        Some(memory) if !memory.is_empty() => {
            memory.embeddings().into_data().try_to_vec().expect("the memory is f32")
        }
        _ => Vec::new(),
    };
    let columns = step.memory.as_ref().map(|memory| memory.columns().clone()).unwrap_or_default();
    let filled = columns.labels.len();
    let dim = embeddings.len().checked_div(filled).unwrap_or(0);

    let view = |dtype, shape: Vec<usize>, bytes| TensorView::new(dtype, shape, bytes);
    let mut tensors = Vec::new();
    for (name, tensor) in &state {
        let bytes = bytemuck::cast_slice(&tensor.values);
        tensors.push((format!("model.{name}"), view(Dtype::F32, tensor.shape.clone(), bytes)));
    }
    let bytes = bytemuck::cast_slice(&embeddings);
    tensors.push(("optimizer".into(), view(Dtype::U8, vec![optimizer.len()], &optimizer[..])));
    tensors.push(("memory.embeddings".into(), view(Dtype::F32, vec![filled, dim], bytes)));
    let bytes = bytemuck::cast_slice(&columns.labels);
    tensors.push(("memory.labels".into(), view(Dtype::U32, vec![filled], bytes)));
    let bytes = bytemuck::cast_slice(&columns.ids);
    tensors.push(("memory.ids".into(), view(Dtype::U32, vec![filled], bytes)));
    let bytes = bytemuck::cast_slice(&columns.births);
    tensors.push(("memory.births".into(), view(Dtype::U64, vec![filled], bytes)));
    let tensors: Vec<(String, TensorView<'_>)> = tensors
        .into_iter()
        .map(|(name, view)| view.map(|view| (name, view)))
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;

    let mut metadata = versioned();
    let position = serde_json::to_string(position).expect("a position is plain data");
    metadata.insert("position".to_owned(), position);
    let bytes = safetensors::serialize(tensors, Some(metadata))
        .map_err(|error| wrong(error.to_string()))?;
    Ok(write_atomically(&path, &bytes)?)
}

/// Puts a checkpoint's state into `step` and returns where training stands.
pub(crate) fn restore(folder: &Path, step: &mut Step) -> Result<Position, Error> {
    let path = path(folder);
    let wrong = |reason: String| Error::RunFile { path: path.clone(), reason };
    let (state, metadata) = read_state(&path, "model.")?;
    let position =
        metadata.get("position").ok_or_else(|| wrong("it has no position".to_owned()))?;
    let position: Position =
        serde_json::from_str(position).map_err(|error| wrong(error.to_string()))?;

    let bytes = fs::read(&path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
    let data = |name: &str| {
        let tensor = file.tensor(name).map_err(|_| wrong(format!("it has no tensor `{name}`")))?;
        Ok::<_, Error>(tensor.data())
    };
    step.embedder = step
        .embedder
        .clone()
        .load_state_dict(&state)
        .map_err(|source| Error::Weights { path: path.clone(), source })?;
    let optimizer = Bytes::from_bytes_vec(data("optimizer")?.to_vec());
    step.optimizer =
        step.optimizer.clone().from_bytes(optimizer).map_err(|error| wrong(error.to_string()))?;
    let columns = MemoryColumns {
        labels: bytemuck::pod_collect_to_vec(data("memory.labels")?),
        ids: bytemuck::pod_collect_to_vec(data("memory.ids")?),
        births: bytemuck::pod_collect_to_vec(data("memory.births")?),
    };
    let embeddings = bytemuck::pod_collect_to_vec(data("memory.embeddings")?);
    if let Some(memory) = &mut step.memory {
        memory.restore(embeddings, columns, position.cursor)?;
    }
    Ok(position)
}
