//! Everything that training needs to go on, in one file that is replaced atomically.
//!
//! `checkpoint.safetensors`: `model.*` (the weights), `optimizer` (Burn's optimiser record, bytes),
//! `memory.*` (embeddings, labels, ids, births, order of the slots) and, in the metadata, where training
//! and the memory stand. Where there are any: `twin.*` (the momentum twin's weights), `loss.*` (what losses learn) and
//! `drift.*` (the probes' records).

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use burn::tensor::{Bytes, Tensor};
use crossbatch::{
    CorrectionState, DriftState, LossParameters, Memory, MemoryColumns, MemoryState, MomentumTwin,
    Policy, Storage,
};
use crossbatch_models::{Dtype, RawTensor, serialize};
use fs_err as fs;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use crate::{
    drift::DriftWatch,
    error::Error,
    folder::{read_state, versioned},
    step::Step,
    write_atomically,
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
    /// Fingerprint of the training images, see [`crate::data::LoadedSplit::fingerprint`].
    pub(crate) data: String,
}

/// What of a memory's state is no tensor.
#[derive(Debug, Serialize, Deserialize)]
struct MemoryPosition {
    policy: Policy,
    storage: Storage,
    now: u64,
    correction: Option<CorrectionState>,
}

/// Names of the drift's records: in inference mode and in training mode.
const DRIFT: [&str; 2] = ["inference", "training"];

pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

pub(crate) fn save(
    folder: &Path,
    step: &Step,
    drift: Option<&DriftWatch<'_>>,
    position: &Position,
) -> Result<(), Error> {
    let path = path(folder);
    let wrong = |reason: String| Error::RunFile { path: path.clone(), reason };

    let state = step.embedder.state_dict();
    let optimizer = step.optimizer.into_bytes().map_err(|error| wrong(error.to_string()))?;
    let memory = step.memory.as_ref().map(Memory::state);
    let twin = step.twin.as_ref().map(|twin| twin.network().state_dict()).unwrap_or_default();
    let learnt: Vec<Vec<f32>> = step
        .objective
        .parameters()
        .values()
        .into_iter()
        .map(|value| value.into_data().try_to_vec().expect("what losses learn is f32"))
        .collect();
    let records: Vec<(&str, &DriftState)> =
        drift.map(|watch| DRIFT.into_iter().zip(watch.state()).collect()).unwrap_or_default();
    let record_values: Vec<Vec<f32>> = records
        .iter()
        .map(|(_, state)| state.records.iter().flat_map(|(_, values)| values).copied().collect())
        .collect();
    let record_steps: Vec<Vec<u64>> = records
        .iter()
        .map(|(_, state)| state.records.iter().map(|(step, _)| *step).collect())
        .collect();

    let model = [("model", &state), ("twin", &twin)].into_iter().flat_map(|(of, state)| {
        state.iter().map(move |(name, tensor)| RawTensor {
            name: format!("{of}.{name}"),
            dtype: Dtype::F32,
            shape: tensor.shape.clone(),
            bytes: bytemuck::cast_slice(&tensor.values),
        })
    });
    let raw =
        |name: &str, dtype, shape, bytes| RawTensor { name: name.to_owned(), dtype, shape, bytes };
    let cast = bytemuck::cast_slice::<u32, u8>;
    let memory_tensors = memory.iter().flat_map(|state| {
        let MemoryState { columns, embeddings, .. } = state;
        let filled = columns.len();
        let dtype = match state.storage {
            Storage::F32 => Dtype::F32,
            Storage::F16 => Dtype::F16,
            Storage::Bf16 => Dtype::BF16,
        };
        let numbers = embeddings.len() / state.storage.bytes();
        let dim = numbers.checked_div(filled).unwrap_or(0);
        [
            raw("memory.embeddings", dtype, vec![filled, dim], embeddings),
            raw("memory.labels", Dtype::U32, vec![filled], cast(&columns.labels)),
            raw("memory.ids", Dtype::U32, vec![filled], cast(&columns.ids)),
            raw("memory.births", Dtype::U64, vec![filled], bytemuck::cast_slice(&columns.births)),
            raw("memory.order", Dtype::U32, vec![filled], cast(&state.order)),
        ]
    });
    let optimizer = raw("optimizer", Dtype::U8, vec![optimizer.len()], &optimizer[..]);
    let learnt = learnt.iter().enumerate().map(|(term, values)| {
        raw(&format!("loss.{term}"), Dtype::F32, vec![values.len()], bytemuck::cast_slice(values))
    });
    let records = records.iter().zip(&record_values).zip(&record_steps).flat_map(
        |(((name, state), values), steps)| {
            let width = values.len().checked_div(steps.len()).unwrap_or(0);
            let rows = width.checked_div(state.dim).unwrap_or(0);
            [
                raw(
                    &format!("drift.{name}"),
                    Dtype::F32,
                    vec![steps.len(), rows, state.dim],
                    bytemuck::cast_slice(values),
                ),
                raw(
                    &format!("drift.{name}.steps"),
                    Dtype::U64,
                    vec![steps.len()],
                    bytemuck::cast_slice(steps),
                ),
            ]
        },
    );
    let tensors =
        model.chain(memory_tensors).chain([optimizer]).chain(learnt).chain(records).collect();

    let mut metadata = versioned();
    let position = serde_json::to_string(position).expect("a position is plain data");
    metadata.insert("position".to_owned(), position);
    if let Some(state) = &memory {
        let position = MemoryPosition {
            policy: state.policy,
            storage: state.storage,
            now: state.now,
            correction: state.correction.clone(),
        };
        let position = serde_json::to_string(&position).expect("a position is plain data");
        metadata.insert("memory".to_owned(), position);
    }
    let bytes = serialize(tensors, metadata).map_err(|error| wrong(error.to_string()))?;
    Ok(write_atomically(&path, &bytes)?)
}

/// Where the checkpoint in `folder` stands, or `None` where there is none.
pub(crate) fn position(folder: &Path) -> Result<Option<Position>, Error> {
    let path = path(folder);
    if !path.exists() {
        return Ok(None);
    }
    let (_, metadata) = read_state(&path, "nothing but the metadata is wanted")?;
    parse_position(&path, &metadata).map(Some)
}

fn parse_position(path: &Path, metadata: &HashMap<String, String>) -> Result<Position, Error> {
    let wrong = |reason: String| Error::RunFile { path: path.to_owned(), reason };
    let position =
        metadata.get("position").ok_or_else(|| wrong("it has no position".to_owned()))?;
    serde_json::from_str(position).map_err(|error| wrong(error.to_string()))
}

/// Puts a checkpoint's state into `step` and returns where training stands.
pub(crate) fn restore(
    folder: &Path,
    step: &mut Step,
    drift: Option<&mut DriftWatch<'_>>,
) -> Result<Position, Error> {
    let path = path(folder);
    let wrong = |reason: String| Error::RunFile { path: path.clone(), reason };
    let (state, metadata) = read_state(&path, "model.")?;
    let position = parse_position(&path, &metadata)?;

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
    if let Some(memory) = &mut step.memory {
        let saved = metadata.get("memory").ok_or_else(|| wrong("it has no memory".to_owned()))?;
        let saved: MemoryPosition =
            serde_json::from_str(saved).map_err(|error| wrong(error.to_string()))?;
        memory.restore(MemoryState {
            policy: saved.policy,
            storage: saved.storage,
            embeddings: data("memory.embeddings")?.to_vec(),
            columns: MemoryColumns {
                labels: bytemuck::pod_collect_to_vec(data("memory.labels")?),
                ids: bytemuck::pod_collect_to_vec(data("memory.ids")?),
                births: bytemuck::pod_collect_to_vec(data("memory.births")?),
            },
            order: bytemuck::pod_collect_to_vec(data("memory.order")?),
            now: saved.now,
            correction: saved.correction,
        })?;
    }
    if let Some(twin) = &mut step.twin {
        let (state, _) = read_state(&path, "twin.")?;
        let network = twin
            .network()
            .clone()
            .load_state_dict(&state)
            .map_err(|source| Error::Weights { path: path.clone(), source })?;
        *twin = MomentumTwin::from_network(network, twin.momentum());
    }
    let learnt = step.objective.parameters().values();
    if !learnt.is_empty() {
        let values = learnt.into_iter().enumerate().map(|(term, old)| {
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(data(&format!("loss.{term}"))?);
            let [count] = old.dims();
            if values.len() != count {
                let found = values.len();
                return Err(wrong(format!("loss {term} learnt {found} numbers, not {count}")));
            }
            Ok(Tensor::from_data(&values[..], &old.device()))
        });
        let values = values.collect::<Result<Vec<_>, Error>>()?;
        step.objective.set_parameters(LossParameters::from_values(values));
    }
    if let Some(watch) = drift {
        let record = |name: &str| {
            let tensor = file
                .tensor(&format!("drift.{name}"))
                .map_err(|_| wrong(format!("it has no tensor `drift.{name}`")))?;
            let dim = tensor.shape().last().copied().unwrap_or(0);
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            let steps: Vec<u64> =
                bytemuck::pod_collect_to_vec(data(&format!("drift.{name}.steps"))?);
            let width = values.len().checked_div(steps.len()).unwrap_or(0).max(1);
            let records = steps.into_iter().zip(values.chunks(width).map(<[f32]>::to_vec));
            Ok::<_, Error>(DriftState { records: records.collect(), dim })
        };
        watch.restore([record(DRIFT[0])?, record(DRIFT[1])?]);
    }
    Ok(position)
}
