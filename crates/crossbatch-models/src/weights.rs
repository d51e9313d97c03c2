//! Weights as safetensors.

use std::collections::{BTreeMap, HashMap};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

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
    let views: Vec<(&str, TensorView<'_>)> = state
        .iter()
        .map(|(name, tensor)| {
            let bytes = bytemuck::cast_slice(&tensor.values);
            Ok((name.as_str(), TensorView::new(Dtype::F32, tensor.shape.clone(), bytes)?))
        })
        .collect::<Result<_, safetensors::SafeTensorError>>()?;
    Ok(safetensors::serialize(views, Some(metadata))?)
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
