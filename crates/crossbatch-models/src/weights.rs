//! Weights as safetensors.

use std::collections::{BTreeMap, HashMap};

pub use safetensors::Dtype;
use safetensors::{SafeTensors, tensor::TensorView};

use crate::import::Misfit;

/// A tensor's values in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Vec<f32>,
}

/// Tensors by name, in PyTorch's spelling (`backbone.blocks.0.conv.weight`).
pub type StateDict = BTreeMap<String, NamedTensor>;

/// Why weights could not be read or do not fit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WeightsError {
    /// Not a safetensors file, or a damaged one.
    #[error("not a readable safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    /// A tensor of a type that weights never have.
    #[error("tensor `{name}` is {dtype:?}, expected F32")]
    Dtype {
        /// The tensor.
        name: String,
        /// Its type.
        dtype: Dtype,
    },
    /// The file cannot be opened or read.
    #[error(transparent)]
    File(#[from] std::io::Error),
    /// Not a PyTorch file, or a damaged one.
    #[error("not a readable PyTorch or safetensors file: {0}")]
    PyTorch(String),
    /// The weights of another backbone.
    #[error("{0}")]
    Import(Box<Misfit>),
    /// The weights belong to another network; every tensor that does not fit is listed.
    #[error("the weights don't fit this network: {}", .0.join("; "))]
    Mismatch(Vec<String>),
}

/// `state` as the bytes of a safetensors file, with `metadata` in its header.
///
/// # Errors
///
/// If the header would outgrow the format's limit.
pub fn to_safetensors(
    state: &StateDict,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    let tensors: Vec<RawTensor<'_>> = state
        .iter()
        .map(|(name, tensor)| RawTensor {
            name: name.clone(),
            dtype: Dtype::F32,
            shape: tensor.shape.clone(),
            bytes: bytemuck::cast_slice(&tensor.values),
        })
        .collect();
    serialize(tensors, metadata)
}

/// A tensor of any type, for [`serialize`].
#[derive(Debug, Clone)]
pub struct RawTensor<'a> {
    /// Its name.
    pub name: String,
    /// Its type.
    pub dtype: Dtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, little-endian.
    pub bytes: &'a [u8],
}

/// A safetensors file that hangs on its content alone.
///
/// The crate writes metadata in the random order of a hash map; here it is sorted, so that the same
/// training gives the same file.
///
/// # Errors
///
/// If a tensor's bytes do not fit its shape, or the header would outgrow the format's limit.
pub fn serialize(
    tensors: Vec<RawTensor<'_>>,
    metadata: HashMap<String, String>,
) -> Result<Vec<u8>, WeightsError> {
    let views: Vec<(String, TensorView<'_>)> = tensors
        .into_iter()
        .map(|tensor| Ok((tensor.name, TensorView::new(tensor.dtype, tensor.shape, tensor.bytes)?)))
        .collect::<Result<_, safetensors::SafeTensorError>>()?;
    let mut file = safetensors::serialize(views, Some(metadata.clone()))?;

    let (length, data) = file.split_at_mut(8);
    let length = u64::from_le_bytes(length.try_into().expect("8 bytes")) as usize;
    let header = &mut data[..length];
    let text = std::str::from_utf8(header).expect("the header is JSON").trim_end().to_owned();
    let sorted: BTreeMap<String, String> = metadata.into_iter().collect();
    let mut parsed: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&text).expect("the header is JSON");
    parsed.insert("__metadata__".to_owned(), serde_json::json!(sorted));
    let text = serde_json::Value::Object(parsed).to_string();
    // The same entries in another order take the same room.
    assert!(text.len() <= length, "a sorted header of {} bytes for {length}", text.len());
    header.fill(b' ');
    header[..text.len()].copy_from_slice(text.as_bytes());
    Ok(file)
}

/// Tensors and metadata of a safetensors file; tensors whose name does not start with `prefix` are
/// passed over, and the prefix is cut off.
///
/// # Errors
///
/// If the bytes are no safetensors file or a tensor is not F32.
pub fn from_safetensors(
    bytes: &[u8],
    prefix: &str,
) -> Result<(StateDict, HashMap<String, String>), WeightsError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let file = SafeTensors::deserialize(bytes)?;
    let mut state = StateDict::new();
    for (name, view) in file.tensors() {
        let Some(short) = name.strip_prefix(prefix) else { continue };
        if view.dtype() != Dtype::F32 {
            return Err(WeightsError::Dtype { name, dtype: view.dtype() });
        }
        let values = bytemuck::pod_collect_to_vec(view.data());
        state.insert(short.to_owned(), NamedTensor { shape: view.shape().to_vec(), values });
    }
    Ok((state, header.metadata().clone().unwrap_or_default()))
}
