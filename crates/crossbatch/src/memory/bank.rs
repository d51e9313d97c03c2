//! The memory's tensors, written in place.

use burn::tensor::{DType, Device, IndexingUpdateOp, Int, Tensor, TensorData, kind::Basic};

/// Embeddings, labels and ids of all slots, filled or not.
///
/// The tensors carry no autodiff: nothing of a graph can hold on to them, and gradients never enter.
/// A write takes the only handle of each tensor out of the bank, so that the device writes into the
/// buffer there is; where somebody still holds a handle of an earlier step, it is copied first.
#[derive(Debug, Clone)]
pub(super) struct Bank {
    pub(super) embeddings: Tensor<2>,
    pub(super) labels: Tensor<1, Int>,
    pub(super) ids: Tensor<1, Int>,
}

/// Rows of a large tensor that are computed at once: enough to keep a device busy, few enough that
/// what they need on the way stays small.
pub(super) const CHUNK: usize = 4096;

impl Bank {
    pub(super) fn new(capacity: usize, dim: usize, dtype: DType, device: &Device) -> Self {
        let device = device.clone().inner();
        Self {
            embeddings: Tensor::zeros([capacity, dim], (&device, dtype)),
            labels: Tensor::zeros([capacity], (&device, DType::I32)),
            ids: Tensor::zeros([capacity], (&device, DType::I32)),
        }
    }

    /// What some slots hold, row after row, as f32.
    pub(super) fn rows(&self, slots: &[u32]) -> Vec<f32> {
        let slots = int_tensor(slots, &self.embeddings.device());
        numbers(self.embeddings.clone().select(0, slots))
    }

    /// Writes row `i` of the arguments to slot `slots[i]`; slots are distinct.
    pub(super) fn write(&mut self, slots: &[u32], values: Tensor<2>, labels: &[u32], ids: &[u32]) {
        let device = self.embeddings.device();
        let values = values.inner().cast(self.embeddings.dtype());
        let (labels, ids) = (int_tensor(labels, &device), int_tensor(ids, &device));
        let runs = runs(slots);
        // A ring needs one run, or two where it wraps. Scattered slots are written by index.
        if runs.len() <= 2 {
            for (rows, slots) in runs {
                assign(&mut self.embeddings, rows.clone(), slots.clone(), values.clone());
                assign(&mut self.labels, rows.clone(), slots.clone(), labels.clone());
                assign(&mut self.ids, rows, slots, ids.clone());
            }
        } else {
            let slots = int_tensor(slots, &device);
            scatter(&mut self.embeddings, slots.clone(), values);
            scatter(&mut self.labels, slots.clone(), labels);
            scatter(&mut self.ids, slots, ids);
        }
    }
}

/// A tensor's numbers as f32.
pub(super) fn numbers(tensor: Tensor<2>) -> Vec<f32> {
    tensor.cast(DType::F32).into_data().try_to_vec().expect("it was cast to f32")
}

/// Puts `map` of the first `rows` rows of `source`, as f32, into those of `target`, a chunk at a time.
pub(super) fn map_rows(
    source: &Tensor<2>,
    target: &mut Tensor<2>,
    rows: usize,
    map: impl Fn(Tensor<2>) -> Tensor<2>,
) {
    let dtype = target.dtype();
    for start in (0..rows).step_by(CHUNK) {
        let chunk = start..rows.min(start + CHUNK);
        let values = source.clone().slice(chunk.clone()).cast(DType::F32);
        let values = map(values).cast(dtype);
        assign(target, 0..chunk.len(), chunk, values);
    }
}

type Range = std::ops::Range<usize>;

/// Rows and slots of each run of slots that follow each other.
fn runs(slots: &[u32]) -> Vec<(Range, Range)> {
    let mut runs: Vec<(Range, Range)> = Vec::new();
    for (row, &slot) in slots.iter().enumerate() {
        let slot = slot as usize;
        match runs.last_mut() {
            Some((rows, slots)) if slots.end == slot => (rows.end, slots.end) = (row + 1, slot + 1),
            _ => runs.push((row..row + 1, slot..slot + 1)),
        }
    }
    runs
}

fn assign<const D: usize, K: Basic>(
    tensor: &mut Tensor<D, K>,
    rows: Range,
    slots: Range,
    values: Tensor<D, K>,
) {
    let values = if values.dims()[0] == rows.len() { values } else { values.slice(rows) };
    update(tensor, |tensor| tensor.slice_assign(slots, values));
}

fn scatter<const D: usize, K: burn::tensor::kind::Numeric>(
    tensor: &mut Tensor<D, K>,
    slots: Tensor<1, Int>,
    values: Tensor<D, K>,
) {
    update(tensor, |tensor| tensor.select_assign(0, slots, values, IndexingUpdateOp::Assign));
}

/// Changes a tensor of which this is the only handle.
fn update<const D: usize, K: Basic>(
    tensor: &mut Tensor<D, K>,
    change: impl FnOnce(Tensor<D, K>) -> Tensor<D, K>,
) {
    let nothing = Tensor::empty([0; D], (&tensor.device(), tensor.dtype()));
    let taken = std::mem::replace(tensor, nothing);
    *tensor = change(taken);
}

/// Dense labels, ids or slots as a device tensor `[N]` of i32.
pub(crate) fn int_tensor(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values
        .iter()
        .map(|&value| {
            i32::try_from(value).unwrap_or_else(|_| {
                panic!("label or id {value} is not below 2^31; number them densely (`Interner`)")
            })
        })
        .collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), (device, DType::I32))
}
