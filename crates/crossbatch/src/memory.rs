//! The cross-batch memory: a first-in-first-out ring of detached embeddings.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::relation::Rows;

/// A ring of the `capacity` most recently enqueued embeddings.
///
/// Slots are written at an explicit cursor that wraps, so the ring is first-in-first-out for any
/// batch size, also one that does not divide the capacity. Each slot carries the row's label, its
/// sample id and the step at which it was written. Stored embeddings are detached: no gradient
/// ever reaches them.
///
/// # Shapes
///
/// Embeddings are `[B, D]` going in and `[filled, D]` coming out; slots come in storage order, not
/// by age (see [`MemoryColumns::births`]).
///
/// # References
///
/// Section 3.2 of the paper. The authors' released queue is not a ring: a batch that does not fit
/// before the end overwrites the *last* slots and the cursor returns to 0, which evicts fresh
/// entries. This one wraps.
#[derive(Debug, Clone)]
pub struct MemoryRing {
    embeddings: Tensor<2>,
    device_labels: Tensor<1, Int>,
    device_ids: Tensor<1, Int>,
    columns: MemoryColumns,
    cursor: usize,
    filled: usize,
    capacity: usize,
    dim: usize,
}

/// What the memory knows of its slots besides their embeddings; one entry a filled slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryColumns {
    /// Dense class label of each slot.
    pub labels: Vec<u32>,
    /// Dense sample id of each slot.
    pub ids: Vec<u32>,
    /// Step at which each slot was written.
    pub births: Vec<u64>,
}

/// Why rows could not be enqueued or a state not restored. The memory is unchanged then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnqueueError {
    /// More rows than slots: some would be overwritten within the same step.
    #[error(
        "a batch of {batch} does not fit a memory of {capacity}; make the memory at least as large as the batch (`memory.size`)"
    )]
    BatchTooLarge {
        /// Rows in the batch.
        batch: usize,
        /// Slots in the memory.
        capacity: usize,
    },
    /// A saved state does not belong to a memory of this shape.
    #[error("the saved memory does not fit: {what} is {found}, expected {expected}")]
    State {
        /// Which part is off.
        what: &'static str,
        /// The saved value.
        found: usize,
        /// The value that fits.
        expected: usize,
    },
}

impl MemoryRing {
    /// An empty memory of `capacity` slots for embeddings of `dim` numbers.
    ///
    /// # Panics
    ///
    /// If `capacity` or `dim` is 0.
    pub fn new(capacity: usize, dim: usize, device: &Device) -> Self {
        assert!(capacity > 0, "a memory needs at least one slot, got {capacity}");
        assert!(dim > 0, "embeddings need at least one number, got {dim}");
        Self {
            embeddings: Tensor::zeros([capacity, dim], device),
            device_labels: Tensor::zeros([capacity], device),
            device_ids: Tensor::zeros([capacity], device),
            columns: MemoryColumns::default(),
            cursor: 0,
            filled: 0,
            capacity,
            dim,
        }
    }

    /// Writes a batch over the oldest slots and returns the slot of each row.
    ///
    /// `embeddings` are detached on the way in. The returned slots are what makes a self-pair: row
    /// `i` of this batch and slot `slots[i]`, until the slot is written again.
    ///
    /// # Shapes
    ///
    /// - `embeddings`: `[B, D]`, `rows`: `B` labels and ids
    ///
    /// # Errors
    ///
    /// If the batch has more rows than the memory has slots.
    ///
    /// # Panics
    ///
    /// If `D` is not the memory's, or `rows` has not `B` entries.
    pub fn enqueue(
        &mut self,
        embeddings: Tensor<2>,
        rows: Rows<'_>,
        step: u64,
    ) -> Result<Vec<u32>, EnqueueError> {
        let [batch, dim] = embeddings.dims();
        assert_eq!(dim, self.dim, "embeddings have {dim} numbers, the memory holds {}", self.dim);
        rows.assert_len(batch);
        if batch > self.capacity {
            return Err(EnqueueError::BatchTooLarge { batch, capacity: self.capacity });
        }

        let embeddings = embeddings.detach();
        // At most two runs: up to the end of the ring, and from its start.
        let first = batch.min(self.capacity - self.cursor);
        self.write_run(self.cursor, embeddings.clone(), 0..first, rows, step);
        self.write_run(0, embeddings, first..batch, rows, step);

        let slots = (0..batch).map(|row| ((self.cursor + row) % self.capacity) as u32).collect();
        self.cursor = (self.cursor + batch) % self.capacity;
        self.filled = (self.filled + batch).min(self.capacity);
        Ok(slots)
    }

    /// Writes `rows[run]` to the slots from `start` on.
    fn write_run(
        &mut self,
        start: usize,
        embeddings: Tensor<2>,
        run: std::ops::Range<usize>,
        rows: Rows<'_>,
        step: u64,
    ) {
        if run.is_empty() {
            return;
        }
        let slots = start..start + run.len();
        let device = self.embeddings.device();
        let values = embeddings.slice([run.clone(), 0..self.dim]);

        // Taking the tensors out leaves one owner, so that the write happens in place.
        let bank = take(&mut self.embeddings);
        self.embeddings = bank.slice_assign([slots.clone(), 0..self.dim], values);
        let write = |column: Tensor<1, Int>, values: &[u32]| {
            column.slice_assign(slots.clone(), int_tensor(values, &device))
        };
        self.device_labels = write(take(&mut self.device_labels), &rows.labels[run.clone()]);
        self.device_ids = write(take(&mut self.device_ids), &rows.ids[run.clone()]);

        // A ring that has not wrapped yet grows; a full one overwrites.
        self.columns.resize(self.columns.labels.len().max(slots.end));
        self.columns.labels[slots.clone()].copy_from_slice(&rows.labels[run.clone()]);
        self.columns.ids[slots.clone()].copy_from_slice(&rows.ids[run]);
        self.columns.births[slots].fill(step);
    }

    /// The filled slots' embeddings `[filled, D]`, without gradient.
    pub fn embeddings(&self) -> Tensor<2> {
        if self.filled == self.capacity {
            self.embeddings.clone()
        } else {
            self.embeddings.clone().slice([0..self.filled, 0..self.dim])
        }
    }

    /// The filled slots' labels on the device, `[filled]`.
    pub fn device_labels(&self) -> Tensor<1, Int> {
        self.device_labels.clone().slice(0..self.filled)
    }

    /// The filled slots' sample ids on the device, `[filled]`.
    pub fn device_ids(&self) -> Tensor<1, Int> {
        self.device_ids.clone().slice(0..self.filled)
    }

    /// Label, sample id and birth step of every filled slot.
    pub fn columns(&self) -> &MemoryColumns {
        &self.columns
    }

    /// Number of filled slots.
    pub fn len(&self) -> usize {
        self.filled
    }

    /// Whether nothing was enqueued yet.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }

    /// Number of slots.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Slot that the next row is written to.
    pub fn cursor(&self) -> usize {
        self.cursor
    }

    /// Forgets everything; capacity and width stay.
    pub fn reset(&mut self) {
        self.columns = MemoryColumns::default();
        self.cursor = 0;
        self.filled = 0;
    }

    /// Puts a saved state back: what [`embeddings`](Self::embeddings), [`columns`](Self::columns)
    /// and [`cursor`](Self::cursor) gave, for a memory of the same capacity and width.
    ///
    /// # Errors
    ///
    /// If the state's sizes do not belong together or to this memory, which stays as it was then.
    pub fn restore(
        &mut self,
        embeddings: Vec<f32>,
        columns: MemoryColumns,
        cursor: usize,
    ) -> Result<(), EnqueueError> {
        let filled = columns.labels.len();
        let check = |what, found, expected| {
            if found == expected {
                Ok(())
            } else {
                Err(EnqueueError::State { what, found, expected })
            }
        };
        check("number of embedding values", embeddings.len(), filled * self.dim)?;
        check("number of ids", columns.ids.len(), filled)?;
        check("number of birth steps", columns.births.len(), filled)?;
        check("number of slots", filled.min(self.capacity), filled)?;
        check(
            "cursor",
            cursor,
            if filled < self.capacity { filled } else { cursor % self.capacity },
        )?;

        let device = self.embeddings.device();
        self.reset();
        if filled > 0 {
            let values = TensorData::new(embeddings, [filled, self.dim]);
            let rows = Rows { labels: &columns.labels, ids: &columns.ids };
            self.write_run(0, Tensor::from_data(values, &device), 0..filled, rows, 0);
        }
        self.columns = columns;
        self.filled = filled;
        self.cursor = cursor;
        Ok(())
    }
}

impl MemoryColumns {
    fn resize(&mut self, len: usize) {
        self.labels.resize(len, 0);
        self.ids.resize(len, 0);
        self.births.resize(len, 0);
    }
}

/// Moves a tensor out, leaving a one-element tensor in its place.
fn take<const D: usize, K: burn::tensor::kind::Basic + burn::tensor::kind::Numeric>(
    tensor: &mut Tensor<D, K>,
) -> Tensor<D, K> {
    let device = tensor.device();
    std::mem::replace(tensor, Tensor::zeros([1; D], &device))
}

/// Dense labels or ids as a device tensor `[N]`.
pub(crate) fn int_tensor(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values
        .iter()
        .map(|&value| i32::try_from(value).expect("labels and ids are dense, far below 2^31"))
        .collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device() -> Device {
        Device::flex().autodiff()
    }

    fn batch(values: &[f32]) -> Tensor<2> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), &device())
    }

    #[test]
    fn wraps_when_the_batch_does_not_divide_the_capacity() {
        let mut memory = MemoryRing::new(3, 1, &device());
        let rows = |labels: &'static [u32]| Rows { labels, ids: labels };
        assert_eq!(memory.enqueue(batch(&[1.0, 2.0]), rows(&[1, 2]), 0).unwrap(), [0, 1]);
        assert_eq!(memory.len(), 2);
        assert_eq!(memory.enqueue(batch(&[3.0, 4.0]), rows(&[3, 4]), 1).unwrap(), [2, 0]);
        // 1 was the oldest and is the only one gone.
        assert_eq!(memory.columns().labels, [4, 2, 3]);
        assert_eq!(memory.columns().births, [1, 0, 1]);
        assert_eq!(memory.embeddings().into_data().try_to_vec::<f32>().unwrap(), [4.0, 2.0, 3.0]);
        assert_eq!(memory.cursor(), 1);
    }

    #[test]
    fn a_batch_as_large_as_the_memory_replaces_it() {
        let mut memory = MemoryRing::new(2, 1, &device());
        let rows = Rows { labels: &[0, 0], ids: &[5, 6] };
        memory.enqueue(batch(&[1.0]), Rows { labels: &[9], ids: &[9] }, 0).unwrap();
        memory.enqueue(batch(&[2.0, 3.0]), rows, 1).unwrap();
        assert_eq!(memory.columns().ids, [6, 5]);
        assert_eq!(memory.len(), 2);
    }

    #[test]
    fn a_batch_larger_than_the_memory_is_refused_and_changes_nothing() {
        let mut memory = MemoryRing::new(1, 1, &device());
        let error = memory
            .enqueue(batch(&[1.0, 2.0]), Rows { labels: &[0, 0], ids: &[0, 1] }, 0)
            .unwrap_err();
        assert_eq!(error, EnqueueError::BatchTooLarge { batch: 2, capacity: 1 });
        assert!(memory.is_empty());
    }

    #[test]
    fn what_is_stored_carries_no_gradient() {
        let mut memory = MemoryRing::new(2, 1, &device());
        let rows = batch(&[1.0, 2.0]).require_grad();
        memory.enqueue(rows.clone() * 2.0, Rows { labels: &[0, 1], ids: &[0, 1] }, 0).unwrap();
        let gradients = (memory.embeddings().sum() + rows.clone().sum()).backward();
        let gradient = rows.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap();
        assert_eq!(gradient, [1.0, 1.0]);
    }

    #[test]
    fn a_saved_state_comes_back() {
        let mut memory = MemoryRing::new(3, 1, &device());
        for step in 0..4 {
            let value = step as f32;
            let rows = [step as u32, step as u32 + 10];
            memory
                .enqueue(batch(&[value, value + 0.5]), Rows { labels: &rows, ids: &rows }, step)
                .unwrap();
        }
        let mut other = MemoryRing::new(3, 1, &device());
        let values = memory.embeddings().into_data().try_to_vec().unwrap();
        other.restore(values.clone(), memory.columns().clone(), memory.cursor()).unwrap();
        assert_eq!(other.columns(), memory.columns());
        assert_eq!(other.cursor(), memory.cursor());
        assert_eq!(other.embeddings().into_data(), memory.embeddings().into_data());

        let mut smaller = MemoryRing::new(2, 1, &device());
        assert!(smaller.restore(values, memory.columns().clone(), 0).is_err());
        assert!(smaller.is_empty());
    }
}
