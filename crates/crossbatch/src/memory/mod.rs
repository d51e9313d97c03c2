//! The cross-batch memory: embeddings of past batches, detached.

mod age;
mod bank;
mod columns;
mod config;
mod correction;
mod error;
mod interner;
mod screen;
mod slots;
mod state;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

pub use age::AgeWeighting;
use bank::Bank;
pub(crate) use bank::int_tensor;
use burn::tensor::{Device, Int, Tensor, TensorData};
pub use columns::MemoryColumns;
pub use config::{MemoryConfig, Policy, Storage};
use correction::Corrector;
pub use correction::{Correction, CorrectionState, KalmanConfig, TrackState};
use crossbatch_kernels::{References, Screen};
pub use error::MemoryError;
pub use interner::Interner;
use slots::Slots;
pub use state::MemoryState;

use crate::relation::{Rows, SameImage};

/// Embeddings of past batches, each with its label, sample id and step of birth.
///
/// A memory has a fixed number of slots; which slot a row is written to is its [`Policy`]: a ring of
/// the latest rows, or a slot an image. Stored embeddings are detached: no gradient ever reaches them.
/// A step writes the slots of its rows in place and nothing else; a [`Correction`] rewrites its own
/// copy.
///
/// # Shapes
///
/// Embeddings are `[B, D]` going in. Coming out, slots are in storage order, not by age (see
/// [`MemoryColumns::births`]).
///
/// # References
///
/// Wang et al., "Cross-Batch Memory for Embedding Learning" (CVPR 2020), section 3.2. The authors'
/// released queue is not a ring: a batch that does not fit before the end overwrites the *last* slots
/// and the cursor returns to 0, which evicts fresh entries. This one wraps. The keyed policy is the
/// memory of Ramzi et al., "Robust and Decomposable Average Precision" (NeurIPS 2021, ROADMAP's code).
#[derive(Clone)]
pub struct Memory {
    config: MemoryConfig,
    device: Device,
    bank: Bank,
    slots: Slots,
    columns: MemoryColumns,
    correction: Option<Corrector>,
    /// Codes of the embeddings, where they save time.
    screen: Option<Arc<Screen>>,
    now: u64,
}

/// No slot: what [`Memory::enqueue_masked`] gives for a row that is not in the memory.
pub const NO_SLOT: i32 = -1;

impl Memory {
    /// An empty ring of `capacity` slots for embeddings of `dim` f32 numbers; for other memories see
    /// [`MemoryConfig`].
    ///
    /// # Panics
    ///
    /// If `capacity` or `dim` is 0.
    pub fn new(capacity: usize, dim: usize, device: &Device) -> Self {
        MemoryConfig::new(capacity, dim).init(device)
    }

    fn from_config(config: MemoryConfig, device: &Device) -> Self {
        let MemoryConfig {
            capacity, dim, policy, storage, correction, unit_length, weighting, ..
        } = config;
        assert!(capacity > 0, "a memory needs at least one slot, got {capacity}");
        assert!(i32::try_from(capacity).is_ok(), "{capacity} slots cannot be numbered in 31 bits");
        assert!(dim > 0, "embeddings need at least one number, got {dim}");
        let dtype = storage.dtype();
        assert!(device.supports_dtype(dtype), "{device:?} holds no {storage:?}");
        weighting.check();
        let bank = Bank::new(capacity, dim, dtype, device);
        let correction = Corrector::new(correction, unit_length, &bank);
        let on_cpu = device.clone().inner() == Device::flex();
        let screen = (on_cpu && config.keeps_codes()).then(|| Arc::new(Screen::new(capacity, dim)));
        Self {
            config,
            device: device.clone(),
            bank,
            slots: Slots::new(policy),
            columns: MemoryColumns::default(),
            correction,
            screen,
            now: 0,
        }
    }

    /// Writes a batch and returns the slot of each row.
    ///
    /// `embeddings` are detached on the way in. The returned slots are what makes a self-pair: row
    /// `i` of this batch and slot `slots[i]`, until the slot is written again. [`NO_SLOT`] stands for
    /// a row that is not there: in a keyed memory a row whose image comes again later in the batch.
    ///
    /// # Shapes
    ///
    /// - `embeddings`: `[B, D]`, `rows`: `B` labels and ids
    ///
    /// # Errors
    ///
    /// If the batch has more rows (in a keyed memory: images) than the memory has slots.
    ///
    /// # Panics
    ///
    /// If `D` is not the memory's, or `rows` has not `B` entries.
    pub fn enqueue(
        &mut self,
        embeddings: Tensor<2>,
        rows: Rows<'_>,
        step: u64,
    ) -> Result<Vec<i32>, MemoryError> {
        let chosen: Vec<u32> = (0..embeddings.dims()[0] as u32).collect();
        self.write(embeddings, rows, &chosen, step)
    }

    /// As [`enqueue`](Self::enqueue), for the rows only where `mask` holds; the others have
    /// [`NO_SLOT`]. A batch of two views, of which only the momentum encoder's is remembered, is such
    /// a case.
    ///
    /// # Errors
    ///
    /// If more rows are chosen than the memory has slots.
    ///
    /// # Panics
    ///
    /// As [`enqueue`](Self::enqueue), or if `mask` has not `B` entries.
    pub fn enqueue_masked(
        &mut self,
        embeddings: Tensor<2>,
        rows: Rows<'_>,
        mask: &[bool],
        step: u64,
    ) -> Result<Vec<i32>, MemoryError> {
        let batch = embeddings.dims()[0];
        assert_eq!(mask.len(), batch, "{} mask entries for {batch} embeddings", mask.len());
        let chosen: Vec<u32> = (0..batch as u32).filter(|&row| mask[row as usize]).collect();
        self.write(embeddings, rows, &chosen, step)
    }

    /// Forgets everything and enqueues `rows`, as many as there are slots or fewer: the start of a
    /// memory from a network that is already warm. With a correction they are one batch, so that their
    /// statistics are those of them all.
    ///
    /// # Errors
    ///
    /// As [`enqueue`](Self::enqueue); the memory is unchanged then.
    ///
    /// # Panics
    ///
    /// As [`enqueue`](Self::enqueue).
    pub fn fill(
        &mut self,
        embeddings: Tensor<2>,
        rows: Rows<'_>,
        step: u64,
    ) -> Result<(), MemoryError> {
        self.slots.check(rows.ids, self.capacity())?;
        self.reset();
        self.enqueue(embeddings, rows, step).map(|_| ())
    }

    /// Writes the rows that `chosen` names.
    fn write(
        &mut self,
        embeddings: Tensor<2>,
        rows: Rows<'_>,
        chosen: &[u32],
        step: u64,
    ) -> Result<Vec<i32>, MemoryError> {
        let [batch, dim] = embeddings.dims();
        let expected = self.config.dim;
        assert_eq!(dim, expected, "embeddings have {dim} numbers, the memory holds {expected}");
        rows.assert_len(batch);
        let pick = |column: &[u32], of: &[u32]| -> Vec<u32> {
            of.iter().map(|&row| column[row as usize]).collect()
        };
        let ids = pick(rows.ids, chosen);
        self.slots.check(&ids, self.config.capacity)?;
        self.now = step;
        if chosen.is_empty() {
            return Ok(vec![NO_SLOT; batch]);
        }

        let mut values = embeddings.inner();
        if let Some(correction) = &mut self.correction {
            let measured = take_rows(values.clone(), chosen);
            let classes = pick(rows.labels, chosen).into_iter().collect::<HashSet<_>>().len();
            correction.observe(measured, classes, &mut self.bank, self.columns.len());
            values = correction.standardise(values);
        }

        let filled = self.len();
        let assigned = self.slots.assign(&ids, &self.columns.ids, self.config.capacity);
        // Where rows share a slot, the last one has it.
        let mut taken = HashSet::with_capacity(assigned.len());
        let mut kept: Vec<(u32, u32)> = chosen.iter().copied().zip(assigned).collect();
        kept.reverse();
        kept.retain(|&(_, slot)| taken.insert(slot));
        kept.reverse();

        let mut own = vec![NO_SLOT; batch];
        for &(row, slot) in &kept {
            let (label, id) = (rows.labels[row as usize], rows.ids[row as usize]);
            self.columns.write(slot as usize, label, id, step);
            own[row as usize] = slot as i32;
        }
        let (kept_rows, slots): (Vec<u32>, Vec<u32>) = kept.into_iter().unzip();
        let (labels, ids) = (pick(rows.labels, &kept_rows), pick(rows.ids, &kept_rows));
        let before = self.screen.as_ref().map(|_| self.bank.rows(&slots));
        self.bank.write(&slots, take_rows(values, &kept_rows), &labels, &ids);
        if let (Some(screen), Some(before)) = (&mut self.screen, before) {
            screen::update(screen, &slots, &before, &self.bank.rows(&slots), filled);
        }
        if let Some(correction) = &mut self.correction {
            correction.refresh(&self.bank, self.columns.len());
        }
        Ok(own)
    }

    /// What anchors are compared with: the whole memory, without a copy.
    ///
    /// Entries are corrected and weighted by the memory's options, as of the latest enqueue. Drop what
    /// comes out before the next enqueue, which otherwise copies the memory to write into it.
    ///
    /// # Shapes
    ///
    /// Embeddings `[capacity, D]` of the storage type, labels and ids `[capacity]`; the first
    /// [`len`](Self::len) slots count.
    pub fn references(&self, same_image: SameImage) -> References {
        let filled = self.len();
        let weighting = self.config.weighting;
        let weights = (!weighting.is_flat()).then(|| {
            let mut weights: Vec<f32> = self.ages().map(|age| weighting.weight(age)).collect();
            weights.resize(self.config.capacity, 0.0);
            let data = TensorData::new(weights, [self.config.capacity]);
            Tensor::from_data(data, &self.device)
        });
        References {
            embeddings: self.outward(self.current().clone()),
            labels: self.labels_outward(&self.bank.labels),
            ids: self.labels_outward(&self.bank.ids),
            weights,
            filled,
            drop_same_image: same_image == SameImage::Drop,
            screen: self.screen.clone(),
        }
    }

    /// The tensor that stands for the memory now.
    fn current(&self) -> &Tensor<2> {
        self.correction.as_ref().map_or(&self.bank.embeddings, Corrector::corrected)
    }

    /// On the device that the memory was made for, autodiff or not.
    fn outward(&self, tensor: Tensor<2>) -> Tensor<2> {
        if self.device.is_autodiff() { tensor.autodiff() } else { tensor }
    }

    fn labels_outward(&self, tensor: &Tensor<1, Int>) -> Tensor<1, Int> {
        let tensor = tensor.clone();
        if self.device.is_autodiff() { tensor.autodiff() } else { tensor }
    }

    /// The filled slots' embeddings `[filled, D]` of the storage type, without gradient; corrected
    /// where there is a correction.
    pub fn embeddings(&self) -> Tensor<2> {
        self.outward(self.current().clone().slice(0..self.len()))
    }

    /// The filled slots' labels on the device, `[filled]`, i32.
    pub fn device_labels(&self) -> Tensor<1, Int> {
        self.labels_outward(&self.bank.labels).slice(0..self.len())
    }

    /// The filled slots' sample ids on the device, `[filled]`, i32.
    pub fn device_ids(&self) -> Tensor<1, Int> {
        self.labels_outward(&self.bank.ids).slice(0..self.len())
    }

    /// Label, sample id and birth step of every filled slot.
    pub fn columns(&self) -> &MemoryColumns {
        &self.columns
    }

    /// Age of every filled slot: steps between its birth and the latest enqueue.
    pub fn ages(&self) -> impl Iterator<Item = u64> + '_ {
        self.columns.births.iter().map(|birth| self.now.saturating_sub(*birth))
    }

    /// Step of the latest enqueue.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Number of filled slots.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether nothing was enqueued yet.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Number of slots.
    pub fn capacity(&self) -> usize {
        self.config.capacity
    }

    /// Its options.
    pub fn config(&self) -> &MemoryConfig {
        &self.config
    }

    /// Different labels among the filled slots.
    pub fn classes(&self) -> usize {
        self.columns.labels.iter().collect::<HashSet<_>>().len()
    }

    /// Bytes it takes: its tensors, and the columns, indices and codes on the host.
    pub fn bytes(&self) -> u64 {
        let device = self.config.device_bytes().expect("it is allocated");
        let screen = self.screen.as_ref().map_or(0, |screen| screen.bytes());
        device + (self.columns.bytes() + self.slots.bytes() + screen) as u64
    }

    /// Forgets everything, a correction's statistics too; the options stay.
    pub fn reset(&mut self) {
        self.slots = Slots::new(self.config.policy);
        self.columns = MemoryColumns::default();
        self.now = 0;
        if let Some(correction) = &mut self.correction {
            correction.reset();
        }
        if let Some(screen) = &mut self.screen {
            Arc::make_mut(screen).clear();
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ages = self.ages().min().zip(self.ages().max());
        formatter
            .debug_struct("Memory")
            .field("policy", &self.config.policy)
            .field("storage", &self.config.storage)
            .field("correction", &self.config.correction)
            .field("filled", &self.len())
            .field("capacity", &self.config.capacity)
            .field("dim", &self.config.dim)
            .field("bytes", &self.bytes())
            .field("classes", &self.classes())
            .field("ages", &format_args!("{}", Ages(ages)))
            .finish()
    }
}

/// Youngest and oldest entry.
struct Ages(Option<(u64, u64)>);

impl fmt::Display for Ages {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some((youngest, oldest)) => write!(formatter, "{youngest}..={oldest}"),
            None => formatter.write_str("none"),
        }
    }
}

/// `rows[chosen]`; the rows themselves where all are chosen.
fn take_rows(rows: Tensor<2>, chosen: &[u32]) -> Tensor<2> {
    let [count, _] = rows.dims();
    if chosen.len() == count && chosen.iter().enumerate().all(|(row, &at)| row as u32 == at) {
        return rows;
    }
    let chosen = int_tensor(chosen, &rows.device());
    rows.select(0, chosen)
}
