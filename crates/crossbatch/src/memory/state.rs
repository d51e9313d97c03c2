//! A memory's state, out and in.

use burn::tensor::{Tensor, TensorData};

use super::{
    CorrectionState, Memory, MemoryColumns, MemoryError, Policy, Storage, screen, slots::Slots,
};

/// Everything a memory holds, exact: a memory of the same options that takes it goes on as this one.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryState {
    /// The memory's policy.
    pub policy: Policy,
    /// Type of the embeddings' numbers.
    pub storage: Storage,
    /// Embeddings of the filled slots as stored (with a correction: standardised), `filled x dim`
    /// numbers of the storage type, little-endian.
    pub embeddings: Vec<u8>,
    /// Label, id and birth of the filled slots.
    pub columns: MemoryColumns,
    /// The filled slots from the one written longest ago to the newest.
    pub order: Vec<u32>,
    /// Step of the latest enqueue.
    pub now: u64,
    /// The correction's statistics, where there is a correction.
    pub correction: Option<CorrectionState>,
}

impl Memory {
    /// What [`restore`](Self::restore) takes.
    pub fn state(&self) -> MemoryState {
        let filled = self.len();
        let embeddings = if filled == 0 {
            Vec::new()
        } else {
            self.bank.embeddings.clone().slice(0..filled).into_data().into_bytes().to_vec()
        };
        MemoryState {
            policy: self.config.policy,
            storage: self.config.storage,
            embeddings,
            columns: self.columns.clone(),
            order: self.slots.order(filled),
            now: self.now,
            correction: self.correction.as_ref().map(|correction| correction.state()),
        }
    }

    /// Puts back what [`state`](Self::state) gave, in a memory of the same options.
    ///
    /// # Errors
    ///
    /// If the state's parts do not belong together or to this memory, which stays as it was then.
    pub fn restore(&mut self, state: MemoryState) -> Result<(), MemoryError> {
        let MemoryState { policy, storage, embeddings, columns, order, now, correction } = state;
        let (capacity, dim) = (self.config.capacity, self.config.dim);
        same_option("policy", &policy, &self.config.policy)?;
        same_option("storage", &storage, &self.config.storage)?;
        same_option("correction", &correction.is_some(), &self.correction.is_some())?;
        let filled = columns.labels.len();
        same_size("number of slots", filled, filled.min(capacity))?;
        let bytes = filled * dim * storage.bytes();
        same_size("number of embedding bytes", embeddings.len(), bytes)?;
        same_size("number of ids", columns.ids.len(), filled)?;
        same_size("number of birth steps", columns.births.len(), filled)?;
        if let Some(state) = &correction {
            let measured = if state.mean.batches > 0 { dim } else { 0 };
            same_size("number of means", state.mean.value.len(), measured)?;
            same_size("number of deviations", state.deviation.value.len(), measured)?;
        }
        let slots = Slots::restore(policy, &order, &columns.ids, capacity)?;

        if filled > 0 {
            let device = self.bank.embeddings.device();
            let values = TensorData::from_bytes_vec(embeddings, [filled, dim], storage.dtype());
            let values = Tensor::from_data(values, (&device, storage.dtype()));
            let all: Vec<u32> = (0..filled as u32).collect();
            self.bank.write(&all, values, &columns.labels, &columns.ids);
        }
        if let Some(screen) = &mut self.screen {
            screen::rebuild(screen, &self.bank, filled);
        }
        self.slots = slots;
        self.columns = columns;
        self.now = now;
        if let (Some(correction), Some(state)) = (&mut self.correction, correction) {
            correction.restore(state);
            correction.refresh(&self.bank, filled);
        }
        Ok(())
    }
}

fn same_size(what: &'static str, found: usize, expected: usize) -> Result<(), MemoryError> {
    if found == expected { Ok(()) } else { Err(MemoryError::State { what, found, expected }) }
}

fn same_option<T: PartialEq + std::fmt::Debug>(
    what: &'static str,
    found: &T,
    expected: &T,
) -> Result<(), MemoryError> {
    if found == expected {
        return Ok(());
    }
    let text = |value: &T| format!("{value:?}").to_lowercase();
    Err(MemoryError::Option { what, found: text(found), expected: text(expected) })
}
