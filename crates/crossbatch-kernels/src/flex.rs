//! Between tensors of the CPU backend and slices.

use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, TensorData};

/// Whether the CPU kernels serve every one of these tensors.
pub(crate) fn all_f32(tensors: &[&FlexTensor]) -> bool {
    tensors.iter().all(|tensor| tensor.dtype() == DType::F32)
}

/// The tensor with its elements in order; a view that already is costs nothing.
pub(crate) fn ordered(tensor: FlexTensor) -> FlexTensor {
    if tensor.as_slice::<f32>().is_some() { tensor } else { tensor.to_contiguous() }
}

/// The elements of an [`ordered`] f32 tensor.
pub(crate) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice::<f32>().expect("an ordered tensor of f32 is a slice")
}

/// The elements of a tensor that nobody else holds and that fills its buffer, to work in place.
pub(crate) fn values_mut(tensor: &mut FlexTensor) -> Option<&mut [f32]> {
    let count = tensor.layout().num_elements();
    let (start, end) = tensor.layout().contiguous_offsets()?;
    let values = tensor.try_storage_mut::<f32>()?;
    (start == 0 && end == count && values.len() == count).then_some(values)
}

/// A tensor of f32 from its elements in order.
pub(crate) fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A tensor of f32 from its elements in order, of another one's shape.
pub(crate) fn shaped(values: Vec<f32>, like: &FlexTensor) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, like.layout().shape().clone()))
}

/// The four sizes of a tensor.
pub(crate) fn sizes(tensor: &FlexTensor) -> [usize; 4] {
    tensor.layout().shape().dims::<4>()
}
